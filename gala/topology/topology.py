"""Who averages whom, with which weight, in which round: one frozen object."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gala.topology import drawing
from gala.topology.graph import Edges, edge_array, neighbour_lists
from gala.topology.mixing import Mixing, Row
from gala.topology.weights import NAMED, ROBUST

MAX_JSON_NUMBERS = 2**20
"""Matrices are written out as long as all of one period together have no more entries."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Topology:
    """A schedule of mixing matrices between N agents.

    Two topologies are equal when they mix alike: names do not count.

    Attributes:
        name: what people call it.
        agents: N.
        rounds: the mixing matrix of each round of one period; round r uses ``rounds[r % period]``.
        weights: how weights were made: uniform, metropolis, explicit, lazy, push-sum, clipped,
            trimmed.
        schedule: how rounds were made: static, rotate, one-peer, random.
        push_sum: columns sum to one instead of rows; every message carries a scalar weight, and
            the parameters are divided by it.
        discount: factor on the weight of a message per update of its age (1: age does not count);
            whoever mixes applies it, see :func:`gala.topology.weights.discount_by_age`.
        family: name of the family, or None for a graph that was written down edge by edge.
        positions: Float64[N, 2] for drawing, or None for a circle.
        notes: what the user should know about how its file was read.
    """

    name: str
    agents: int
    rounds: tuple[Mixing, ...]
    weights: str = "uniform"
    schedule: str = "static"
    push_sum: bool = False
    discount: float = 1.0
    family: str | None = None
    positions: NDArray[np.float64] | None = field(default=None, repr=False)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check the shape."""
        assert self.rounds and all(mixing.agents == self.agents for mixing in self.rounds)

    @property
    def period(self) -> int:
        """Rounds after which the schedule repeats."""
        return len(self.rounds)

    @property
    def robust(self) -> bool:
        """Whether whoever mixes bounds what one neighbour can do, by clipping or trimming."""
        return self.weights in ROBUST

    @property
    def named_weights(self) -> str:
        """``weights`` as a file with the weight of each edge has it."""
        return self.weights if self.weights in NAMED else "explicit"

    def mixing(self, round: int) -> Mixing:
        """The sparse matrix of ``round`` (any non-negative number)."""
        return self.rounds[round % len(self.rounds)]

    def matrix(self, round: int) -> NDArray[np.float64]:
        """The matrix of ``round``, Float64[N, N]; row i holds the weights agent i gives."""
        return self.mixing(round).dense()

    def row(self, rank: int, round: int) -> Row:
        """What agent ``rank`` does in its own ``round``: (self weight, {in-neighbour: weight}).

        The dict is shared between calls: do not change it.
        """
        return self.rounds[round % len(self.rounds)].rows[rank]

    def in_neighbours(self, rank: int) -> tuple[int, ...]:
        """Agents that ``rank`` hears in any round, sorted."""
        return self._heard[rank]

    def out_neighbours(self, rank: int, round: int | None = None) -> tuple[int, ...]:
        """Agents that average what ``rank`` publishes for ``round`` (None: any), sorted."""
        if round is None:
            return self._heard_by[rank]
        return self._heard_by_round[round % len(self.rounds)][rank]

    @cached_property
    def edges(self) -> Edges:
        """Int64[E, 2]: (source, target) of every edge of any round, each once."""
        pairs = [np.stack([mixing.source, mixing.target], axis=1) for mixing in self.rounds]
        return edge_array(np.concatenate(pairs))

    @cached_property
    def _heard(self) -> tuple[tuple[int, ...], ...]:
        return tuple(map(tuple, neighbour_lists(self.edges[:, 1], self.edges[:, 0], self.agents)))

    @cached_property
    def _heard_by(self) -> tuple[tuple[int, ...], ...]:
        return tuple(map(tuple, neighbour_lists(self.edges[:, 0], self.edges[:, 1], self.agents)))

    @cached_property
    def _heard_by_round(self) -> tuple[tuple[tuple[int, ...], ...], ...]:
        return tuple(
            tuple(map(tuple, neighbour_lists(mixing.source, mixing.target, self.agents)))
            for mixing in self.rounds
        )

    @cached_property
    def row_stochastic(self) -> bool:
        """Every row of every round sums to one."""
        return all(mixing.row_stochastic for mixing in self.rounds)

    @cached_property
    def doubly_stochastic(self) -> bool:
        """Every round preserves both consensus and the mean."""
        return all(mixing.doubly_stochastic for mixing in self.rounds)

    @cached_property
    def hash(self) -> str:
        """16 hex digits of what it does: size, period, edges and weights (to 12 decimals)."""
        digest = hashlib.blake2b(digest_size=8)
        digest.update(f"{self.agents} {len(self.rounds)} {self.push_sum}".encode())
        if self.robust:
            digest.update(self.weights.encode())
        if self.discount != 1.0:
            digest.update(f"discount {self.discount:.12g}".encode())
        for mixing in self.rounds:
            digest.update(np.int64(len(mixing.source)).tobytes())
            digest.update(mixing.source.tobytes() + mixing.target.tobytes())
            digest.update((np.round(mixing.weight, 12) + 0.0).tobytes())
            digest.update((np.round(mixing.self_weight, 12) + 0.0).tobytes())
        return digest.hexdigest()

    def __eq__(self, other: object) -> bool:
        """Whether both mix alike."""
        return isinstance(other, Topology) and self.hash == other.hash

    def __hash__(self) -> int:
        """From the content."""
        return int(self.hash, 16)

    def to_json(self) -> dict[str, Any]:
        """Plain data for ``topology.json``: networkx node-link, which :func:`load_topology` reads.

        Beside the node-link keys: ``name, agents, family, weights, schedule, period, push_sum,
        discount, hash`` and, for up to 256 agents, ``matrices`` (one N x N list of rows per round).
        A schedule of several rounds is a multigraph whose edges carry ``round``.
        """
        many = len(self.rounds) > 1
        edges = [
            {"source": s, "target": t, "weight": w} | ({"round": r, "key": r} if many else {})
            for r, mixing in enumerate(self.rounds)
            for s, t, w in zip(
                mixing.source.tolist(), mixing.target.tolist(), mixing.weight.tolist(), strict=True
            )
        ]
        data: dict[str, Any] = {
            "directed": True,
            "multigraph": many,
            "graph": {
                "name": self.name,
                "weights": self.named_weights,
                "rounds": len(self.rounds),
                "discount": self.discount,
            },
            "nodes": [{"id": agent} for agent in range(self.agents)],
            "edges": edges,
            "name": self.name,
            "agents": self.agents,
            "family": self.family,
            "weights": self.weights,
            "schedule": self.schedule,
            "period": self.period,
            "push_sum": self.push_sum,
            "discount": self.discount,
            "hash": self.hash,
        }
        if self.agents <= 256 and self.agents**2 * len(self.rounds) <= MAX_JSON_NUMBERS:
            data["matrices"] = [mixing.dense().tolist() for mixing in self.rounds]
        return data

    def draw(self) -> str:
        """A text drawing of who hears whom, at most eight lines for eight agents."""
        return drawing.draw(self.edges, self.rounds)
