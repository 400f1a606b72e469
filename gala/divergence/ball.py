"""The epsilon-ball at one tick: how far apart the agents are, and how far they can be."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gala.divergence.bound import PAST, contraction
from gala.divergence.certificate import Certificate
from gala.divergence.sketch import distances_to_mean
from gala.divergence.walk import Incomplete
from gala.telemetry.sketches import read_sketches
from gala.topology import Topology

Certify = Callable[[int, Mapping[int, float]], Certificate | Incomplete | None]
"""The certificate of a tick for the agents that were present, with the times of their sketches of
it; None: not for this tick.
"""


@dataclass(slots=True, kw_only=True)
class Ball:
    """One measurement of the epsilon-ball.

    Attributes:
        to_mean: ``||x_i - mean||_2`` per rank.
        total: ``||X - Xbar||_F``; None where one of several agents was measured alone.
        mean_norm: ``||mean||_2``.
        epsilon: certificate of ``total``, or a model's bound; None where there is neither.
        expected: ``total`` for unrelated updates (root mean square); None without a certificate.
        reason: what ``epsilon`` comes from, or why there is none.
        beta: contraction per mix of the agents that were measured; None where it is not known.
        apart: ``||x_i - x_j||_2``, Float64[n, n], in the order of ``to_mean``.
        proven: whether ``epsilon`` is a certificate; else it comes from a model.
        drift: how far averaging has moved the mean since the window of the certificate began, for
            unrelated updates; None without a certificate.
        tick: when it was.
        skipped: whether there was no time to certify this tick.
    """

    to_mean: dict[int, float]
    total: float | None
    mean_norm: float
    epsilon: float | None
    expected: float | None
    reason: str
    beta: float | None
    apart: NDArray[np.float64]
    proven: bool
    drift: float | None
    tick: int
    skipped: bool = False

    @property
    def relative(self) -> float | None:
        """Largest ``||x_i - mean|| / ||mean||``; None where the mean is zero, or nobody else."""
        if self.total is None:
            return None
        return max(self.to_mean.values()) / self.mean_norm if self.mean_norm else None

    @property
    def ratio(self) -> float | None:
        """Divergence over its bound; None where no bound applies."""
        return self.total / self.epsilon if self.total is not None and self.epsilon else None

    @property
    def agreement(self) -> float | None:
        """Divergence over its expectation: above 1 updates pull apart, below 1 they agree."""
        return self.total / self.expected if self.total is not None and self.expected else None


def exact_total(vectors: Iterable[Tensor]) -> float:
    """``||X - Xbar||_F`` of Float[P] vectors themselves, without sketches."""
    rows = torch.stack([vector.detach().cpu() for vector in vectors])
    return float((rows - rows.mean(0)).norm())


def measure(
    files: list[Path],
    tick: int,
    topology: Topology | None,
    certify: Certify | None = None,
    *,
    lock_step: bool,
    unbound: str | None = None,
) -> Ball | None:
    """The ball at ``tick`` from the agents' sketch files; None when fewer than one wrote it.

    Args:
        files: of all agents.
        tick: which to compare.
        topology: for the model; None when agents do not gossip.
        certify: see :data:`Certify`; None: there are no records, a model has to do.
        lock_step: ticks count updates that all agents do together.
        unbound: why no model tells of what the agents do; None where one may.
    """
    records: dict[int, NDArray[np.void]] = {}
    for rank, path in enumerate(files):
        recent = read_sketches(path, last=4)
        match = recent[recent["tick"] == tick]
        if len(match):
            records[rank] = match[-1]
    if not records:
        return None
    sketches = np.stack([record["sketch"] for record in records.values()]).astype(np.float64)
    to_mean = distances_to_mean(sketches)
    ball = Ball(
        to_mean=dict(zip(records, map(float, to_mean), strict=True)),
        total=None if len(records) == 1 < len(files) else float(np.linalg.norm(to_mean)),
        mean_norm=float(np.linalg.norm(sketches.mean(axis=0))),
        epsilon=None,
        expected=None,
        reason=f"no bound applies: {unbound or 'the agents do not gossip'}",
        beta=None,
        apart=_apart(sketches),
        proven=False,
        drift=None,
        tick=tick,
    )
    if topology is not None:
        _bound(ball, records, topology, certify, lock_step, unbound)
    return ball


def _bound(
    ball: Ball,
    records: dict[int, NDArray[np.void]],
    topology: Topology,
    certify: Certify | None,
    lock_step: bool,
    unbound: str | None,
) -> None:
    """Fill in what the agents' records certify, or else what a model says."""
    model = contraction(
        topology,
        delay=max(int(record["delay"]) for record in records.values()),
        mix_every=max(int(record["mix_every"]) for record in records.values()),
        alive=frozenset(records),
    )
    ball.reason = model.reason
    ball.beta = model.beta
    if ball.total is None:
        ball.reason = "no bound applies: one agent was measured alone"
        return
    why = "there are no records of what happened"
    if certify is not None:
        found = certify(ball.tick, {rank: float(record["t"]) for rank, record in records.items()})
        if isinstance(found, Certificate):
            ball.epsilon, ball.expected, ball.proven = found.epsilon, found.expected, True
            ball.drift = found.drift
            ball.reason = f"certified from {found.steps:,} updates"
            return
        if found is None:
            ball.skipped = True
            return
        why = found.reason
    if unbound is not None:
        ball.reason = f"no bound applies: {unbound}, and {why}"
    elif (factor := model.factor if lock_step else model.before_mix) is not None:
        norm = math.sqrt(sum(float(r["update_norm"]) ** 2 for r in records.values()))
        # no expectation: the sketches hold the largest recent steps, not the usual ones
        ball.epsilon = factor * norm
        kind = model.reason
        if model.lock_step and not lock_step:
            kind = "delay model, tau = 0" + kind.removeprefix("exact: lock-step").removeprefix(PAST)
        ball.reason = f"{kind}, a model, no proof: {why}"


def _apart(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """``||a_i - a_j||_2`` of Float64[n, m]."""
    centred = rows - rows.mean(axis=0)
    gram = centred @ centred.T
    squares = np.diag(gram)
    found = np.sqrt(np.maximum(squares[:, None] + squares - 2 * gram, 0.0))
    np.fill_diagonal(found, 0.0)
    return np.asarray(found)
