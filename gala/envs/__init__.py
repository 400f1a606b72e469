"""Simulators behind one small interface: Atari, any Gymnasium id, the identity environment."""

from __future__ import annotations

import dataclasses

from gala.config.sections import EnvConfig
from gala.envs.step import Episode, Step, VectorEnv, simulator_seeds

__all__ = ["Episode", "Step", "VectorEnv", "make_vector_envs", "make_vector_env"]

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
        from gala.envs.making import refuse_own_arguments

        refuse_own_arguments(config, "its episodes end after env.max_episode_steps")
        return IdentityEnv(config, seed=seed)
    from gala.envs.atari import AtariEnv, game_of

    game = game_of(config.id)
    if game is not None:
        from gala.envs.making import refuse_own_arguments

        plain = f"ale_py:ALE/{game.title().replace('_', '')}-v5"
        refuse_own_arguments(config, f"its choices are env.atari; {plain} is made by Gymnasium")
        return AtariEnv(game, config, seed=seed, threads=threads)
    from gala.envs.gym import make_gym_env

    return make_gym_env(config, seed=seed)


def make_vector_envs(config: EnvConfig, *, seed: int, threads: int = 1) -> list[VectorEnv]:
    """All simulators of one agent; those that are processes in two vectors, which play by turns.

    Args and raises: see :func:`make_vector_env`.
    """
    from gala.envs.atari import game_of

    processes = config.workers == "async" and config.id != IDENTITY and game_of(config.id) is None
    if not processes or config.num_envs < 2:
        return [make_vector_env(config, seed=seed, threads=threads)]
    second = config.num_envs // 2
    parts = zip((config.num_envs - second, second), simulator_seeds(seed, 2), strict=True)
    envs: list[VectorEnv] = []
    try:
        for count, each in parts:
            part = dataclasses.replace(config, num_envs=count)
            envs.append(make_vector_env(part, seed=each, threads=threads))
    except BaseException:
        for env in envs:
            env.close()  # processes, which would stay
        raise
    return envs
