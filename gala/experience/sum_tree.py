"""Sum tree: draws numbers by their priorities (Schaul et al. 2016, arXiv 1511.05952)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class SumTree:
    """Priorities of ``size`` leaves, and above each two nodes their sum.

    Sums are made anew from what they are of, never by differences: rounding does not add up.

    Args:
        size: number of leaves.
    """

    def __init__(self, size: int) -> None:
        self._leaves = 1 << max(size - 1, 0).bit_length()
        self._nodes = np.zeros(2 * self._leaves)

    @staticmethod
    def bytes_of(size: int) -> int:
        """Memory of a tree."""
        return 16 << max(size - 1, 0).bit_length()

    @property
    def total(self) -> float:
        """The sum of all priorities."""
        return float(self._nodes[1])

    def __getitem__(self, leaves: NDArray[np.int64]) -> NDArray[np.float64]:
        """Priorities Float64[N] of Int64[N] leaves."""
        return self._nodes[self._leaves + leaves]

    def __setitem__(self, leaves: NDArray[np.int64], priority: NDArray[np.float64] | float) -> None:
        """Set priorities, finite and at least 0; where a leaf comes twice, the last one counts."""
        if not len(leaves):
            return
        nodes = self._leaves + leaves
        self._nodes[nodes] = priority
        while nodes[0] > 1:
            nodes = np.unique(nodes >> 1)
            self._nodes[nodes] = self._nodes[2 * nodes] + self._nodes[2 * nodes + 1]

    def find(self, shares: NDArray[np.float64]) -> NDArray[np.int64]:
        """The leaves, Int64[N], at Float64[N] shares in [0, 1) of the total, which is above 0.

        A leaf of priority 0 is never found, however sums were rounded.
        """
        assert self.total > 0, "nothing has a priority"
        left = shares * self.total
        nodes = np.ones(len(shares), np.int64)
        while len(nodes) and nodes[0] < self._leaves:
            nodes *= 2
            sums = self._nodes[nodes]
            right = (left >= sums) & (self._nodes[nodes + 1] > 0)
            left = np.where(right, left - sums, left)
            nodes += right
        return nodes - self._leaves
