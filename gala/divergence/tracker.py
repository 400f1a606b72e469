"""Measures the epsilon-ball while training runs, without any collective operation.

Each agent appends a sketch of its parameters to its own file, at ticks that all agents share, and
looks at what the others appended. Distances and the bound come from those records alone, so the
measurement needs nothing but the run folder.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gala.device.streams import Direct, Stream
from gala.divergence.bound import NoBound, contraction
from gala.divergence.sketch import Sketcher, distances_to_mean, relative_error
from gala.parameters.flat import sample
from gala.telemetry.sketches import SketchWriter, read_sketches
from gala.topology import Topology

LOCK_STEP_TICK = 50
"""Updates between two sketches where all agents do equal updates (lock-step, allreduce)."""

WINDOW = 512
"""Updates over which the largest update norm is kept."""

MANY = 16
"""Agents beyond which distances are recorded to the neighbours alone."""

Metrics = dict[str, float | None]


class UpdateNorms:
    """Windowed supremum of ``||x_after - x_before||_2`` over the last 512 to 1,024 updates.

    With preconditioned optimizers the step taken is the "gradient" of the bound, so that L of the
    paper is measured instead of assumed.

    Args:
        vector: the parameters, Float[P].
        exact: look at all of a large vector, which costs about a millisecond for each million of
            parameters; a proof needs it, a model does with a sample.
        stream: where ``vector`` is computed.
    """

    def __init__(self, vector: Tensor, *, exact: bool, stream: Stream | None = None) -> None:
        self._exact, self._stream = exact, stream or Direct()
        self._before = torch.empty_like(self._seen(vector))
        self._scale = math.sqrt(vector.numel() / self._before.numel())
        self._current = self._previous = 0.0
        self._count = 0

    def _seen(self, vector: Tensor) -> Tensor:
        return vector if self._exact else sample(vector)

    def before(self, vector: Tensor) -> None:
        """Note the parameters before a local update."""
        self._before.copy_(self._seen(vector))

    def after(self, vector: Tensor) -> None:
        """Take the norm of the update that led to ``vector``."""
        step = torch.sub(self._seen(vector), self._before, out=self._before)
        # on a device this is where the update is waited for, asleep: float() would spin
        norm = float(self._stream.download(step.norm()))
        self._current = max(self._current, norm * self._scale)
        self._count += 1
        if self._count % WINDOW == 0:
            self._previous, self._current = self._current, 0.0

    @property
    def supremum(self) -> float:
        """Largest recent norm."""
        return max(self._current, self._previous)


@dataclass(slots=True)
class Ball:
    """One measurement of the epsilon-ball.

    Attributes:
        to_mean: ``||x_i - mean||_2`` per rank.
        total: ``||X - Xbar||_F``; None where one of several agents was measured alone.
        mean_norm: ``||mean||_2``.
        epsilon: worst-case bound on ``total``; None when no bound applies.
        expected: expectation of ``total`` for independent updates; None likewise.
        reason: which model the bound comes from, or why there is none.
        beta: contraction per mix of the agents that were measured; None where no bound applies.
        apart: ``||x_i - x_j||_2``, Float64[n, n], in the order of ``to_mean``.
        proven: whether ``epsilon`` is proven for what the agents do, which takes lock-step; else it
            comes from a model.
        tick: when it was.
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
    tick: int

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


