"""Two tasks of one kind, which only a picture tells apart: the second one wants other actions."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

SIDE, ACTIONS, LENGTH = 5, 4, 10


class Lights(gymnasium.Env[Any, Any]):
    """One column is lit: reward 1 for naming it, or for naming the one ``shift`` further on.

    The first task has 2 channels; with a shift a third one is there, and lit all over. Where it is
    ``masked``, one wrong action is forbidden.
    """

    action_space = gymnasium.spaces.Discrete(ACTIONS)

    def __init__(self, shift: int = 0, masked: bool = False) -> None:
        self.shift, self.masked, channels = shift, masked, 2 + (shift > 0)
        self.observation_space = gymnasium.spaces.Box(0.0, 1.0, (SIDE, SIDE, channels), bool)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.steps = 0
        return self._next(), self._info()

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        reward = float((self.column + self.shift) % ACTIONS == action)
        self.steps += 1
        return self._next(), reward, self.steps >= LENGTH, False, self._info()

    def _info(self) -> dict[str, Any]:
        forbidden = (self.column + self.shift + 1) % ACTIONS
        return {"action_mask": np.arange(ACTIONS) != forbidden} if self.masked else {}

    def _next(self) -> Any:
        self.column = int(self.np_random.integers(ACTIONS))
        seen = np.zeros(self.observation_space.shape or (), bool)
        seen[:, self.column, 0] = True
        seen[..., 2:] = True
        return seen


gymnasium.register("Lights-v0", entry_point=Lights)
