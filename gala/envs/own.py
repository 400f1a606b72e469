"""Environments that have a vector of their own, made by gala and not by Gymnasium."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from gala.config.sections import EnvConfig
from gala.envs.step import VectorEnv
from gala.errors import UserError

Maker = Callable[[EnvConfig, int, int], VectorEnv]
"""Configuration, seed and threads to the environments of one agent."""


def _refuse_arguments(config: EnvConfig, hint: str) -> None:
    """For environments that have a vector of their own and no constructor of Gymnasium's.

    Args:
        config: must hold neither arguments, nor options, wrappers, or channels to add.
        hint: what to use instead.

    Raises:
        UserError: it holds some.
    """
    for name in ("kwargs", "options", "wrappers", "pad_channels"):
        if getattr(config, name):
            raise UserError(f"{config.id} takes none", field=f"env.{name}", hint=hint)


def _identity(config: EnvConfig, seed: int, threads: int) -> VectorEnv:
    from gala.envs.identity import IdentityEnv

    _refuse_arguments(config, "its episodes end after env.max_episode_steps")
    return IdentityEnv(config, seed=seed)


def _repeat_previous(config: EnvConfig, seed: int, threads: int) -> VectorEnv:
    from gala.envs.repeat_previous import RepeatPreviousEnv

    rest = dataclasses.replace(config, kwargs={})
    _refuse_arguments(rest, "its argument is env.kwargs.lag")
    return RepeatPreviousEnv(config, seed=seed)


def _atari(config: EnvConfig, seed: int, threads: int) -> VectorEnv:
    from gala.envs.atari import AtariEnv, game_of

    game = game_of(config.id)
    assert game is not None, config.id
    plain = f"ale_py:ALE/{game.title().replace('_', '')}-v5"
    _refuse_arguments(config, f"its choices are env.atari; {plain} is made by Gymnasium")
    return AtariEnv(game, config, seed=seed, threads=threads)


OWN: dict[str, Maker] = {
    "gala/Identity-v0": _identity,
    "gala/RepeatPrevious-v0": _repeat_previous,
}


def own_maker(env_id: str) -> Maker | None:
    """What makes the vectors of an id, where that is not Gymnasium.

    Raises:
        UserError: an ``ALE/`` id of no known game.
    """
    if env_id in OWN:
        return OWN[env_id]
    from gala.envs.atari import game_of

    return _atari if game_of(env_id) is not None else None
