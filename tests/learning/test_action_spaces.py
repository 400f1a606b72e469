"""Every algorithm learns in every kind of action space, in an environment of one step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest

from gala.config.sections import EnvConfig, LogConfig, NetworkConfig, ReplayConfig
from gala.learning.table import ALGORITHMS, UNROLLS, source_of
from gala.run.config import Config

pytestmark = pytest.mark.slow

ID = "GalaTestRecipe-v0"
RECIPES = 4
SPACES: dict[str, gymnasium.Space[Any]] = {
    "multi-discrete": gymnasium.spaces.MultiDiscrete([4, 3]),
    "multi-binary": gymnasium.spaces.MultiBinary(2),
    "box": gymnasium.spaces.Box(-2.0, 2.0, (2,), np.float32),
}
WANTED = {
    "multi-discrete": np.array([[0, 2], [1, 1], [2, 0], [3, 1]]),
    "multi-binary": np.array([[0, 1], [1, 1], [0, 0], [1, 0]]),
    "box": np.array([[1.0, -1.0], [0.5, 0.5], [-1.0, 0.0], [0.0, 1.0]]),
}
# choices: share of them that is right, by chance 0.29 and 0.5; quantities: minus the squared
# distance, by chance -2.8
LEARNED = {"multi-discrete": 0.85, "multi-binary": 0.85, "box": -1.2}


class Recipe(gymnasium.Env[Any, Any]):
    """Shows a recipe, one-hot, and pays for what it asks for."""

    def __init__(self, kind: str) -> None:
        self.observation_space = gymnasium.spaces.Box(0.0, 1.0, (RECIPES,), np.float32)
        self.action_space, self._wanted = SPACES[kind], WANTED[kind]
        self._pays = self._distance if kind == "box" else self._share

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self._recipe = int(self.np_random.integers(RECIPES))
        return np.eye(RECIPES, dtype=np.float32)[self._recipe], {}

    def step(self, action: Any) -> Any:
        paid = self._pays(action, self._wanted[self._recipe])
        return np.eye(RECIPES, dtype=np.float32)[self._recipe], paid, True, False, {}

    @staticmethod
    def _share(action: Any, wanted: Any) -> float:
        return float(np.mean(action == wanted))

    @staticmethod
    def _distance(action: Any, wanted: Any) -> float:
        return -float(np.square(action - wanted).sum())


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    gymnasium.register(ID, Recipe)
    yield
    del gymnasium.registry[ID]


SETTINGS: dict[str, dict[str, Any]] = {
    "a2c": {"n_step": 4},
    "ppo": {"n_step": 16, "minibatches": 2, "epochs": 3},
    "vmpo": {"n_step": 4, "act_every": 2, "deviation_kl_eps": 0.01},
    "vtrace": {"n_step": 4},
    "impact": {"n_step": 4},
    "r2d2": {"n_step": 4, "burn_in": 0, "sequences": 16, "target_every": 10, "epsilon": 0.1},
    "sac": {"lr": 3e-3, "target_entropy": -6.0},
}
PAIRS = [
    (name, kind) for name, entry in ALGORITHMS.items() for kind in SPACES if kind in entry.actions
]


@pytest.mark.parametrize(("algorithm", "kind"), PAIRS)
def test_what_is_asked_for_is_learned(
    train_here: Callable[..., Any], algorithm: str, kind: str
) -> None:
    settings = {"lr": 1e-2, "optimizer": "adam", "gamma": 0.9}
    settings |= {"entropy_coef": 0.0} if source_of(algorithm) == UNROLLS else {}
    section = ALGORITHMS[algorithm].config(**settings | SETTINGS[algorithm])
    config = Config(
        env=EnvConfig(id=ID, kwargs={"kind": kind}, num_envs=8, autoreset="same-step"),
        network=NetworkConfig(hidden=(16,)),
        algorithm=algorithm,
        log=LogConfig(tensorboard=False),
        replay=ReplayConfig(batch=64, warm_up=64, updates_per_step=0.5),
        total_steps=4_000,
        seed=3,
        **{algorithm: section},
    )
    returns = train_here(config).source.returns
    assert sum(returns) / len(returns) > LEARNED[kind]
