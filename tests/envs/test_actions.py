"""From what the policy chooses to what the environments get."""

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Text, Tuple
from hypothesis import given
from hypothesis import strategies as st

from gala.envs.actions import ActionPlan, plan_actions
from gala.errors import UserError
from gala.networks.heads import build_head

FINITE = st.floats(-1e6, 1e6, width=32)


def played(plan: ActionPlan, chosen: Any) -> np.ndarray:
    """What the environments get when the policy's head says ``chosen``."""
    return plan.to_env(build_head(plan.space).to_env(torch.as_tensor(chosen)))


@given(low=FINITE, high=FINITE, dtype=st.sampled_from([np.float32, np.float64]))
def test_the_map_takes_one_to_the_bounds(low: float, high: float, dtype: type) -> None:
    low, high = min(low, high), max(low, high)
    space = Box(low, high, (1,), dtype)
    plan = plan_actions(space)
    assert plan.space.low == -1 and plan.space.high == 1
    chosen = torch.linspace(-1.5, 1.5, 31)[:, None]
    there = played(plan, chosen)
    assert there.dtype == dtype and there[0] == low and there[-1] == high
    assert (np.diff(there[:, 0]) >= 0).all() and all(space.contains(each) for each in there)
    assert there[15] == pytest.approx((low + high) / 2, abs=1e-6 * max(abs(low), abs(high), 1))


def test_bounds_of_one_change_no_bit() -> None:
    space = Box(-1, 1, (3,), np.float32)
    plan = plan_actions(space)
    chosen = 2 * torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
    clipped = build_head(space).to_env(chosen)
    assert plan.space is space and plan.to_env(clipped) is clipped
    assert np.array_equal(clipped, np.clip(chosen.numpy(), -1, 1))


def test_dimensions_without_bounds_stay_as_they_are() -> None:
    low = np.array([0, 0, -np.inf, -np.inf, np.finfo(np.float32).min], np.float32)
    high = np.array([10, np.inf, 5, np.inf, np.finfo(np.float32).max], np.float32)
    plan = plan_actions(Box(low, high, dtype=np.float32))
    assert plan.text == (
        "5 numbers; -1..1 -> 0..10; 4 of them as they are, clipped at the bounds that there are"
    )
    there = played(plan, [[0.5, 20.0, 20.0, 20.0, 20.0], [-3.0, -20.0, -20.0, -20.0, -20.0]])
    assert there.tolist() == [[7.5, 20, 5, 20, 20], [0, 0, -20, -20, -20]]
    free = plan_actions(Box(-np.inf, np.inf, (2,), np.float32))
    assert free.mapped is None and "unbounded" in free.text
    assert played(free, [[7.0, -7.0]]).tolist() == [[7, -7]]


@pytest.mark.parametrize(
    ("space", "text", "seen"),
    [
        (Discrete(5, start=2), "one of 5", Discrete(5, start=2)),
        (MultiDiscrete([2, 3]), "2 choices of 2, 3", MultiDiscrete([2, 3])),
        (MultiDiscrete([[2, 3], [4, 5]]), "4 choices of 2, 3, 4, ...", MultiDiscrete([2, 3, 4, 5])),
        (MultiDiscrete([[2], [3]], start=[[7], [8]]), "2, 3", MultiDiscrete([2, 3], start=[7, 8])),
        (MultiBinary(3), "3 bits", MultiBinary(3)),
        (MultiBinary((2, 3)), "6 bits", MultiBinary(6)),
        (Box(-2, 2, (2, 2), np.float32), "-1..1 -> -2..2", Box(-1, 1, (2, 2), np.float32)),
        (Box(0, 8, (), np.float32), "1 number; -1..1 -> 0..8", Box(-1, 1, (), np.float32)),
        (Box(0, 8, (2,), np.float16), "2 numbers", Box(-1, 1, (2,), np.float32)),
    ],
)  # fmt: skip
def test_environments_get_actions_of_their_space(
    space: gymnasium.Space, text: str, seen: gymnasium.Space
) -> None:
    plan = plan_actions(space)
    assert plan.space == seen and text in plan.text
    head = build_head(plan.space)
    dist = torch.randn(40, head.size, generator=torch.Generator().manual_seed(0))
    actions = head.sample(dist, torch.Generator().manual_seed(1))
    given_to = plan.to_env(head.to_env(actions))
    assert given_to.shape == (40, *space.shape) and given_to.dtype == space.dtype
    assert all(space.contains(np.asarray(each)) for each in given_to)


@pytest.mark.parametrize(
    ("space", "words"),
    [
        (Box(0, 5, (2,), np.int64), "holds integers .*MultiDiscrete"),
        (Dict(a=Discrete(2)), "supported: Discrete, MultiDiscrete, MultiBinary, Box"),
        (Tuple([Discrete(2)]), "is not supported"),
        (Text(3), "is not supported"),
    ],
)
def test_spaces_that_are_refused(space: gymnasium.Space, words: str) -> None:
    with pytest.raises(UserError, match=f"env.id: action space .*{words}"):
        plan_actions(space)
