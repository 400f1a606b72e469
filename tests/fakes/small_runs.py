"""Configurations of trainings of seconds, for tests of what is done with a trained run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gala.config.sections import EnvConfig, LogConfig, NetworkConfig, ReplayConfig
from gala.learning.a2c_config import A2CConfig
from gala.learning.sac_config import SACConfig
from gala.run.config import Config

QUIET = LogConfig(tensorboard=False, every_s=1e-6)
CARTPOLE = Config(
    env=EnvConfig(id="CartPole-v1", num_envs=2, normalize_observation=True),
    network=NetworkConfig(hidden=(8,)),
    a2c=A2CConfig(n_step=4),  # type: ignore[call-arg]
    log=QUIET,
    total_steps=400,
)
PENDULUM = Config(
    env=EnvConfig(id="Pendulum-v1", num_envs=2),
    network=NetworkConfig(hidden=(8,), activation="relu"),
    algorithm="sac",
    sac=SACConfig(n_step=1),  # type: ignore[call-arg]
    replay=ReplayConfig(capacity=300, batch=8, warm_up=20, updates_per_step=0.5),
    log=QUIET,
    total_steps=60,
)


def remembering(memory: Any) -> Config:
    """A short run of repeat-previous with a memory."""
    network = NetworkConfig(hidden=(8,), memory=memory, memory_size=8)
    env = EnvConfig(id="gala/RepeatPrevious-v0", num_envs=2)
    return replace(CARTPOLE, env=env, network=network, total_steps=80)
