"""Batch: what a learner sees, the same tensors for ever."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


@dataclass(slots=True)
class Batch:
    """T steps of B environments; the arrays are reused by the next batch of the same source.

    Row T of ``obs`` is what the next batch starts from.

    Attributes:
        obs: [T + 1, B, ...].
        action: [T, B, ...].
        reward: Float32[T, B], the learner's (clipped if asked).
        discount: Float32[T, B]: 0 at termination, gamma elsewhere (truncation included).
        cut: Bool[T, B], True where the episode does not go on in row t + 1: nothing may be summed
            across it.
        valid: Bool[T, B], False where autoreset ignored the action: keep out of the loss.
        final: Bool[T, B], True where the true successor of step t is not ``obs[t + 1]`` but an
            observation that only the behaviour policy has valued (same-step autoreset).
        dist: Float32[T, B, K], parameters of the behaviour's action distribution.
        value: Float32[T, B], V(obs[t]) of the policy that acted.
        next_value: Float32[T, B], V of the true successor of step t, likewise.
        mask: Bool[T, B, K], actions that were allowed; None where all always are.
        version: Int64[B], revision of the parameters that acted, per environment.
    """

    obs: Tensor
    action: Tensor
    reward: Tensor
    discount: Tensor
    cut: Tensor
    valid: Tensor
    final: Tensor
    dist: Tensor
    value: Tensor
    next_value: Tensor
    version: NDArray[np.int64]
    mask: Tensor | None = None

    @property
    def steps(self) -> int:
        """T."""
        return self.action.shape[0]

    @property
    def envs(self) -> int:
        """B."""
        return self.action.shape[1]

    def lag(self, revision: int) -> tuple[float, int]:
        """Mean and largest policy lag: updates between who acted and ``revision``."""
        lag = revision - self.version
        return float(lag.mean()), int(lag.max())
