"""Simulators behind one small interface: Atari, any Gymnasium id, the identity environment."""

from __future__ import annotations

from gala.config import EnvConfig
from gala.envs.step import Episode, Step, VectorEnv

__all__ = ["Episode", "Step", "VectorEnv", "make_vector_env"]

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
