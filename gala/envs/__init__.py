"""Environments behind one small interface: Atari, any Gymnasium id, two made for learning tests."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence

from gala.config.sections import EnvConfig
from gala.config.tasks import tasks_of
from gala.envs.own import own_maker
from gala.envs.step import Episode, Step, VectorEnv, env_seeds
from gala.envs.translation import Translation, translate

__all__ = ["Episode", "Step", "Translation", "VectorEnv"]
__all__ += ["make_each", "make_vector_envs", "make_vector_env", "translation_of"]


def make_vector_env(config: EnvConfig, *, seed: int, threads: int = 1) -> VectorEnv:
    """The environments of one agent.

    Args:
        config: environment, number of environments and protocol.
        seed: of the environments; give each agent its own.
        threads: for environments that are threads (Atari).

    Raises:
        UserError: unknown environment (with the nearest name) or missing extra.
    """
    maker = own_maker(config.id)
    if maker is not None:
        return maker(config, seed, threads)
    from gala.envs.gym import make_gym_env

    return make_gym_env(config, seed=seed)


def make_vector_envs(config: EnvConfig, *, seed: int, threads: int = 1) -> list[VectorEnv]:
    """All environments of one agent; those that are processes in two vectors, which play by turns.

    Args and raises: see :func:`make_vector_env`.
    """
    processes = config.workers == "async" and own_maker(config.id) is None
    if not processes or config.num_envs < 2:
        return [make_vector_env(config, seed=seed, threads=threads)]
    second = config.num_envs // 2
    halves = (config.num_envs - second, second)
    parts = [dataclasses.replace(config, num_envs=count) for count in halves]
    return make_each(parts, seed=seed, threads=threads)


def make_each(parts: Sequence[EnvConfig], *, seed: int, threads: int = 1) -> list[VectorEnv]:
    """Vectors of one agent that play by turns: all of them, or none.

    Args and raises: see :func:`make_vector_env`.
    """
    envs: list[VectorEnv] = []
    try:
        for part, each in zip(parts, env_seeds(seed, len(parts)), strict=True):
            envs.append(make_vector_env(part, seed=each, threads=threads))
    except BaseException:
        for env in envs:
            env.close()  # processes, which would stay
        raise
    return envs


def translation_of(config: EnvConfig) -> Translation:
    """What lies between the environments of a run and its policy; makes one of them to see.

    All tasks of a run have the same: the first one's is told. Of Atari the environment's
    observations are those after the whole protocol: stacked frames.

    Raises:
        UserError: see :func:`make_vector_env`.
    """
    from gala.envs.making import make_vector

    config = tasks_of(config)[0]
    one = dataclasses.replace(config, num_envs=1)
    if own_maker(config.id) is not None:
        with contextlib.closing(make_vector_env(one, seed=0)) as env:
            picture = len(env.observation_space.shape or ()) == 3
            channels = "first" if picture else "auto"
            return translate(env.observation_space, env.action_space, channels=channels)
    if config.workers == "async":
        one = dataclasses.replace(one, workers="sync")
    with contextlib.closing(make_vector(one)) as vector:
        spaces = vector.single_observation_space, vector.single_action_space
        return translate(*spaces, channels=config.channels, pad=config.pad_channels)
