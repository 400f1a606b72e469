"""CartPole whose pole, cart and gravity can be chosen: tasks that differ, and share a network.

Gymnasium's own, with its defaults; ``length`` is half the pole's, as there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import gymnasium
from gymnasium.envs.classic_control import cartpole

from gala.errors import UserError, did_you_mean

NAME = "gala/CartPole-v1"


CONSTANTS = ("length", "gravity", "masscart", "masspole", "force_mag")
"""What can be chosen, by the names that Gymnasium's environment has for it."""


class CartPoleEnv(cartpole.CartPoleEnv):
    """One of them.

    Args:
        render_mode: see :class:`gymnasium.Env`.
        constants: some of :data:`CONSTANTS`, positive numbers.
    """

    def __init__(self, render_mode: str | None = None, **constants: float) -> None:
        super().__init__(render_mode=render_mode)
        _set(self, constants)


class CartPoleVectorEnv(cartpole.CartPoleVectorEnv):
    """Several that are alike.

    Args:
        num_envs: how many.
        max_episode_steps: after which an episode is truncated.
        render_mode: see :class:`CartPoleEnv`.
        constants: see :class:`CartPoleEnv`.
    """

    def __init__(
        self,
        num_envs: int = 1,
        max_episode_steps: int = 500,
        render_mode: str | None = None,
        **constants: float,
    ) -> None:
        super().__init__(num_envs, max_episode_steps, render_mode)
        _set(self, constants)


def _set(env: Any, constants: Mapping[str, Any]) -> None:
    """Put constants, and what follows from them, in place.

    Raises:
        UserError: there is none of a name, or one is no positive number.
    """
    for name, value in constants.items():
        if name not in CONSTANTS:
            hint = did_you_mean(name, CONSTANTS)
            raise UserError(f"CartPole has no {name}", field="env.kwargs", hint=hint)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not (number and math.isfinite(value) and value > 0):
            rule = f"{name} must be a number greater than 0, got {value!r}"
            raise UserError(rule, field=f"env.kwargs.{name}")
        setattr(env, name, float(value))
    env.total_mass = env.masspole + env.masscart
    env.polemass_length = env.masspole * env.length


def register() -> None:
    """Make the id known to Gymnasium."""
    if NAME not in gymnasium.registry:
        gymnasium.register(
            NAME,
            entry_point=f"{__name__}:{CartPoleEnv.__name__}",
            vector_entry_point=f"{__name__}:{CartPoleVectorEnv.__name__}",
            max_episode_steps=500,
            reward_threshold=475.0,
        )
