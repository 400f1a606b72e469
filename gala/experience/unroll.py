"""Unroll: T steps of some environments as one piece of memory, on its way to a learner."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gala.experience.batch import Batch, copy_batch, part_of
from gala.networks.heads import ActionHead

_ALIGN = 64
_GAMES, _FAULTS, _ACTOR, _IDLE, _BUSY, _NUMBER = range(6)
_FAULT_BYTES = 512


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What the arrays of a batch are, except for its number of environments.

    Attributes:
        steps: T.
        obs: shape of one observation.
        obs_dtype: its type.
        action: shape of one action.
        action_dtype: its type.
        dist: K, parameters of an action distribution.
        masked: whether actions are masked.
        memory: shape of what a network remembers of an environment; None: it is feed-forward.
    """

    steps: int
    obs: tuple[int, ...]
    obs_dtype: torch.dtype
    action: tuple[int, ...]
    action_dtype: torch.dtype
    dist: int
    masked: bool
    memory: tuple[int, ...] | None = None

    def size(self, envs: int) -> int:
        """Bytes of the arrays of B environments."""
        return sum(_aligned(_bytes(dtype, shape)) for _, dtype, shape in self._fields(envs))

    def batch(self, memory: Tensor, envs: int) -> Batch:
        """A batch of B environments in Uint8[:meth:`size`], on any device."""
        offset = 0
        found: dict[str, Any] = {}
        for name, dtype, shape in self._fields(envs):
            end = offset + _bytes(dtype, shape)
            found[name] = memory[offset:end].view(dtype).view(shape)
            offset += _aligned(end - offset)
        return Batch(version=np.zeros((self.steps, envs), np.int64), **found)

    def _fields(self, envs: int) -> list[tuple[str, torch.dtype, tuple[int, ...]]]:
        rows = self.steps, envs
        fields = [
            ("obs", self.obs_dtype, (self.steps + 1, envs, *self.obs)),
            ("action", self.action_dtype, (*rows, *self.action)),
            ("dist", torch.float32, (*rows, self.dist)),
        ]
        fields += [
            (name, torch.float32, rows) for name in ("reward", "discount", "value", "next_value")
        ]
        fields += [(name, torch.bool, rows) for name in ("cut", "valid", "final")]
        if self.masked:
            fields.append(("mask", torch.bool, (*rows, self.dist)))
        if self.memory is not None:
            fields.append(("memory", torch.float32, (envs, *self.memory)))
            fields.append(("begin", torch.bool, (self.steps + 1, envs)))
        return fields


def layout_of(
    steps: int,
    first: Tensor,
    head: ActionHead,
    *,
    masked: bool,
    memory: tuple[int, ...] | None = None,
) -> Layout:
    """The layout of unrolls.

    Args:
        steps: T.
        first: observations [B, ...].
        head: turns distributions into actions.
        masked: whether the environments say which actions are allowed.
        memory: shape of what the network remembers of an environment, if it does.
    """
    action = head.buffer(1, 1)
    return Layout(
        steps=steps,
        obs=tuple(first.shape[1:]),
        obs_dtype=first.dtype,
        action=tuple(action.shape[2:]),
        action_dtype=action.dtype,
        dist=head.size,
        masked=masked,
        memory=memory,
    )


