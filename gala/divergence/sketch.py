"""Linear sketches: distances between long parameter vectors from a few numbers each.

Bucket k of the sketch of x is ``sum of s_i x_i over i = k (mod m)`` with random signs ``s_i`` that
all agents share (a strided count sketch; Charikar, Chen and Farach-Colton 2002). It is linear, so
the mean's sketch is the mean of the sketches, and ``||sketch(x)||^2`` estimates ``||x||^2`` without
bias and with relative standard error about ``1 / sqrt(2 m)`` of the norm.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Sketcher:
    """Sketches Float[P] vectors into Float32[size].

    Args:
        parameters: P.
        size: m, buckets.
        seed: of the signs; equal on all agents.
    """

    def __init__(self, parameters: int, size: int, seed: int = 0) -> None:
        self.size = size
        padded = -(-parameters // size) * size
        generator = torch.Generator().manual_seed(seed)
        signs = torch.randint(0, 2, (padded,), generator=generator, dtype=torch.int8) * 2 - 1
        self._signs = signs.to(torch.float32)
        self._padded = torch.zeros(padded)
        self._parameters = parameters

    def __call__(self, vector: Tensor) -> NDArray[np.float32]:
        """Float32[size] of Float[P] on any device."""
        assert vector.shape == (self._parameters,)
        self._padded[: self._parameters].copy_(vector)
        sums = (self._padded * self._signs).view(-1, self.size).sum(0)
        return np.asarray(sums.numpy(), dtype=np.float32)


def relative_error(size: int) -> float:
    """Relative standard error (1 sigma) of a distance from sketches of ``size`` buckets."""
    return 1.0 / math.sqrt(2.0 * size)


def distances_to_mean(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """``||x_i - mean||_2`` of the rows of Float[N, P] (or of their sketches), Float[N]."""
    centred = vectors - vectors.mean(axis=0, keepdims=True)
    return np.asarray(np.linalg.norm(centred, axis=1))
