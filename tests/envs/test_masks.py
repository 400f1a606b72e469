"""Which actions are allowed, and the spaces of environments, through whole vectors of them."""

from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple

from gala.config.sections import EnvConfig
from gala.envs import VectorEnv, make_vector_env
from gala.envs.masks import Masks
from gala.errors import UserError


class Masked(gymnasium.Env):
    """Games of 3 steps: at time t the action t is forbidden."""

    def __init__(self, actions: Any, where: str, size: int) -> None:
        self.action_space, self._where, self._size = actions, where, size
        seen: dict[str, gymnasium.Space] = {"observation": Box(-9, 9, (2,), np.float32)}
        if where == "field":
            seen["action_mask"] = MultiBinary(size)
        elif where == "fields":
            seen["action_mask"] = Tuple([MultiBinary(2), Box(0, 1, (3,), np.int8)])
        self.observation_space = Dict(seen)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, Any]:
        super().reset(seed=seed)
        self._time = 0
        return self._see()

    def step(self, action: Any) -> tuple[Any, float, bool, bool, Any]:
        self._time += 1
        obs, info = self._see()
        return obs, 1.0, self._time == 3, False, info

    def _see(self) -> tuple[Any, Any]:
        mask = np.ones(self._size, np.int8)
        mask[self._time] = 0
        obs: dict[str, Any] = {"observation": np.full(2, self._time, np.float32)}
        info: dict[str, Any] = {}
        if self._where == "field":
            obs["action_mask"] = mask
        elif self._where == "fields":
            obs["action_mask"] = (mask[:2], mask[2:])
        elif self._where == "info":
            info["action_mask"] = mask
        elif self._where == "infos":
            info["action_mask"] = (mask[:2], mask[2:])
        return obs, info


@pytest.fixture
def registered() -> Iterator[None]:
    before = set(gymnasium.registry)
    yield
    for name in set(gymnasium.registry) - before:
        del gymnasium.registry[name]


def make(autoreset: str = "next-step", workers: str = "sync", **kwargs: Any) -> VectorEnv:
    name = f"Masked{sum(each.startswith('Masked') for each in gymnasium.registry)}-v0"
    gymnasium.register(name, Masked, kwargs=kwargs)
    config = EnvConfig(id=name, num_envs=2, autoreset=autoreset, workers=workers)  # type: ignore[arg-type]
    return make_vector_env(config, seed=1)


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("workers", ["sync", "async"])
@pytest.mark.parametrize("autoreset", ["next-step", "same-step"])
@pytest.mark.parametrize(
    ("where", "actions"),
    [("field", Discrete(5)), ("info", Discrete(5)), ("fields", MultiDiscrete([2, 3])),
     ("infos", MultiDiscrete([2, 3])), ("info", MultiDiscrete([2, 3]))],
)  # fmt: skip
def test_masks_belong_to_the_observations_beside_them(
    where: str, actions: gymnasium.Space, autoreset: str, workers: str
) -> None:
    env = make(autoreset, workers, actions=actions, where=where, size=5)
    obs = env.reset()
    assert env.masks and env.observation_space.shape == (2,)
    shape = (2,) if isinstance(actions, Discrete) else (2, 2)
    for _ in range(8):
        assert env.action_mask is not None and env.action_mask.dtype == np.bool_
        time = obs[:, 0].astype(int)
        assert np.array_equal(env.action_mask, np.arange(5) != time[:, None])
        step = env.step(np.zeros(shape, np.int64))
        assert step.action_mask is env.action_mask
        if step.final_obs is not None:
            assert step.final_obs.tolist() == [[3, 3], [3, 3]] and not step.obs.any()
        obs = step.obs
    env.close()


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(
    ("actions", "where"), [(Discrete(5), "none"), (Box(-1, 1, (1,), np.float32), "info")]
)
def test_without_masks_everything_is_allowed(actions: gymnasium.Space, where: str) -> None:
    env = make(actions=actions, where=where, size=5)
    env.reset()
    step = env.step(np.zeros((2, *actions.shape), actions.dtype))  # type: ignore[misc]
    assert not env.masks and env.action_mask is None and step.action_mask is None


@pytest.mark.usefixtures("registered")
def test_a_field_of_that_name_is_observed_where_actions_are_no_choices() -> None:
    env = make(actions=Box(-1, 1, (1,), np.float32), where="field", size=5)
    assert env.observation_space.shape == (7,) and not env.masks


@pytest.mark.usefixtures("registered")
def test_masks_of_another_size_and_masks_that_come_late_are_refused() -> None:
    with pytest.raises(UserError, match="action_mask has 5 entries, the actions have 4 values"):
        make(actions=Discrete(4), where="field", size=5)
    with pytest.raises(UserError, match="action_mask has 5 entries, the actions have 4 values"):
        make(actions=Discrete(4), where="info", size=5).reset()
    masks = Masks(Discrete(3), 5)
    assert masks.of_reset(np.zeros(2), {}) is None
    with pytest.raises(UserError, match="did not come with the reset"):
        masks.of_step(np.zeros(2), {"action_mask": np.ones((2, 5))})


def test_environments_without_a_mask_may_do_everything() -> None:
    given = {"action_mask": np.zeros((3, 2), np.int8), "_action_mask": np.array([1, 0, 1], bool)}
    mask = Masks(Discrete(3), 2).of_reset(np.zeros(3), given)
    assert mask is not None and mask.tolist() == [[False] * 2, [True] * 2, [False] * 2]


def test_taxi_masks() -> None:
    (name, *_) = (each for each in gymnasium.registry if each.startswith("Taxi-"))
    env = make_vector_env(EnvConfig(id=name, num_envs=2), seed=1)
    obs = env.reset()
    assert env.masks and env.action_mask is not None and obs.shape == (2, 500)
    assert env.action_mask.shape == (2, 6) and not env.action_mask.all()


def test_blackjack_is_a_tuple() -> None:
    env = make_vector_env(EnvConfig(id="Blackjack-v1", num_envs=3, autoreset="same-step"), seed=1)
    obs = env.reset()
    assert obs.shape == (3, 32 + 11 + 2) and (obs.sum(1) == 3).all()
    assert dict(env.opening)["observes"].startswith("3 parts -> 45 numbers: 0 32 (one of 32")
    for _ in range(30):
        step = env.step(np.zeros(3, np.int64))  # stick: each game is one step
        assert step.final_obs is not None and (step.final_obs.sum(1) == 3).all()
        assert (step.obs.sum(1) == 3).all()
