"""Fields of MiniGrid as truths: numbers of kinds, which it gives as bytes, are no brightness."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

NUMBERS = (11, 6, 4)
"""Kinds of things, colours, and states: open, closed, locked; of the agent one of 4 directions."""


class OneHot(gymnasium.ObservationWrapper[Any, Any, Any]):
    """The picture of an observation alone, Bool[H, W, 21]: no mission, no direction.

    Args:
        env: one of MiniGrid, whose ``image`` is UInt8[H, W, 3].

    Raises:
        TypeError: it is another.
    """

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        space = env.observation_space
        image = space.get("image") if isinstance(space, gymnasium.spaces.Dict) else None
        shape = () if image is None else image.shape or ()
        if len(shape) != 3 or shape[2] != len(NUMBERS):
            raise TypeError(f"observations of MiniGrid are wanted, not {space}")
        truths = (*shape[:2], sum(NUMBERS))
        self.observation_space = gymnasium.spaces.Box(0, 1, truths, bool)
        self._rows = [np.eye(n, dtype=np.bool_) for n in NUMBERS]

    def observation(self, observation: dict[str, Any]) -> NDArray[np.bool_]:
        """Of each field what lies there, its colour, its state."""
        image = observation["image"]
        found = [rows[image[..., number]] for number, rows in enumerate(self._rows)]
        return np.concatenate(found, axis=-1)
