"""Simulators behind one small interface: Atari, any Gymnasium id, the identity environment."""

from __future__ import annotations

import dataclasses

from gala.config import EnvConfig
from gala.envs.step import Episode, Step, VectorEnv, simulator_seeds

__all__ = ["Episode", "Step", "VectorEnv", "make_halves", "make_vector_env"]

IDENTITY = "gala/Identity-v0"


def make_vector_env(config: EnvConfig, *, seed: int, threads: int = 1) -> VectorEnv:
    """The simulators of one agent.

    Args:
        config: environment, number of simulators and protocol.
        seed: of the simulators; give each agent its own.
        threads: for simulators that are threads (Atari).

    Raises:
        UserError: unknown environment (with the nearest name) or missing extra.
    """
    if config.id == IDENTITY:
        from gala.envs.identity import IdentityEnv

        return IdentityEnv(config, seed=seed)
    from gala.envs.atari import AtariEnv, game_of

    game = game_of(config.id)
    if game is not None:
        return AtariEnv(game, config, seed=seed, threads=threads)
    from gala.envs.gym import make_gym_env

    return make_gym_env(config, seed=seed)


def make_halves(config: EnvConfig, *, seed: int, threads: int = 1) -> list[VectorEnv]:
    """Two halves of simulators that play on by themselves, in processes; else all in one vector.

    Args and raises: see :func:`make_vector_env`.
    """
    if config.workers != "async" or config.num_envs < 2:
        return [make_vector_env(config, seed=seed, threads=threads)]
    second = config.num_envs // 2
    halves: list[VectorEnv] = []
    try:
        for count, each in zip((config.num_envs - second, second), simulator_seeds(seed, 2),
                               strict=True):  # fmt: skip
            part = dataclasses.replace(config, num_envs=count)
            halves.append(make_vector_env(part, seed=each, threads=threads))
    except BaseException:
        for half in halves:
            half.close()  # processes, which would stay
        raise
    return halves
