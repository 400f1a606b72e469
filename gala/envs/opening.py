"""How a game, or the next life in it, begins: what is pressed before the policy plays.

Some games stand still until FIRE is pressed, and the frames of a lost life are not those of the
next one. The presses are whole steps of their environment; their rows are kept out of the loss,
while the other environments go on.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gala.envs.step import Array

POLICY = -1
"""Stands where the policy's own action counts."""


class Opening:
    """The presses of B games, and the age of their newest frames.

    Args:
        num_envs: B.
        after_reset: actions at the start of each game.
        after_life: actions after each lost life.
        stack: frames of an observation.
        clear: whether the first observation of a game or life holds no frame of before.
    """

    def __init__(
        self,
        num_envs: int,
        *,
        after_reset: tuple[int, ...],
        after_life: tuple[int, ...],
        stack: int,
        clear: bool,
    ) -> None:
        length = max(len(after_reset), len(after_life)) + 1
        self._after_reset, self._after_life = np.full((2, length), POLICY)
        self._after_reset[: len(after_reset)] = after_reset
        self._after_life[: len(after_life)] = after_life
        self._stack, self._clear = stack, clear
        self._queue = np.full((num_envs, length), POLICY)
        self._pressed = np.zeros(num_envs, np.bool_)
        self._age = np.ones(num_envs, np.int64)
        self._lost = np.zeros(num_envs, np.bool_)

    def reset(self) -> None:
        """All games are new."""
        self._queue[:] = self._after_reset
        self._pressed[:] = self._lost[:] = False
        self._age[:] = 1

    def press(self, actions: Array) -> Array:
        """Int[B], the actions of this step: those of the policy, or what is to be pressed."""
        self._pressed = self._queue[:, 0] != POLICY
        if not self._pressed.any():
            return actions
        chosen = np.where(self._pressed, self._queue[:, 0], actions).astype(actions.dtype)
        self._queue[:, :-1] = self._queue[:, 1:]  # its last column is the policy's
        return chosen

    def saw(self, began: NDArray[np.bool_], lost: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Note the outcome of a step.

        Args:
            began: Bool[B], a new game began in it.
            lost: Bool[B], a life was lost in it, and the game goes on.

        Returns:
            Bool[B], True where the policy's action did not count.
        """
        self._queue[began] = self._after_reset
        self._queue[lost] = self._after_life
        self._age += 1
        self._age[self._lost] = 1  # what is pressed after a lost life shows nothing of it either
        self._lost = lost & (self._queue[:, 0] != POLICY)
        first = (began | lost | self._pressed) & (self._queue[:, 0] == POLICY)
        self._age[first] = 1
        return self._pressed

    def clear(self, obs: Array) -> None:
        """Blacken what is older than the game or life, in [B, stack, ...]."""
        if self._clear and self._age.min() < self._stack:
            for i in np.flatnonzero(self._age < self._stack):
                obs[i, : self._stack - self._age[i]] = 0
