"""A vector of another library: a function and a line in the table are all of it."""

from __future__ import annotations

import gymnasium
import pytest

from gala import envs
from gala.config.sections import EnvConfig
from gala.envs import own
from gala.envs.identity import IdentityEnv

CONFIG = EnvConfig(id="library/Two-v0", num_envs=4, workers="async")


def make_two(config: EnvConfig, seed: int, threads: int) -> envs.VectorEnv:
    return IdentityEnv(config, seed=seed, length=2)


def test_a_line_in_the_table_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(own.OWN, CONFIG.id, make_two)
    env = envs.make_vector_env(CONFIG, seed=1)
    assert isinstance(env, IdentityEnv) and env.num_envs == 4
    (alone,) = envs.make_vector_envs(CONFIG, seed=1)
    assert isinstance(alone, IdentityEnv), "its environments are no processes of Gymnasium's"
    translation = envs.translation_of(CONFIG)
    assert translation.given == env.observation_space
    assert translation.actions.given == gymnasium.spaces.Discrete(4)