class Unroll:
    """A slot of shared memory: an unroll of n environments, and what goes with it.

    Args:
        memory: Uint8[:meth:`size`] on the CPU.
        layout: of the arrays.
        envs: n.

    Attributes:
        sealed: Uint8, all that a checksum must cover.
        checksum: Uint64[1], beside it.
        batch: the arrays, and the version that lies beside them.
    """

    def __init__(self, memory: Tensor, layout: Layout, envs: int) -> None:
        self.checksum = memory[:8].numpy().view(np.uint64)
        self.sealed = memory[_ALIGN:]
        self._most = _most_games(layout.steps, envs)
        rows = layout.steps, envs
        sizes = [_ALIGN, _aligned(8 * math.prod(rows)), _aligned(16 * self._most), _FAULT_BYTES]
        words, versions, games, faults, arrays = torch.split(
            self.sealed, [*sizes, layout.size(envs)]
        )
        self._words = words.view(torch.int64).numpy()
        self._games = games[: 16 * self._most].view(torch.float64).view(-1, 2).numpy()
        self._faults = faults.numpy()
        self.batch = layout.batch(arrays, envs)
        self.batch.version = versions[: 8 * math.prod(rows)].view(torch.int64).view(rows).numpy()

    @staticmethod
    def size(layout: Layout, envs: int) -> int:
        """Bytes of a slot for n environments."""
        games = _aligned(16 * _most_games(layout.steps, envs))
        versions = _aligned(8 * layout.steps * envs)
        return 2 * _ALIGN + versions + games + _FAULT_BYTES + layout.size(envs)

    def fill(
        self,
        batch: Batch,
        *,
        version: int,
        games: Sequence[tuple[float, int]] = (),
        faults: Sequence[str] = (),
        actor: int = 0,
        number: int = 0,
        idle_s: float = 0.0,
        busy_s: float = 0.0,
    ) -> None:
        """Copy ``batch``, and what goes with it, into the slot.

        Args:
            batch: of n environments.
            version: revision of the parameters that acted in all of it.
            games: see :meth:`note`, also of what follows.
            faults: likewise.
            actor: likewise.
            number: likewise.
            idle_s: likewise.
            busy_s: likewise.
        """
        copy_batch(batch, self.batch)
        self.batch.version.fill(version)
        self.note(
            games=games, faults=faults, actor=actor, number=number, idle_s=idle_s, busy_s=busy_s
        )

    def note(
        self,
        *,
        games: Sequence[tuple[float, int]],
        faults: Sequence[str],
        actor: int,
        number: int = 0,
        idle_s: float = 0.0,
        busy_s: float = 0.0,
    ) -> None:
        """Note what goes with the arrays.

        Args:
            games: return and length of those that ended.
            faults: see :class:`~gala.experience.source.Source`; cut off where they are too long.
            actor: index of who acted.
            number: unrolls that it had filled before, since it began.
            idle_s: seconds that it waited before, for a slot.
            busy_s: seconds that it acted.
        """
        kept = games[-self._most :]
        self._games[: len(kept)] = np.array(kept, np.float64).reshape(-1, 2)
        text = "\n".join(faults).encode()[:_FAULT_BYTES]
        self._faults[: len(text)] = np.frombuffer(text, np.uint8)
        times = [int(1e9 * seconds) for seconds in (idle_s, busy_s)]
        self._words[:6] = [len(kept), len(text), actor, *times, number]

    def copy_to(self, batch: Batch, where: slice) -> None:
        """Copy the arrays, and the versions, into the columns ``where`` of a larger batch."""
        copy_batch(self.batch, part_of(batch, where))
        batch.version[:, where] = self.batch.version

    @property
    def oldest(self) -> int:
        """The oldest revision of the parameters that acted."""
        return int(self.batch.version.min())

    @property
    def actor(self) -> int:
        """Index of who acted."""
        return int(self._words[_ACTOR])

    @property
    def number(self) -> int:
        """Unrolls that the actor had filled before, since it began."""
        return int(self._words[_NUMBER])

    @property
    def games(self) -> list[tuple[float, int]]:
        """Return and length of each game that ended."""
        return [(float(r), int(n)) for r, n in self._games[: int(self._words[_GAMES])]]

    @property
    def faults(self) -> tuple[str, ...]:
        """What the environments gave that is not finite, in words."""
        text = self._faults[: int(self._words[_FAULTS])].tobytes().decode(errors="ignore")
        return tuple(text.split("\n")) if text else ()

    @property
    def times(self) -> tuple[float, float]:
        """Seconds that the actor waited before, and acted."""
        return float(self._words[_IDLE]) / 1e9, float(self._words[_BUSY]) / 1e9


def _most_games(steps: int, envs: int) -> int:
    """Games that can end in T steps: one a step, and those that are reported a row later."""
    return (steps + 1) * envs


def _bytes(dtype: torch.dtype, shape: Sequence[int]) -> int:
    return dtype.itemsize * math.prod(shape)


def _aligned(size: int) -> int:
    return -(-size // _ALIGN) * _ALIGN
