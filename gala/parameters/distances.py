"""Distances of long vectors, part by part, in pieces that stay in the processor's cache."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

PIECE = 1 << 17
"""Elements that are compared at a time."""


class Distances:
    """L2 distances between the parts of two vectors.

    Args:
        sizes: elements of each part, in order.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self._sizes = list(sizes)
        self._whole = sum(self._sizes) <= PIECE  # all of it fits: one pass, whatever the parts
        longest = sum(self._sizes) if self._whole else PIECE
        self._scratch = torch.empty(longest)
        ends = np.cumsum(self._sizes)[:-1]
        self._views = np.split(self._scratch.numpy(), ends) if self._whole else []

    def __call__(self, first: Tensor, second: Tensor) -> NDArray[np.float64]:
        """Float64[parts] of Float[P] each; not finite where an element is not."""
        plain = first.device.type == "cpu" and first.dtype == second.dtype == torch.float32
        if plain and self._whole:
            difference = torch.sub(first, second, out=self._scratch)
            if len(self._views) == 1:
                return np.sqrt([float(difference.dot(difference))])
            with np.errstate(over="ignore", invalid="ignore"):  # it shows in the result
                squares = [view.dot(view) for view in self._views]
            return np.sqrt(squares, dtype=np.float64)
        parts = torch.split(first, self._sizes), torch.split(second, self._sizes)
        if not plain:
            norms = torch._foreach_norm(torch._foreach_sub(*parts))
            return np.asarray(torch.stack(norms).tolist(), dtype=np.float64)
        sums = np.zeros(len(self._sizes))
        for k, (a, b) in enumerate(zip(*parts, strict=True)):
            for x, y in zip(torch.split(a, PIECE), torch.split(b, PIECE), strict=True):
                difference = torch.sub(x, y, out=self._scratch[: len(x)])
                sums[k] += float(difference.dot(difference))
        return np.sqrt(sums)
