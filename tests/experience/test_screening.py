"""What environments give that is not finite: named, harmless, and not learned from."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scripted import Scripted, step

from gala.envs.autoreset import MODES, Autoreset
from gala.envs.step import Step
from gala.experience import Collector
from gala.experience.reward_scale import RewardScale
from gala.experience.screening import Screening
from gala.networks.heads import CategoricalHead
from gala.parameters.statistics import Moments

NAN, INF = math.nan, math.inf
SPOILT = pytest.mark.parametrize("spoilt", [NAN, INF, -INF])


def collector(steps: list[Step], **options: Any) -> tuple[Collector, Scripted]:
    """Of two scripted environments; V(s) = 10 s."""
    env = Scripted(steps)

    def act(x: torch.Tensor, *more: object) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.zeros(2, 2), 10 * x[:, 0]

    settings = {"n_step": len(steps), "gamma": 0.5, "reward_clip": False} | options
    generator = torch.Generator().manual_seed(0)
    return Collector([env], act, CategoricalHead(2), generator=generator, **settings), env


def rows(reward: torch.Tensor) -> list[tuple[int, ...]]:
    """Row and environment of rewards that cannot be learned from."""
    return [tuple(place) for place in reward.isnan().nonzero().tolist()]


@SPOILT
@pytest.mark.parametrize("clip", [False, True])
def test_a_reward(spoilt: float, clip: bool) -> None:
    """Also where only signs are learned from: that of NaN would be 0, of infinity 1."""
    made, _ = collector(
        [step((2, 3), reward=(0.5, 1)), step((4, 5), reward=(-0.5, spoilt))], reward_clip=clip
    )
    batch = made.next()
    assert rows(batch.reward) == [(1, 1)]
    assert made.faults == (f"reward of environment 1 is {spoilt}",)


@SPOILT
def test_an_observation(spoilt: float) -> None:
    """It is acted on as zeros; neither the step to it nor the one from it is learned from."""
    made, env = collector([step((2, 3)), step((4, spoilt)), step((6, 7)), step((8, 9))])
    batch = made.next()
    assert batch.obs.squeeze(-1).tolist() == [[1, 1], [2, 3], [4, 0], [6, 7], [8, 9]]
    assert rows(batch.reward) == [(1, 1), (2, 1)]
    assert made.faults == (f"observation of environment 1 holds {spoilt}",)
    assert all(np.isfinite(actions).all() for actions in env.actions)


def test_the_last_observation_spoils_the_next_batch_too() -> None:
    made, _ = collector([step((2, 3)), step((NAN, 5)), step((6, 7)), step((8, 9))], n_step=2)
    assert rows(made.next().reward) == [(1, 0)] and made.faults
    assert rows(made.next().reward) == [(0, 0)]
    assert made.faults == ("observation of environment 0 holds nan",)


def test_the_very_first_observation(monkeypatch: pytest.MonkeyPatch) -> None:
    first = np.array([[1.0], [NAN]], np.float32)
    monkeypatch.setattr(Scripted, "reset", lambda self: first)
    made, _ = collector([step((2, 3)), step((4, 5))])
    batch = made.next()
    assert batch.obs[0].tolist() == [[1], [0]] and rows(batch.reward) == [(0, 1)]


def test_a_final_observation_counts_where_the_episode_was_cut_off() -> None:
    cut = step((2, 3), truncated=(1, 0), final=(NAN, 3))
    made, _ = collector([cut, step((4, 5))])
    batch = made.next()
    assert rows(batch.reward) == [(0, 0)] and bool(batch.next_value.isfinite().all())
    assert made.faults == ("final observation of environment 0 holds nan",)


def test_rewards_of_rows_that_are_no_step_do_not_matter() -> None:
    made, _ = collector([step((2, 3), reward=(NAN, 1), valid=(0, 1)), step((4, 5))])
    assert bool(made.next().reward.isfinite().all()) and made.faults == ()


def test_the_game_with_the_fault_is_not_counted() -> None:
    """The mean return of 100 games, and the sum of all, stay numbers."""
    auto = Autoreset(MODES["next-step"], 2)
    steps: list[Step] = []
    for reward, ended in ((NAN, 1), (0, 0), (3, 1), (0, 0)):
        obs = np.ones((2, 1), np.float32)
        flags = np.array([ended, 0], np.bool_)
        given = np.array([reward, 1.0])
        steps.append(auto.translate(obs, given, flags, np.zeros(2, np.bool_), {}))
    made, _ = collector(steps)
    made.next()
    assert list(made.returns) == [3.0] and (made.episodes, made.return_sum) == (1, 3.0)


def test_scaled_rewards_recover() -> None:
    """The running return and the moments behind the scale do not keep what was not finite."""
    for spoilt in (NAN, 3e38):
        scale = RewardScale(Moments(()), envs=2, steps=2, gamma=0.9)
        steps = [step((2, 3), reward=(1, spoilt)), step((4, 5), reward=(1, spoilt))]
        steps += [step((2, 3), reward=(1, 2)), step((4, 5), reward=(3, 4))]
        made, _ = collector(steps, n_step=2, reward_scale=scale)
        made.next()
        made.learned(1)
        assert bool(made.next().reward.isfinite().all()), spoilt
        made.learned(2)
        assert bool(scale.running.isfinite().all() and scale._moments.deviation().isfinite())


def test_many_faults_are_summed_up() -> None:
    screening = Screening(1, 9)
    screening.begin()
    given, valid = np.full(9, NAN, np.float32), np.ones(9, np.bool_)
    assert not screening.rewards(given, valid, 0, slice(0, 9)).any()
    told = screening.finish(torch.zeros(1, 9))
    assert len(told) == 4 and told[-1] == "and 6 more"


@given(st.lists(st.floats(width=32), min_size=4, max_size=4), st.sampled_from(["f4", "f8"]))
def test_what_is_finite_is_handed_on_untouched(values: list[float], dtype: str) -> None:
    screening = Screening(1, 2)
    screening.begin()
    given = np.array(values, dtype).reshape(2, 2)
    seen = screening.observations(given, 0, slice(0, 2))
    fine = np.isfinite(given)
    assert (seen is given) == bool(fine.all())
    assert np.array_equal(seen, np.where(fine, given, 0)) and seen.dtype == given.dtype
    assert len(screening.finish(torch.zeros(1, 2))) == int((~fine).any(1).sum())
