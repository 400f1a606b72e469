"""MiniGrid's ids are registered by its import: when one is asked for, and only then."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import gymnasium
import numpy as np
import pytest

from gala.config.sections import EnvConfig
from gala.envs import make_vector_env, packages
from gala.envs.fields import NUMBERS, OneHot
from gala.errors import UserError
from gala.files import commands
from gala.files.shipped import resolve
from gala.run.config import load

IDS = ("MiniGrid-Pair-v0", "BabyAI-Pair-v0")
PACKAGE = """
import gymnasium


class Pair(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(0, 255, (7, 7, 3), "uint8")
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), 1.0, False, False, {}


for word in ("MiniGrid", "BabyAI"):
    gymnasium.register(f"{word}-Pair-v0", entry_point=Pair)
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a package that registers ids as that one does."""
    (tmp_path / "pairs_of_a_grid.py").write_text(PACKAGE)
    monkeypatch.syspath_prepend(tmp_path)
    name = "pairs_of_a_grid"
    monkeypatch.setattr(packages, "IMPORTED", dict.fromkeys(packages.IMPORTED, name))
    with mock.patch.dict(gymnasium.registry):
        yield name
    sys.modules.pop(name, None)


@pytest.mark.parametrize("name", IDS)
def test_an_id_imports_its_package(package: str, name: str) -> None:
    make_vector_env(EnvConfig(id="CartPole-v1", num_envs=2), seed=1).close()
    assert package not in sys.modules
    env = make_vector_env(EnvConfig(id=name, num_envs=2), seed=1)
    assert env.observation_space.shape == (3, 7, 7) and env.reset().dtype == np.uint8
    env.close()
    with pytest.raises(UserError, match=f"did you mean '{name}'"):
        make_vector_env(EnvConfig(id=name.replace("Pair", "Pear"), num_envs=2), seed=1)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError) as caught:
        packages.register("MiniGrid-MemoryS7-v0")
    told = f"env.id: needs the package minigrid ({commands.install('minigrid')})"
    assert str(caught.value) == told


class Grid(gymnasium.Env[dict[str, Any], int]):
    """Two fields: a green ball (kind 6, colour 1), and a locked (2) door (4) of colour 5."""

    observation_space = gymnasium.spaces.Dict(
        image=gymnasium.spaces.Box(0, 255, (2, 1, 3), np.uint8),
        mission=gymnasium.spaces.Text(9),
    )
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[dict[str, Any], Any]:
        image = np.array([[[6, 1, 0]], [[4, 5, 2]]], np.uint8)
        return {"image": image, "mission": "none"}, {}


def test_a_field_is_what_lies_there_its_colour_and_its_state() -> None:
    env = OneHot(Grid())
    seen, _ = env.reset()
    assert env.observation_space.contains(seen) and seen.shape == (2, 1, 21)
    assert [list(np.flatnonzero(field)) for field in seen[:, 0]] == [
        [6, 11 + 1, 11 + 6 + 0],
        [4, 11 + 5, 11 + 6 + 2],
    ]


def test_other_observations_are_refused_in_a_line() -> None:
    config = EnvConfig(id="CartPole-v1", num_envs=1, wrappers=("gala.envs.fields:OneHot",))
    with pytest.raises(UserError, match="raised TypeError: observations of MiniGrid are wanted"):
        make_vector_env(config, seed=1)


def test_the_memory_task_itself() -> None:
    constants = pytest.importorskip("minigrid.core.constants", exc_type=ImportError)
    names = ("OBJECT_TO_IDX", "COLOR_TO_IDX", "STATE_TO_IDX")
    kinds, colours, states = (len(getattr(constants, name)) for name in names)
    assert (kinds, colours, max(states, 4)) == NUMBERS
    config = load(resolve("experiments", "minigrid-memory")).env
    env, again = (make_vector_env(config, seed=1) for _ in range(2))
    assert env.observation_space.shape == (21, 7, 7)
    first = env.reset()
    assert np.all(first.sum(1) == 3)
    np.testing.assert_array_equal(first, again.reset())
    env.close()
    again.close()
