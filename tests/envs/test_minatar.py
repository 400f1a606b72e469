"""MinAtar's games are registered when one is asked for, and only then."""

from __future__ import annotations

import logging
import sys
from importlib import metadata
from types import ModuleType

import gymnasium
import numpy as np
import pytest

from gala.config.sections import EnvConfig
from gala.envs import make_vector_env
from gala.errors import UserError
from gala.files import commands
from gala.files.shipped import resolve
from gala.run.config import load

GAMES = ("asterix", "breakout", "freeway", "seaquest", "space-invaders")


@pytest.fixture(autouse=True)
def unregistered(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [each for each in gymnasium.registry if each.startswith("MinAtar/")]:
        monkeypatch.delitem(gymnasium.registry, name)


class Boolean(gymnasium.Env[np.ndarray, int]):
    """What the games look like: truths, whose last axis is what they are about."""

    observation_space = gymnasium.spaces.Box(0.0, 1.0, (10, 10, 6), bool)
    action_space = gymnasium.spaces.Discrete(3)

    def reset(self, *, seed: int | None = None, options: object = None) -> tuple[np.ndarray, dict]:
        return self.observation_space.sample(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        return self.observation_space.sample(), 1.0, False, False, {}


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A package that registers a game, and logs as that one does; the names of its calls."""
    calls: list[str] = []

    def register_envs() -> None:
        calls.append("register_envs")
        gymnasium.register("MinAtar/Breakout-v1", entry_point=Boolean)

    module = ModuleType("minatar.gym")
    module.register_envs = register_envs  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "minatar", ModuleType("minatar"))
    monkeypatch.setitem(sys.modules, "minatar.gym", module)
    point = metadata.EntryPoint("MinAtar", "minatar.gym:register_envs", "gymnasium.envs")
    monkeypatch.setattr(metadata, "entry_points", lambda group, name: [point])
    return calls


def game(name: str, channels: str = "last") -> EnvConfig:
    return EnvConfig(id=name, num_envs=2, channels=channels)  # type: ignore[arg-type]


def test_a_game_is_a_picture_of_its_things(package: list[str]) -> None:
    for _ in range(2):
        env = make_vector_env(game("MinAtar/Breakout-v1"), seed=1)
        assert env.observation_space.shape == (6, 10, 10)
        assert env.reset().dtype == np.uint8 and env.step(np.zeros(2, np.int64)).reward[0] == 1.0
        env.close()
    assert package == ["register_envs"]  # once a process
    assert logging.root.manager.disable == logging.NOTSET
    with pytest.raises(UserError, match="did you mean 'MinAtar/Breakout-v1'"):
        make_vector_env(game("MinAtar/Breakoud-v1"), seed=1)


def test_other_environments_load_no_package(package: list[str]) -> None:
    make_vector_env(game("CartPole-v1", "auto"), seed=1).close()
    assert package == []


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "entry_points", lambda group, name: [])
    with pytest.raises(UserError) as caught:
        make_vector_env(game("MinAtar/Breakout-v1"), seed=1)
    told = f"env.id: needs the package MinAtar ({commands.install('minatar')})"
    assert str(caught.value) == told and logging.root.manager.disable == logging.NOTSET


@pytest.mark.parametrize("name", GAMES)
def test_the_games_themselves(name: str) -> None:
    pytest.importorskip("minatar.gym", exc_type=ImportError)
    env = make_vector_env(load(resolve("experiments", f"minatar-{name}")).env, seed=1)
    assert env.observation_space.shape is not None and env.observation_space.shape[1:] == (10, 10)
    first = env.reset().copy()
    assert set(np.unique(first)) == {0, 1}
    again = make_vector_env(load(resolve("experiments", f"minatar-{name}")).env, seed=1)
    np.testing.assert_array_equal(first, again.reset())
    env.close()
    again.close()
