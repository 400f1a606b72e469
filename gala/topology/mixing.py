"""One round of gossip as a sparse matrix.

Convention of the whole package: row i holds the weights that agent i gives, so that
``X(k+1) = P X(k)`` with one row of X per agent, and an edge (source, target) with weight w is the
entry ``P[target, source] = w``: target averages what source publishes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Row = tuple[float, dict[int, float]]

TOLERANCE = 1e-9
"""Sums within this distance of one count as one (weights come from files with few digits)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Mixing:
    """The weights of one round.

    Attributes:
        self_weight: Float64[N], the diagonal.
        source: Int64[E], agent that publishes, per edge.
        target: Int64[E], agent that averages, per edge; edges are sorted by target, then source.
        weight: Float64[E], weight that target gives to source.
    """

    self_weight: NDArray[np.float64]
    source: NDArray[np.int64]
    target: NDArray[np.int64]
    weight: NDArray[np.float64]

    @staticmethod
    def of(
        agents: int,
        source: NDArray[np.int64],
        target: NDArray[np.int64],
        weight: NDArray[np.floating[Any]],
        self_weight: NDArray[np.floating[Any]],
    ) -> Mixing:
        """Sort the edges; every array as the attribute of its name."""
        assert self_weight.shape == (agents,)
        order = np.lexsort((source, target))
        return Mixing(
            self_weight=np.ascontiguousarray(self_weight, dtype=np.float64),
            source=np.ascontiguousarray(source[order], dtype=np.int64),
            target=np.ascontiguousarray(target[order], dtype=np.int64),
            weight=np.ascontiguousarray(weight[order], dtype=np.float64),
        )

    @property
    def agents(self) -> int:
        """N."""
        return len(self.self_weight)

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """Per agent: its own weight and the weight of each in-neighbour."""
        starts = np.searchsorted(self.target, np.arange(self.agents + 1))
        source, weight = self.source.tolist(), self.weight.tolist()
        return tuple(
            (own, dict(zip(source[a:b], weight[a:b], strict=True)))
            for own, a, b in zip(self.self_weight.tolist(), starts[:-1], starts[1:], strict=True)
        )

    def apply(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """``P x`` for x Float64[N] or Float64[N, D], without building the matrix."""
        return self._product(x, self.source, self.target)

    def apply_transposed(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """``P^T x`` for x Float64[N] or Float64[N, D]."""
        return self._product(x, self.target, self.source)

    def _product(
        self, x: NDArray[np.float64], read: NDArray[np.int64], write: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        if x.ndim == 1:
            summed = np.bincount(write, self.weight * x[read], minlength=self.agents)
            return np.asarray(self.self_weight * x + summed, dtype=np.float64)
        return np.stack([self._product(column, read, write) for column in x.T], axis=1)

    def discounted(self, factor: float) -> Mixing:
        """What agents give each other times ``factor``; what that leaves goes to themselves."""
        if factor == 1.0:
            return self
        own = 1 - factor * (1 - self.self_weight)
        return replace(self, weight=factor * self.weight, self_weight=own)

    def dense(self) -> NDArray[np.float64]:
        """Float64[N, N]."""
        matrix = np.diag(self.self_weight)
        matrix[self.target, self.source] = self.weight
        return matrix

    @cached_property
    def row_sums(self) -> NDArray[np.float64]:
        """Float64[N]."""
        return self.apply(np.ones(self.agents))

    @cached_property
    def column_sums(self) -> NDArray[np.float64]:
        """Float64[N]."""
        return self.apply_transposed(np.ones(self.agents))

    @property
    def row_stochastic(self) -> bool:
        """Every agent's weights sum to one: agents in consensus stay there."""
        return bool(np.abs(self.row_sums - 1).max() <= TOLERANCE)

    @property
    def column_stochastic(self) -> bool:
        """The weights that others give to an agent sum to one: the mean is preserved."""
        return bool(np.abs(self.column_sums - 1).max() <= TOLERANCE)

    @property
    def doubly_stochastic(self) -> bool:
        """Row- and column-stochastic."""
        return self.row_stochastic and self.column_stochastic

    @property
    def symmetric(self) -> bool:
        """Every edge is there in both directions, with the same weight."""
        back = np.lexsort((self.target, self.source))
        return (
            np.array_equal(self.source, self.target[back])
            and np.array_equal(self.target, self.source[back])
            and bool(np.allclose(self.weight, self.weight[back], rtol=0, atol=TOLERANCE))
        )
