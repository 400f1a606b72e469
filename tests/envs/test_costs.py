"""Costs of observations grow with their size, not with its square."""

import time
import tracemalloc
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from gala.envs.spaces import plan_observations

ENVS = 16


def memory(space: Any, obs: Any) -> int:
    """Bytes that converting one step of all environments needs at most."""
    convert = plan_observations(space).converter()
    convert(obs)
    tracemalloc.start()
    convert(obs)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


@pytest.mark.parametrize("states", [400, 4_000, 40_000, 400_000])
def test_states_need_a_row_each_and_no_matrix(states: int) -> None:
    obs = np.arange(ENVS) * (states // ENVS)
    seen = plan_observations(spaces.Discrete(states)).converter()(obs)
    assert seen.size <= ENVS * 4096
    assert memory(spaces.Discrete(states), obs) < ENVS * 4096 * 4 + 100_000


@pytest.mark.parametrize("make", [spaces.MultiDiscrete, None])
def test_ten_times_the_choices_cost_ten_times_as_much(make: Any) -> None:
    def cost(choices: int) -> float:
        space: Any = spaces.MultiDiscrete([50] * choices)
        obs = np.zeros((ENVS, choices), np.int64)
        if make is None:
            space = spaces.Dict({"a": space, "b": spaces.Discrete(4_000)})
            obs = {"a": obs, "b": np.zeros(ENVS, np.int64)}  # type: ignore[assignment]
        convert = plan_observations(space).converter()
        convert(obs)
        times = []
        for _ in range(5):
            began = time.process_time()
            convert(obs)
            times.append(time.process_time() - began)
        return min(times)

    assert cost(4_000) < 40 * cost(400) + 0.01
