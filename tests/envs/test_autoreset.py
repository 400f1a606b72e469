"""Autoreset modes on hand-made rows: what every kind of environment must come out as."""

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from hypothesis import given
from hypothesis import strategies as st

from gala.envs.autoreset import Autoreset
from gala.envs.step import Episode, Ledger, env_seeds

NEXT, SAME = AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP


def flags(*rows: int) -> np.ndarray:
    return np.array(rows, bool)


def test_next_step_spends_a_row_on_the_reset() -> None:
    autoreset = Autoreset(NEXT, 2)
    obs = np.arange(2.0)
    end = autoreset.translate(obs, np.array([1.0, 2.0]), flags(0, 1), flags(0, 0), {})
    assert end.valid.tolist() == [True, True] and end.obs is obs and end.final_obs is None
    assert end.episodes == [Episode(1, 2.0, 1)]
    reset = autoreset.translate(obs, np.array([1.0, 5.0]), flags(0, 0), flags(0, 0), {})
    assert reset.valid.tolist() == [True, False] and reset.episodes == []
    after = autoreset.translate(obs, np.array([1.0, 4.0]), flags(0, 0), flags(1, 1), {})
    assert after.valid.all()
    assert after.episodes == [Episode(0, 3.0, 3), Episode(1, 4.0, 1)]  # without the reset row


@pytest.mark.parametrize("dense", [True, False])
def test_same_step_brings_the_final_observation_beside(dense: bool) -> None:
    autoreset = Autoreset(SAME, 3)
    obs = np.array([[0.0], [1.0], [2.0]])
    ends = np.array([[-1.0], [9.0], [-1.0]])  # rows that did not end may hold anything
    if not dense:
        ends = np.array([None, np.array([9.0]), None], object)
    info = {"final_obs": ends}
    step = autoreset.translate(obs, np.ones(3), flags(0, 0, 0), flags(0, 1, 0), info)
    assert step.valid.all() and step.final_obs is not None
    assert step.final_obs.tolist() == [[0.0], [9.0], [2.0]] and obs.tolist() == [[0], [1], [2]]
    quiet = autoreset.translate(obs, np.ones(3), flags(0, 0, 0), flags(0, 0, 0), {})
    assert quiet.valid.all() and quiet.final_obs is None
    assert quiet.episodes == [] and step.episodes == [Episode(1, 1.0, 1)]


@pytest.mark.parametrize("mode", [NEXT, SAME])
def test_a_lost_life_ends_nothing_but_the_learners_episode(mode: AutoresetMode) -> None:
    autoreset = Autoreset(mode, 1)
    obs, one, no = np.zeros((1, 1)), np.ones(1), flags(0)
    info = {"final_obs": np.full((1, 1), 7.0)}
    life = autoreset.translate(obs, one, flags(1), no, info, began=no)
    after = autoreset.translate(obs, one, no, no, info, began=no)
    assert life.terminated.all() and life.valid.all() and after.valid.all()
    assert life.final_obs is None and life.episodes == after.episodes == []
    # the game's own end: next-step sees it in the row that begins the next one
    began = flags(1) if mode is SAME else no
    end = autoreset.translate(obs, one, flags(1), no, info, began=began)
    if mode is SAME:
        assert end.final_obs is not None and end.final_obs.tolist() == [[7.0]]
    else:
        assert end.episodes == [] and end.valid.all() and end.final_obs is None
        end = autoreset.translate(obs, np.full(1, 50.0), no, no, info, began=flags(1))
        assert not end.valid.any()  # and the reward of the ignored action is nobody's
    assert end.episodes == [Episode(0, 3.0, 3)]


def test_without_autoreset_is_not_supported() -> None:
    with pytest.raises(AssertionError):
        Autoreset(AutoresetMode.DISABLED, 1)


@given(st.lists(st.tuples(st.integers(-9, 9), st.booleans()), max_size=40), st.booleans())
def test_every_counted_reward_is_in_exactly_one_game(
    rows: list[tuple[int, bool]], next_step: bool
) -> None:
    autoreset = Autoreset(NEXT if next_step else SAME, 1)
    booked, games, since = 0.0, [], 0.0
    for reward, ends in rows:
        info = {"final_obs": np.zeros((1, 1))}
        row = np.array([reward]), flags(ends), flags(0)
        step = autoreset.translate(np.zeros((1, 1)), *row, info)
        since += reward * step.valid[0]
        games += step.episodes
        if step.episodes:
            booked, since = booked + since, 0.0
    assert sum(game.ret for game in games) == booked


def test_a_ledger_goes_on_from_its_state() -> None:
    ledger, other = Ledger(2), Ledger(2)
    ledger.add(np.array([1.5, 2.0]), flags(1, 1))
    other.load_state_dict(ledger.state_dict())
    for each in (ledger, other):
        each.add(np.array([1.0, 1.0]), flags(1, 0))
        assert each.finish(flags(1, 1)) == [Episode(0, 2.5, 2), Episode(1, 2.0, 1)]
        assert each.finish(flags(1, 0)) == [Episode(0, 0.0, 0)]


@given(st.integers(0, 2**64), st.integers(1, 64))
def test_seeds_of_environments(seed: int, count: int) -> None:
    seeds = env_seeds(seed, count)
    assert seeds == env_seeds(seed, count + 1)[:count]
    assert len(seeds) == count and all(0 <= each < 2**31 for each in seeds)
    assert not set(seeds) & set(env_seeds(seed + 1, count))
