"""A cart that must be stopped in the middle: quantities, values of what comes later, a replay."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest

from gala.config.sections import EnvConfig, LogConfig, NetworkConfig, ReplayConfig
from gala.learning.sac_config import SACConfig
from gala.run.config import Config

ID = "GalaTestCart-v0"
STEPS = 20
LEARNED = -5.0
"""Mean return of 20 steps; at rest it is -15, by chance -24, always pushed to the middle -10."""


class Cart(gymnasium.Env[Any, Any]):
    """Place and speed; what is done changes the speed, and the place is paid for."""

    observation_space = gymnasium.spaces.Box(-2.0, 2.0, (2,), np.float32)
    action_space = gymnasium.spaces.Box(-3.0, 3.0, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        place = self.np_random.choice([-1.0, 1.0]) * self.np_random.uniform(0.5, 1.0)
        self._state = np.array([place, 0.0], np.float32)
        return self._state.copy(), {}

    def step(self, action: Any) -> Any:
        place, speed = self._state
        speed = np.clip(speed + 0.05 * float(action[0]), -0.5, 0.5)
        place = np.clip(place + speed, -2.0, 2.0)
        self._state = np.array([place, speed], np.float32)
        return self._state.copy(), -abs(float(place)), False, False, {}


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    gymnasium.register(ID, Cart, max_episode_steps=STEPS)
    yield
    del gymnasium.registry[ID]


@pytest.mark.parametrize(
    ("n_step", "autoreset"),
    [(3, "next-step"), pytest.param(1, "same-step", marks=pytest.mark.long)],
)
def test_a_cart_is_stopped_in_the_middle(
    train_here: Callable[..., Any], n_step: int, autoreset: Any
) -> None:
    config = Config(
        env=EnvConfig(id=ID, num_envs=4, autoreset=autoreset),
        network=NetworkConfig(hidden=(32, 32), activation="relu"),
        algorithm="sac",
        sac=SACConfig(gamma=0.9, lr=3e-3, tau=0.02),
        replay=ReplayConfig(
            batch=64, warm_up=200, capacity=5_000, n_step=n_step, updates_per_step=0.5
        ),
        log=LogConfig(tensorboard=False),
        total_steps=5_000,
        seed=3,
    )
    returns = list(train_here(config).source.returns)[-40:]
    assert sum(returns) / len(returns) > LEARNED
