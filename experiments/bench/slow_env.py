"""Environments of images that take their time, as a physics engine or a game in a window does.

``slow_env:Slow2-v0`` waits two milliseconds a step without using a core; ``slow_env:Slow0-v0`` does
not wait, ``Slow5-v0`` does so for five. Episodes end after 200 steps.
"""

from __future__ import annotations

import time
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]


class Slow(gymnasium.Env[Image, np.int64]):
    """An image of noise; the action does not matter.

    Args:
        milliseconds: of a step.
    """

    observation_space = gymnasium.spaces.Box(0, 255, (4, 84, 84), np.uint8)
    action_space = gymnasium.spaces.Discrete(4)

    def __init__(self, milliseconds: float) -> None:
        self._seconds = milliseconds / 1e3
        self._images = np.random.default_rng(0).integers(0, 256, (8, 4, 84, 84), np.uint8)
        self._steps = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Image, dict[str, Any]]:
        """A first image."""
        super().reset(seed=seed)
        return self._images[0], {}

    def step(self, action: np.int64) -> tuple[Image, float, bool, bool, dict[str, Any]]:
        """The next of eight images, a little later."""
        time.sleep(self._seconds)
        self._steps += 1
        return self._images[self._steps % len(self._images)], 0.0, False, False, {}


for wait in (0, 2, 5):
    gymnasium.register(
        f"Slow{wait}-v0", f"{__name__}:Slow", kwargs={"milliseconds": wait}, max_episode_steps=200
    )