class DivergenceTracker:
    """Writes this agent's sketches and measures the ball from everybody's.

    Args:
        run_dir: the run folder.
        rank: index of this agent.
        agents: number of agents.
        parameters: P.
        every_s: seconds between ticks.
        sketch_size: buckets of a sketch.
        topology: for the bound; None when agents do not gossip (no bound applies).
        unbound: why no bound applies all the same; None where one may.
        lock_step: ticks count updates instead of seconds, so that equal updates are compared.
        incarnation: restarts of this agent so far.
    """

    def __init__(
        self,
        run_dir: Path,
        *,
        rank: int,
        agents: int,
        parameters: int,
        every_s: float,
        sketch_size: int,
        topology: Topology | None,
        lock_step: bool,
        unbound: str | None = None,
        incarnation: int = 0,
    ) -> None:
        self._files = [run_dir / f"rank_{i:02d}" / "sketches.bin" for i in range(agents)]
        self._rank, self._every_s, self._lock_step = rank, every_s, lock_step
        self._topology, self._incarnation = topology, incarnation
        self._unbound = unbound
        self._sketcher = Sketcher(parameters, sketch_size)
        self._writer = SketchWriter(self._files[rank], sketch_size)
        # Sketches are taken where a tick begins; one taken in the middle of the first would be
        # compared with those of agents that started earlier or later.
        self._last_tick = self._tick_of(0)
        self.ball: Ball | None = None
        self._known: tuple[frozenset[int], bool] | None = None
        self._rumour: tuple[frozenset[int], bool] | None = None

    @property
    def last_tick(self) -> int:
        """The tick that is on."""
        return self._last_tick

    def event(self) -> str | None:
        """Text of an event: what became of the bound when an agent died or came back.

        A dead agent changes the graph, hence beta and the bound. Call it once at every tick: what
        two ticks in a row say is believed, as an agent can be late for one. None when nothing
        changed. The first time it also says why there is no bound, or which model it comes from;
        of a proven one for everybody there is nothing to say.
        """
        ball, agents = self.ball, len(self._files)
        if ball is None or agents < 2:
            return None
        now = frozenset(ball.to_mean), ball.epsilon is not None
        rumoured, self._rumour = self._rumour, now
        if now != rumoured:
            return None
        before, self._known = self._known, now
        everybody = len(now[0]) == agents
        if now == before or (before is None and everybody and ball.proven):
            return None
        if ball.epsilon is None or ball.beta is None:
            return ball.reason
        return (
            f"{len(now[0])} of {agents} agents are measured: "
            f"beta {ball.beta:.3f}, epsilon {ball.epsilon:.3g} ({ball.reason}"
            + (")" if ball.proven else "; a model, no proof)")
        )

    def tick(self, update: int) -> int | None:
        """The tick that is due at ``update``, or None when the last one is still on."""
        tick = self._tick_of(update)
        return tick if tick != self._last_tick else None

    def _tick_of(self, update: int) -> int:
        return update // LOCK_STEP_TICK if self._lock_step else int(time.time() / self._every_s)

    def observe(
        self,
        vector: Tensor,
        *,
        update: int,
        step: int,
        update_norm: float,
        mix_every: int = 1,
        delay: int = 0,
    ) -> bool:
        """At a new tick: append the sketch of ``vector``, then measure the previous tick.

        The previous one, because by now every living agent has written its sketch of it.

        Returns:
            Whether a tick began.
        """
        tick = self.tick(update)
        if tick is None:
            return False
        self._last_tick = tick
        self._writer.append(
            t=time.time(),
            tick=tick,
            update=update,
            step=step,
            incarnation=self._incarnation,
            norm=float(vector.norm()),
            update_norm=update_norm,
            mix_every=mix_every,
            delay=delay,
            sketch=self._sketcher(vector),
        )
        ball = measure(
            self._files, tick - 1, self._topology, self._unbound, lock_step=self._lock_step
        )
        self.ball = ball or self.ball
        return True

    def metrics(self, update_norm: float) -> Metrics:
        """The newest measurement as records of ``metrics.jsonl``."""
        result: Metrics = {"divergence/update_norm": update_norm}
        ball = self.ball
        if ball is None:
            return result
        mine = ball.to_mean.get(self._rank) if ball.total is not None else None
        relative = mine / ball.mean_norm if mine is not None and ball.mean_norm else None
        return (
            result
            | {
                "divergence/to_mean": mine,
                "divergence/total": ball.total,
                "divergence/relative": relative,
                "divergence/sketch_error": relative_error(self._sketcher.size),
                "divergence/epsilon": ball.epsilon,
                "divergence/expected": ball.expected,
                "divergence/epsilon_ratio": ball.ratio,
                "divergence/proven": None if ball.epsilon is None else float(ball.proven),
                "divergence/beta": ball.beta,
                "divergence/agents": len(ball.to_mean),
            }
            | self._apart(ball)
        )

    def _apart(self, ball: Ball) -> Metrics:
        """Distances to all others, or to the in-neighbours where there are many."""
        ranks = list(ball.to_mean)
        if self._rank not in ball.to_mean:
            return {}
        if len(ranks) > MANY and self._topology is not None:
            shown = set(self._topology.in_neighbours(self._rank)) & set(ranks)
        else:
            shown = set(ranks[:MANY]) - {self._rank}
        row = ball.apart[ranks.index(self._rank)]
        return {f"divergence/to/{j}": float(row[ranks.index(j)]) for j in sorted(shown)}

    def close(self) -> None:
        """Close the own sketch file."""
        self._writer.close()


def exact_total(vectors: Iterable[Tensor]) -> float:
    """``||X - Xbar||_F`` of Float[P] vectors themselves, without sketches."""
    rows = torch.stack([vector.detach().cpu() for vector in vectors])
    return float((rows - rows.mean(0)).norm())


def measure(
    files: list[Path],
    tick: int,
    topology: Topology | None,
    unbound: str | None = None,
    *,
    lock_step: bool,
) -> Ball | None:
    """The ball at ``tick`` from the agents' sketch files; None when fewer than one wrote it.

    Args:
        files: of all agents.
        tick: which to compare.
        topology: for the bound; None when agents do not gossip.
        unbound: why no bound applies all the same.
        lock_step: ticks count updates that all agents do together. Else agents are at different
            moments of their updates, and nothing is proven even where no message was old.
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
    epsilon = expected = beta = None
    proven = False
    if topology is None:
        reason = "no bound applies: the agents do not gossip"
    elif unbound is not None:
        reason = f"no bound applies: {unbound}"
    else:
        model = contraction(
            topology,
            delay=max(int(record["delay"]) for record in records.values()),
            mix_every=max(int(record["mix_every"]) for record in records.values()),
            alive=frozenset(records),
        )
        reason = model.reason
        if not isinstance(model, NoBound):
            norm = math.sqrt(sum(float(r["update_norm"]) ** 2 for r in records.values()))
            factor, noise_factor = model.factor, model.noise_factor
            if not lock_step:
                factor, noise_factor = model.before_mix, model.noise_before_mix
                reason = reason.replace("exact: lock-step", "delay model, tau = 0")
            epsilon, expected = factor * norm, noise_factor * norm
            beta, proven = model.beta, model.exact and lock_step
    return Ball(
        to_mean=dict(zip(records, map(float, to_mean), strict=True)),
        total=None if len(records) == 1 < len(files) else float(np.linalg.norm(to_mean)),
        mean_norm=float(np.linalg.norm(sketches.mean(axis=0))),
        epsilon=epsilon,
        expected=expected,
        reason=reason,
        beta=beta,
        apart=_apart(sketches),
        proven=proven,
        tick=tick,
    )


def _apart(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """``||a_i - a_j||_2`` of Float64[n, m]."""
    centred = rows - rows.mean(axis=0)
    gram = centred @ centred.T
    squares = np.diag(gram)
    found = np.sqrt(np.maximum(squares[:, None] + squares - 2 * gram, 0.0))
    np.fill_diagonal(found, 0.0)
    return np.asarray(found)
