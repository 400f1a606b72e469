"""What a topology file says, whatever its format, before it meets a number of agents."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gala.errors import UserError
from gala.topology.graph import Edges
from gala.topology.schedules import Schedule
from gala.topology.weights import Weights

Key = tuple[str | int, ...]


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where things stand in a file, for messages.

    Attributes:
        file: the file, or None for a bare family name.
        line: 1-based line of a field, or None where the format has no lines.
    """

    file: Path | None = None
    line: Callable[[Key], int | None] = field(default=lambda key: None)

    def error(self, rule: str, *key: str | int, hint: str, line: int | None = None) -> UserError:
        """A :class:`UserError` that points at ``key``.

        Args:
            rule: what is wrong.
            key: the field.
            hint: the nearest valid value, or what to do; no complaint goes without.
            line: where the field is, if known better.
        """
        name = ".".join(map(str, key)) or None
        line = self.line(key) if line is None else line
        return UserError(rule, file=self.file, line=line, field=name, hint=hint)


@dataclass(frozen=True, kw_only=True, eq=False)
class EdgeList:
    """Edges as a file gives them, unchecked.

    Attributes:
        edges: Int64[E, 2] of (source, target).
        weight: Float64[E]; NaN where :attr:`weighted` is False.
        weighted: Bool[E], whether the file gives a weight.
        round: Int64[E], the round that uses the edge, -1 for every round.
        entry: Int64[E], index of the entry of the file that the edge came from.
        rounds: rounds of one period.
    """

    edges: Edges
    weight: NDArray[np.float64]
    weighted: NDArray[np.bool_]
    round: NDArray[np.int64]
    entry: NDArray[np.int64]
    rounds: int = 1

    @staticmethod
    def of(
        triples: list[tuple[int, int, float | None]],
        *,
        round: list[int] | None = None,
        entry: list[int] | None = None,
        rounds: int = 1,
    ) -> EdgeList:
        """From (source, target, weight or None) per edge."""
        count = len(triples)
        weight = np.array([np.nan if w is None else w for _, _, w in triples], dtype=np.float64)
        return EdgeList(
            edges=np.array([(s, t) for s, t, _ in triples], dtype=np.int64).reshape(-1, 2),
            weight=weight,
            weighted=np.array([w is not None for _, _, w in triples], dtype=np.bool_),
            round=np.full(count, -1) if round is None else np.array(round, dtype=np.int64),
            entry=np.arange(count) if entry is None else np.array(entry, dtype=np.int64),
            rounds=rounds,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Description:
    """A topology file, read.

    Attributes:
        name: of the topology.
        place: for messages.
        agents: number of agents, or None for any.
        family: name of the family, or None when ``edges`` is given.
        options: of the family.
        edges: the edges, or None when ``family`` is given.
        weights: as the file says, or None for the default.
        schedule: as the file says, or None for the default.
        edges_key: field of the file that holds the edges, for messages.
        agents_key: field that holds the number of agents; None: it is that of the nodes.
        hints: fixes that only this format has, by what is wrong: ``weights`` (not those of a
            mixing matrix), ``twice`` (an edge), ``self`` (an edge to oneself).
        notes: what the user should know about how the file was read.
    """

    name: str
    place: Place
    agents: int | None = None
    family: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    edges: EdgeList | None = None
    weights: Weights | None = None
    schedule: Schedule | None = None
    edges_key: str = "edges"
    agents_key: str | None = "agents"
    hints: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
