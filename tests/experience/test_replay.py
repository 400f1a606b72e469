"""Replay: which transitions are kept, what is drawn of them, and what a checkpoint brings back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scripted import B, Scripted, step

from gala.config.sections import ReplayConfig
from gala.device.streams import Direct
from gala.envs.step import Step
from gala.errors import UserError
from gala.experience import Collector
from gala.experience.replay import Replay
from gala.experience.ring import Ring, bytes_of, require_room
from gala.experience.transitions import TransitionStore, transitions
from gala.experience.unroll import Layout
from gala.experience.windows import Transitions
from gala.files.room import free_memory
from gala.networks.heads import CategoricalHead

GAMMA = 0.5


def replay(steps: list[Step], *, unroll: int = 1, draws: int = 64, **options: object) -> Replay:
    source = Collector(
        [Scripted(steps)],
        lambda x, place=None, mask=None: (torch.zeros(B, 2), x[:, 0]),
        CategoricalHead(2),
        n_step=unroll,
        gamma=GAMMA,
        reward_clip=False,
        generator=torch.Generator().manual_seed(0),
    )
    settings = ReplayConfig(**({"capacity": 100, "warm_up": 1} | options))  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(1)
    store = TransitionStore(
        source.layout,
        capacity=settings.capacity,
        n_step=settings.n_step,
        draws=draws,
        generator=generator,
    )
    return Replay(source, store, settings)


def drawn(made: Replay, updates: int) -> set[tuple[float, float, float, float]]:
    """Observation, reward, discount and successor of all that is drawn in the last update."""
    for _ in range(updates):
        batch = made.next()
    rows = transitions(batch)
    columns = rows.obs[:, 0], rows.reward, rows.discount, rows.next_obs[:, 0]
    return set(zip(*(column.tolist() for column in columns), strict=True))


def test_transitions_are_what_happened() -> None:
    made = replay([step((2, 3), reward=(5, 6)), step((4, 7), reward=(8, 9))])
    assert drawn(made, 1) == {(1, 5, 0.5, 2), (1, 6, 0.5, 3)}
    assert drawn(made, 1) == {(1, 5, 0.5, 2), (1, 6, 0.5, 3), (2, 8, 0.5, 4), (3, 9, 0.5, 7)}
    assert made.steps == 4 and made.metrics()["replay/transitions"] == 4


def test_an_end_has_its_own_successor_and_the_row_of_autoreset_is_never_kept() -> None:
    """Next-step autoreset: the row after an end shows what it ended with, and is no step."""
    steps = [
        step((9, 8), reward=(1, 2), terminated=(1, 0), truncated=(0, 1)),
        step((0, 0), reward=(50, 60), valid=(0, 0)),
        step((3, 4), reward=(5, 6)),
    ]
    found = {(1, 1, 0.0, 9), (1, 2, 0.5, 8), (0, 5, 0.5, 3), (0, 6, 0.5, 4)}
    assert drawn(replay(steps), 3) == found
    assert drawn(replay(steps, unroll=3), 1) == found


def test_a_final_observation_that_is_not_there_is_not_made_up() -> None:
    """Same-step autoreset: what a truncated step led to is known to the behaviour policy alone."""
    steps = [
        step((0, 0), reward=(1, 2), terminated=(1, 0), truncated=(0, 1), final=(9, 8)),
        step((3, 4), reward=(5, 6)),
    ]
    found = drawn(replay(steps), 2)
    assert found == {(1, 1, 0.0, 0), (0, 5, 0.5, 3), (0, 6, 0.5, 4)}


@pytest.mark.parametrize("unroll", [1, 2, 4])
def test_rewards_of_n_steps_are_summed_and_stop_at_an_end(unroll: int) -> None:
    steps = [
        step((2, 20), reward=(1, 1)),
        step((3, 30), reward=(2, 2), terminated=(1, 0)),
        step((0, 40), reward=(99, 4), valid=(0, 1)),
        step((5, 50), reward=(3, 8)),
    ]
    whole = {
        (1, 1 + 1.0, 0.0, 3), (2, 2, 0.0, 3),  # shorter, as the episode ended
        (1, 1 + 1 + 1, 0.125, 40), (20, 2 + 2 + 2, 0.125, 50),
    }  # fmt: skip
    assert drawn(replay(steps, unroll=unroll, n_step=3, draws=200), 4 // unroll) == whole


def test_rewards_of_several_steps_stay_within_their_environment() -> None:
    """Where several actors fill the unrolls, the next one may be of any environment."""
    made = TransitionStore(
        layout(), capacity=50, n_step=2, draws=500, generator=torch.Generator().manual_seed(0)
    )
    for streams, rewards in (
        ([7, 8], (1.0, 10.0)),
        ([8, 9], (20.0, 300.0)),
        ([7, 9], (2.0, 400.0)),
    ):
        unroll = layout().batch(torch.zeros(layout().size(2), dtype=torch.uint8), 2)
        unroll.reward[0], unroll.discount[0] = torch.tensor(rewards), 1.0
        unroll.valid[:], unroll.stream = True, np.array(streams)
        made.push(unroll)
    out = made.batch(Direct())
    assert made.draw(out)
    assert set(transitions(out).reward.tolist()) == {10.0 + 20.0, 300.0 + 400.0}


def test_what_is_not_finite_is_told_and_not_kept() -> None:
    steps = [
        step((2, 3), reward=(float("nan"), 1)),
        step((float("inf"), 5), reward=(1, 1)),
        step((6, 7), reward=(1, 1)),
        step((8, 9), reward=(1, 1)),
    ]
    made = replay(steps)
    found = drawn(made, 4)
    assert found == {(1, 1, 0.5, 3), (3, 1, 0.5, 5), (5, 1, 0.5, 7), (6, 1, 0.5, 8), (7, 1, 0.5, 9)}
    assert not made.faults
    told = made.events()
    assert "reward of environment 0 is nan: not kept" in told[0][1] and not made.events()


def test_nothing_is_drawn_while_there_is_too_little() -> None:
    made = replay([step((2, 3))] * 3, warm_up=5)
    assert [made.next().envs for _ in range(3)] == [0, 0, 64]
    assert made.recent().shape == (B, 1)  # what was acted in, not what was drawn


def test_all_are_drawn_equally_often() -> None:
    made = replay([step((k, k + 0.5)) for k in range(10)], draws=40_000)
    for _ in range(10):
        batch = made.next()
    counts = transitions(batch).next_obs.flatten().unique(return_counts=True)[1]
    assert len(counts) == 20 and float((counts - 2000).abs().max()) < 5 * 2000**0.5


def layout(obs: tuple[int, ...] = (1,)) -> Layout:
    return Layout(
        steps=1, obs=obs, obs_dtype=torch.float32, action=(), action_dtype=torch.int64, dist=2,
        masked=False,
    )  # fmt: skip


def numbered(*numbers: int) -> Transitions:
    value = torch.tensor(numbers, dtype=torch.float32)
    return Transitions(value[:, None], value.long(), value, value, value[:, None])


def room(count: int) -> Transitions:
    return Transitions(*(torch.zeros_like(column) for column in numbered(*range(count))))


def test_the_newest_replaces_the_oldest_wherever_they_lie() -> None:
    ring, out = Ring(layout(), 5), room(5)
    for numbers in ((1, 2, 3), (4, 5, 6, 7), tuple(range(8, 20))):
        ring.append(numbered(*numbers))
    ring.take(torch.arange(5), out)
    assert ring.size == 5 and out.reward.tolist() == [19, 18, 17, 16, 15]
    smaller, out = Ring(layout(), 3), room(3)
    smaller.load_state_dict(ring.state_dict())
    smaller.take(torch.arange(3), out)
    assert out.next_obs.flatten().tolist() == [19, 18, 17] and out.action.tolist() == [19, 18, 17]


@pytest.mark.parametrize("n_step", [1, 3])
def test_what_was_saved_goes_on_to_the_same_draws(n_step: int) -> None:
    steps = [step((k, -k), reward=(k, k), terminated=(k % 4 == 3, 0)) for k in range(1, 12)]
    whole = replay(steps, n_step=n_step, save=True, capacity=7)
    halved = replay(steps, n_step=n_step, save=True, capacity=7)
    for _ in range(5):
        whole.next()
        halved.next()
    saved, halved = halved.state_dict(), replay(steps, n_step=n_step, save=True, capacity=7)
    halved.load_state_dict(saved)
    for _ in range(5):
        for mine, theirs in zip(transitions(whole.next()), transitions(halved.next()), strict=True):
            assert torch.equal(mine, theirs)
    assert halved.steps == whole.steps and not halved.events()


def test_what_was_not_saved_begins_empty_and_says_so() -> None:
    made = replay([step((2, 3))] * 3)
    made.next()
    state = made.state_dict()
    assert "ring" not in state["replay"]
    after = replay([step((2, 3))] * 3, warm_up=3)
    after.load_state_dict(state)
    assert after.steps == B and after.next().envs == 0
    assert "begins empty" in after.events()[0][1]


def test_a_replay_that_does_not_fit_is_refused_with_what_would() -> None:
    each = bytes_of(layout((4,)))
    assert each == 2 * 16 + 8 + 8
    require_room(each, 1000, 2)
    with pytest.raises(UserError, match="2 agents x 1,000,000,000,000 transitions of 48") as error:
        require_room(each, 10**12, 2)
    free = free_memory()
    assert free is not None and 0.5 < int(str(error.value.hint)) * 2 * each / free < 2
    assert "\n" not in str(error.value)


def test_free_memory_is_that_of_the_container_where_that_is_less(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 9000 kB\nMemAvailable:    4000 kB\n")
    assert free_memory(meminfo, tmp_path) == 4000 * 1024
    (tmp_path / "memory.max").write_text("3000000\n")
    (tmp_path / "memory.current").write_text("2500000\n")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 1000000\n")
    assert free_memory(meminfo, tmp_path) == 1_500_000
    (tmp_path / "memory.max").write_text("max\n")
    assert free_memory(meminfo, tmp_path) == 4000 * 1024
    assert free_memory(tmp_path / "none", tmp_path) is None
