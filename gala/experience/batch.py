"""Batch: what a learner sees, the same tensors for ever."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
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
        memory: Float32[B, ...], what the network remembered before row 0; None: it is feed-forward.
        begin: Bool[T + 1, B], True where ``obs`` is the first of an episode, so that nothing is
            remembered there; None likewise.
        version: Int64[T, B], revision of the parameters that acted, per step: they may change
            inside an unroll.
        weight: Float32[B], importance of each column in the loss; None: all count the same.
        burn_in: leading rows that are there for what a network remembers after them, and for
            nothing else: none of them is valid.
        stream: Int64[B]; columns of one number, in batches of one source, are of one environment,
            the later one goes on where the earlier one ended. None: each column always does.
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
    memory: Tensor | None = None
    begin: Tensor | None = None
    weight: Tensor | None = None
    burn_in: int = 0
    stream: NDArray[np.int64] | None = None

    @property
    def steps(self) -> int:
        """T."""
        return self.action.shape[0]

    @property
    def envs(self) -> int:
        """B."""
        return self.action.shape[1]

    def lag(self, revision: int) -> tuple[float, int]:
        """Mean and largest policy lag: changes between who acted and ``revision``."""
        lag = revision - self.version
        return float(lag.mean()), int(lag.max())


_BY_COLUMN = ("memory", "weight")
_BY_ROW = ("obs", "action", "reward", "discount", "cut", "valid", "final", "dist", "value",
           "next_value", "version", "mask", "begin")  # fmt: skip


def part_of(batch: Batch, columns: slice) -> Batch:
    """Some columns of a batch: views."""
    found = {name: getattr(batch, name) for name in (*_BY_COLUMN, *_BY_ROW)}
    there = {name: each for name, each in found.items() if each is not None}
    cut = {n: e[columns] if n in _BY_COLUMN else e[:, columns] for n, e in there.items()}
    return replace(batch, **cut)


def tensors_of(batch: Batch) -> dict[str, Tensor]:
    """By name; masks only where there are any."""
    found = {field.name: getattr(batch, field.name) for field in fields(batch)}
    return {name: value for name, value in found.items() if torch.is_tensor(value)}


def like_batch(batch: Batch) -> Batch:
    """A batch of zeros of the same shapes, in memory of its own."""
    there = tensors_of(batch).items()
    zeros: dict[str, Any] = {name: torch.zeros_like(tensor) for name, tensor in there}
    return replace(batch, **zeros, version=np.zeros_like(batch.version))


@torch.no_grad()
def copy_batch(source: Batch, target: Batch) -> None:
    """Copy the tensors of a batch into those of another one; may be recorded."""
    for mine, other in zip(tensors_of(target).values(), tensors_of(source).values(), strict=True):
        mine.copy_(other)
