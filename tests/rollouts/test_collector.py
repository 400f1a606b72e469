"""The collector with a scripted simulator: what enters a rollout, step by step."""

import gymnasium
import numpy as np
import pytest
import torch

from gala.envs.step import Episode, Step
from gala.networks.heads import CategoricalHead
from gala.rollouts import Collector

B = 2


class Scripted:
    """Plays back prepared steps; observations are single numbers, so that V(s) = 10 s is known."""

    num_envs, frames_per_step, restorable = B, 1, True
    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, steps: list[Step]) -> None:
        self.steps, self.actions = list(steps), []
        self.rows: list[int | None] = []
        self.place = 0

    def reset(self) -> np.ndarray:
        return obs(1, 1)

    def send(self, actions: np.ndarray) -> None:
        self.actions.append(actions.copy())

    def recv(self) -> Step:
        self.place += 1
        return self.steps[self.place - 1]

    def step(self, actions: np.ndarray) -> Step:
        self.send(actions)
        return self.recv()

    def state_dict(self) -> dict[str, object]:
        return {"place": self.place}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.place = state["place"]

    def close(self) -> None: ...


def obs(*values: float) -> np.ndarray:
    return np.array(values, np.float32)[:, None]


def mask(*values: int) -> np.ndarray:
    return np.array(values, np.bool_)


def step(
    values: tuple[float, float],
    *,
    reward: tuple[float, float] = (0, 0),
    terminated: tuple[int, int] = (0, 0),
    truncated: tuple[int, int] = (0, 0),
    valid: tuple[int, int] = (1, 1),
    final: tuple[float, float] | None = None,
    episodes: tuple[Episode, ...] = (),
) -> Step:
    return Step(
        obs=obs(*values),
        reward=np.array(reward, np.float32),
        terminated=mask(*terminated),
        truncated=mask(*truncated),
        valid=mask(*valid),
        final_obs=None if final is None else obs(*final),
        episodes=list(episodes),
    )


def collector(steps: list[Step], **options: object) -> tuple[Collector, Scripted]:
    env = Scripted(steps)
    rows: list[int | None] = []

    def act(x: torch.Tensor, row: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        rows.append(row)
        return torch.zeros(B, 2), 10 * x[:, 0]

    env.rows = rows
    settings = {"n_step": len(steps), "gamma": 0.5, "reward_clip": False} | options
    made = Collector(
        env,
        act,
        CategoricalHead(2),
        generator=torch.Generator().manual_seed(0),
        **settings,  # type: ignore[arg-type]
    )
    return made, env


def test_an_uneventful_rollout() -> None:
    made, env = collector([step((2, 3), reward=(0.5, -7)), step((4, 5))])
    r = made.collect()
    assert r.obs.squeeze(-1).tolist() == [[1, 1], [2, 3], [4, 5]]
    assert r.value.tolist() == [[10, 10], [20, 30]]
    assert r.next_value.tolist() == [[20, 30], [40, 50]]
    assert r.reward.tolist() == [[0.5, -7], [0, 0]]
    assert bool((r.discount == 0.5).all() and r.valid.all()) and not bool(r.cut.any())
    assert np.array_equal(np.stack(env.actions), r.action.numpy())
    assert env.rows == [0, 1, None]  # the last observation is valued, and acted on next time


def test_the_next_rollout_starts_where_the_last_one_ended() -> None:
    made, _ = collector([step((2, 3)), step((4, 5)), step((6, 7)), step((8, 9))], n_step=2)
    made.collect()
    assert made.collect().obs.squeeze(-1).tolist() == [[4, 5], [6, 7], [8, 9]]


def test_termination_discounts_to_zero_and_cuts() -> None:
    made, _ = collector([step((2, 3), terminated=(1, 0)), step((4, 5), valid=(0, 1))])
    r = made.collect()
    assert r.discount.tolist() == [[0, 0.5], [0.5, 0.5]]
    assert r.cut.tolist() == [[True, False], [False, False]]
    assert r.valid.tolist() == [[True, True], [False, True]]


def test_truncation_in_next_step_mode_values_the_row_that_follows() -> None:
    made, _ = collector([step((7, 3), truncated=(1, 0)), step((0, 5), valid=(0, 1))])
    r = made.collect()
    assert r.next_value[0].tolist() == [70, 30] and r.discount[0].tolist() == [0.5, 0.5]
    assert r.cut[0].tolist() == [True, False]


def test_truncation_in_same_step_mode_values_the_final_observation() -> None:
    made, _ = collector(
        [step((0, 3), truncated=(1, 0), final=(7, 3)), step((4, 5)), step((0, 6), final=(9, 6),
         truncated=(1, 0))]
    )  # fmt: skip
    r = made.collect()
    assert r.next_value.tolist() == [[70, 30], [40, 50], [90, 60]]
    assert r.cut.tolist() == [[True, False], [False, False], [True, False]]


def test_a_final_value_does_not_leak_into_the_next_rollout() -> None:
    made, _ = collector([step((0, 3), truncated=(1, 0), final=(7, 3)), step((4, 5))], n_step=1)
    assert made.collect().next_value.tolist() == [[70, 30]]
    assert made.collect().next_value.tolist() == [[40, 50]]


def test_rewards_are_clipped_to_their_sign_only_when_asked() -> None:
    rewards = [step((2, 3), reward=(0.5, -7)), step((2, 3), reward=(0, 100))]
    assert collector(rewards, reward_clip=True)[0].collect().reward.tolist() == [[1, -1], [0, 1]]
    assert collector(rewards)[0].collect().reward.tolist() == [[0.5, -7], [0, 100]]


def test_finished_games_are_booked() -> None:
    games = [step((2, 3), episodes=(Episode(0, 21.0, 900), Episode(1, -21.0, 700)))] * 60
    made, _ = collector(games)
    made.collect()
    assert made.episodes == 120 and len(made.returns) == 100 == len(made.lengths)
    assert made.return_sum == 0.0
    assert set(made.returns) == {21.0, -21.0} and set(made.lengths) == {900, 700}


@pytest.mark.parametrize("restorable", [True, False])
def test_a_collector_goes_on_from_its_state(restorable: bool) -> None:
    steps = [step((i, -i), episodes=(Episode(0, float(i), i),)) for i in range(2, 8)]
    whole, _ = collector(steps, n_step=3)
    whole.collect()
    whole.env.restorable = restorable
    state = whole.state_dict()
    assert ("env" in state) == restorable
    expected = whole.collect()
    other, env = collector(steps, n_step=3)
    env.restorable = restorable
    other.load_state_dict(state)
    if not restorable:
        env.place = 3
    found = other.collect()
    assert torch.equal(found.action, expected.action)
    assert torch.equal(found.obs[1:], expected.obs[1:])
    assert torch.equal(found.obs[0], expected.obs[0]) == restorable
    assert list(other.returns) == list(whole.returns) and other.episodes == whole.episodes
    assert other.return_sum == whole.return_sum == 2 + 3 + 4 + 5 + 6 + 7


def test_a_state_without_the_sum_of_returns_is_taken() -> None:
    made, _ = collector([step((2, 3), episodes=(Episode(0, 5.0, 9),))])
    made.collect()
    state = {key: value for key, value in made.state_dict().items() if key != "return_sum"}
    made.load_state_dict(state)
    assert made.return_sum == 0.0 and made.episodes == 1
