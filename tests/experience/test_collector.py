"""The collector with a scripted environment: what enters a rollout, step by step."""

import numpy as np
import pytest
import torch
from scripted import B, Scripted, step

from gala.envs.step import Episode, Step
from gala.experience import Collector
from gala.networks.heads import CategoricalHead


def collector(steps: list[Step], **options: object) -> tuple[Collector, Scripted]:
    env = Scripted(steps)

    def act(
        x: torch.Tensor, place: slice | None = None, mask: object = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        env.places.append(place)
        return torch.zeros(B, 2), 10 * x[:, 0]

    settings = {"n_step": len(steps), "gamma": 0.5, "reward_clip": False} | options
    made = Collector(
        [env],
        act,
        CategoricalHead(2),
        generator=torch.Generator().manual_seed(0),
        **settings,  # type: ignore[arg-type]
    )
    return made, env


def test_an_uneventful_rollout() -> None:
    made, env = collector([step((2, 3), reward=(0.5, -7)), step((4, 5))])
    r = made.next()
    assert r.obs.squeeze(-1).tolist() == [[1, 1], [2, 3], [4, 5]]
    assert r.value.tolist() == [[10, 10], [20, 30]]
    assert r.next_value.tolist() == [[20, 30], [40, 50]]
    assert r.reward.tolist() == [[0.5, -7], [0, 0]]
    assert bool((r.discount == 0.5).all() and r.valid.all()) and not bool(r.cut.any())
    assert np.array_equal(np.stack(env.actions), r.action.numpy())
    # the last observation is valued, and acted on next time
    assert env.places == [slice(0, 2), slice(2, 4), None]


def test_the_next_rollout_starts_where_the_last_one_ended() -> None:
    made, _ = collector([step((2, 3)), step((4, 5)), step((6, 7)), step((8, 9))], n_step=2)
    made.next()
    assert made.next().obs.squeeze(-1).tolist() == [[4, 5], [6, 7], [8, 9]]


def test_termination_discounts_to_zero_and_cuts() -> None:
    made, _ = collector([step((2, 3), terminated=(1, 0)), step((4, 5), valid=(0, 1))])
    r = made.next()
    assert r.discount.tolist() == [[0, 0.5], [0.5, 0.5]]
    assert r.cut.tolist() == [[True, False], [False, False]]
    assert r.valid.tolist() == [[True, True], [False, True]]


def test_truncation_in_next_step_mode_values_the_row_that_follows() -> None:
    made, _ = collector([step((7, 3), truncated=(1, 0)), step((0, 5), valid=(0, 1))])
    r = made.next()
    assert r.next_value[0].tolist() == [70, 30] and r.discount[0].tolist() == [0.5, 0.5]
    assert r.cut[0].tolist() == [True, False]


def test_truncation_in_same_step_mode_values_the_final_observation() -> None:
    made, _ = collector(
        [step((0, 3), truncated=(1, 0), final=(7, 3)), step((4, 5)), step((0, 6), final=(9, 6),
         truncated=(1, 0))]
    )  # fmt: skip
    r = made.next()
    assert r.next_value.tolist() == [[70, 30], [40, 50], [90, 60]]
    assert r.cut.tolist() == [[True, False], [False, False], [True, False]]


def test_a_final_value_does_not_leak_into_the_next_rollout() -> None:
    made, _ = collector([step((0, 3), truncated=(1, 0), final=(7, 3)), step((4, 5))], n_step=1)
    assert made.next().next_value.tolist() == [[70, 30]]
    assert made.next().next_value.tolist() == [[40, 50]]


def test_rewards_are_clipped_to_their_sign_only_when_asked() -> None:
    rewards = [step((2, 3), reward=(0.5, -7)), step((2, 3), reward=(0, 100))]
    assert collector(rewards, reward_clip=True)[0].next().reward.tolist() == [[1, -1], [0, 1]]
    assert collector(rewards)[0].next().reward.tolist() == [[0.5, -7], [0, 100]]


def test_finished_games_are_booked() -> None:
    games = [step((2, 3), episodes=(Episode(0, 21.0, 900), Episode(1, -21.0, 700)))] * 60
    made, _ = collector(games)
    made.next()
    assert made.episodes == 120 and len(made.returns) == 100 == len(made.lengths)
    assert made.return_sum == 0.0
    assert set(made.returns) == {21.0, -21.0} and set(made.lengths) == {900, 700}


@pytest.mark.parametrize("restorable", [True, False])
def test_a_collector_goes_on_from_its_state(restorable: bool) -> None:
    steps = [step((i, -i), episodes=(Episode(0, float(i), i),)) for i in range(2, 8)]
    whole, whole_env = collector(steps, n_step=3)
    whole.next()
    whole_env.restorable = restorable
    state = whole.state_dict()
    assert ("envs" in state) == restorable
    expected = whole.next()
    other, env = collector(steps, n_step=3)
    env.restorable = restorable
    other.load_state_dict(state)
    if not restorable:
        env.place = 3
    found = other.next()
    assert torch.equal(found.action, expected.action)
    assert torch.equal(found.obs[1:], expected.obs[1:])
    assert torch.equal(found.obs[0], expected.obs[0]) == restorable
    assert list(other.returns) == list(whole.returns) and other.episodes == whole.episodes
    assert other.return_sum == whole.return_sum == 2 + 3 + 4 + 5 + 6 + 7


def test_a_generator_of_another_kind_of_device_is_left_alone() -> None:
    made, _ = collector([step((2, 3))])
    state = made.state_dict()
    before = state["generator"].clone()
    made.load_state_dict(state | {"generator": torch.zeros(16, dtype=torch.uint8)})  # as of CUDA
    assert torch.equal(made.state_dict()["generator"], before)


class Half(Scripted):
    """Writes down who did what."""

    def __init__(self, name: str, steps: list[Step], log: list[str]) -> None:
        super().__init__(steps)
        self.name, self.log, self.closed = name, log, False

    def send(self, actions: np.ndarray) -> None:
        self.log.append(f"send {self.name}")
        super().send(actions)

    def recv(self) -> Step:
        self.log.append(f"recv {self.name}")
        return super().recv()

    def close(self) -> None:
        self.closed = True


def halves(
    first: list[Step], second: list[Step], n_step: int
) -> tuple[Collector, list[Half], list[str]]:
    log: list[str] = []
    envs = [Half("A", first, log), Half("B", second, log)]

    def act(
        x: torch.Tensor, place: slice | None = None, mask: object = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        log.append("value" if place is None else f"act {place.start}-{place.stop}")
        return torch.zeros(len(x), 2), 10 * x[:, 0]

    made = Collector(
        envs, act, CategoricalHead(2), n_step=n_step, gamma=0.5, reward_clip=False,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    return made, envs, log


def test_one_half_plays_while_the_network_acts_for_the_other() -> None:
    made, _, log = halves([step((2, 3)), step((4, 5))], [step((6, 7)), step((8, 9))], 2)
    made.next()
    assert log == [
        "act 0-2", "send A", "act 2-4", "send B",
        "recv A", "act 4-6", "send A", "recv B", "act 6-8", "send B",
        "recv A", "value", "recv B", "value",
    ]  # fmt: skip


def test_halves_are_columns_of_one_rollout() -> None:
    first = [
        step((2, 3), reward=(1, 2), truncated=(1, 0), final=(7, 3),
             episodes=(Episode(0, 5.0, 10),)),
        step((4, 5), valid=(0, 1)),
    ]  # fmt: skip
    second = [
        step((6, 7), reward=(3, 4), terminated=(0, 1)),
        step((8, 9), truncated=(0, 1), final=(8, 1), episodes=(Episode(1, 6.0, 20),)),
    ]
    made, envs, _ = halves(first, second, 2)
    r = made.next()
    assert r.obs.squeeze(-1).tolist() == [[1, 1, 1, 1], [2, 3, 6, 7], [4, 5, 8, 9]]
    assert r.value.tolist() == [[10, 10, 10, 10], [20, 30, 60, 70]]
    assert r.next_value.tolist() == [[70, 30, 60, 70], [40, 50, 80, 10]]
    assert r.reward[0].tolist() == [1, 2, 3, 4]
    assert r.discount[0].tolist() == [0.5, 0.5, 0.5, 0]
    assert r.cut.tolist() == [[True, False, False, True], [False, False, False, True]]
    assert r.valid.tolist() == [[True] * 4, [False, True, True, True]]
    for env, columns in zip(envs, (slice(0, 2), slice(2, 4)), strict=True):
        assert np.array_equal(np.stack(env.actions), r.action[:, columns].numpy())
    assert list(made.returns) == [5.0, 6.0]
    made.close()
    assert all(env.closed for env in envs)


def test_one_that_fails_to_close_does_not_keep_the_other_open() -> None:
    made, envs, _ = halves([], [], 1)

    def fail() -> None:
        raise OSError("a worker is gone")

    envs[1].close = fail  # type: ignore[method-assign]
    with pytest.raises(OSError, match="a worker is gone"):
        made.close()
    assert envs[0].closed


def test_both_halves_go_on_from_a_state() -> None:
    steps = [step((i, -i)) for i in range(2, 6)]
    made, envs, _ = halves(steps, steps[::-1], 2)
    made.next()
    state = made.state_dict()
    expected = made.next().obs.clone()
    made.load_state_dict(state)
    assert [env.place for env in envs] == [2, 2]
    assert torch.equal(made.next().obs, expected)
