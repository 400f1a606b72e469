"""CartPole whose pole, cart and gravity can be chosen: tasks that differ, and share a network.

Gymnasium's own, with its defaults; ``length`` is half the pole's, as there.
"""

from __future__ import annotations

import math
from typing import Any

import gymnasium
from gymnasium.envs.classic_control import cartpole

from gala.errors import UserError

NAME = "gala/CartPole-v1"


class CartPoleEnv(cartpole.CartPoleEnv):
    """One of them.

    Args:
        length: half the length of the pole.
        gravity: acceleration downwards.
        masscart: mass of the cart.
        masspole: mass of the pole.
        force_mag: force of a push.
        render_mode: see :class:`gymnasium.Env`.
    """

    def __init__(
        self,
        length: float = 0.5,
        gravity: float = 9.8,
        masscart: float = 1.0,
        masspole: float = 0.1,
        force_mag: float = 10.0,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(render_mode=render_mode)
        _set(self, length, gravity, masscart, masspole, force_mag)


class CartPoleVectorEnv(cartpole.CartPoleVectorEnv):
    """Several that are alike.

    Args:
        num_envs: how many.
        max_episode_steps: after which an episode is truncated.
        length: see :class:`CartPoleEnv`; so the following.
        gravity: likewise.
        masscart: likewise.
        masspole: likewise.
        force_mag: likewise.
        render_mode: likewise.
    """

    def __init__(
        self,
        num_envs: int = 1,
        max_episode_steps: int = 500,
        length: float = 0.5,
        gravity: float = 9.8,
        masscart: float = 1.0,
        masspole: float = 0.1,
        force_mag: float = 10.0,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(num_envs, max_episode_steps, render_mode)
        _set(self, length, gravity, masscart, masspole, force_mag)


def _set(
    env: Any, length: float, gravity: float, masscart: float, masspole: float, force_mag: float
) -> None:
    """Put the constants, and what follows from them, in place.

    Raises:
        UserError: one is no positive number.
    """
    given = {
        "length": length,
        "gravity": gravity,
        "masscart": masscart,
        "masspole": masspole,
        "force_mag": force_mag,
    }
    for name, value in given.items():
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
