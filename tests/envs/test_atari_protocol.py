"""The protocol of the paper, pixel by pixel: Gymnasium's wrappers, and what they leave out by hand.

A second emulator plays the same game behind ``AtariPreprocessing`` and ``FrameStackObservation``. A
lost life begins a new episode there too: a no-op, FIRE and action 2, then a stack of that alone.
"""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import ale_py
import gymnasium
import numpy as np
import pytest
from gymnasium.wrappers import AtariPreprocessing, FrameStackObservation
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from gala.config.sections import AtariConfig, EnvConfig
from gala.envs import make_vector_env
from gala.envs.opening import Opening
from gala.files.shipped import resolve
from gala.run.config import load

Image = NDArray[Any]


def shares(size: int, wanted: int) -> list[list[tuple[int, np.float32]]]:
    """For each pixel of ``wanted`` those of ``size`` that lie under it, and which part of it."""
    width = size / wanted
    table = []
    for each in range(wanted):
        begin, end = each * width, (each + 1) * width
        under = range(int(begin), min(int(np.ceil(end - 1e-3)), size))
        parts = [(k, np.float32((min(end, k + 1) - max(begin, k)) / width)) for k in under]
        table.append([(k, part) for k, part in parts if part * width > 1e-3])
    return table


def resize(image: Image, size: tuple[int, int], interpolation: int) -> Image:
    """Area means in float32, across and then down: what OpenCV does, which is not installed."""
    rows, columns = image.astype(np.float32), []
    for row in shares(image.shape[1], size[0]):
        columns.append(sum((rows[:, k] * part for k, part in row), start=np.float32(0)))
    across = np.stack(columns, axis=1)
    down = [
        sum((across[k] * part for k, part in row), start=np.float32(0))
        for row in shares(image.shape[0], size[1])
    ]
    return np.rint(np.stack(down)).astype(np.uint8)


@pytest.fixture(autouse=True)
def area_means(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", SimpleNamespace(resize=resize, INTER_AREA=3))


class Lives(gymnasium.Wrapper[Any, Any, Any, Any]):
    """An episode a life: what begins the next one is pressed here, as in the paper's wrappers."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        self.over = True
        meanings = self.unwrapped.get_action_meanings()  # type: ignore[attr-defined]
        self.waits = meanings[1:2] == ["FIRE"] and len(meanings) >= 3

    def lives(self) -> int:
        return int(self.unwrapped.ale.lives())  # type: ignore[attr-defined]

    def step(self, action: Any) -> Any:
        before = self.lives()
        obs, reward, self.over, truncated, info = self.env.step(action)
        lost = 0 < self.lives() < before
        return obs, reward, self.over or lost, truncated, info

    def reset(self, **options: Any) -> Any:
        obs, info = self.env.reset(**options) if self.over else (self.env.step(0)[0], {})
        self.over = False
        for action in (1, 2) if self.waits else ():
            obs, *_ = self.env.step(action)
        return obs, info


class NoOps:
    """Stands where Gymnasium draws its number of no-ops."""

    def __init__(self, count: int) -> None:
        self.count = count

    def integers(self, low: int, high: int) -> int:
        assert (low, high) == (1, 31)
        return self.count


def reference(game: str, no_ops: int) -> gymnasium.Env[Any, Any]:
    gymnasium.register_envs(ale_py)
    env = gymnasium.make(
        f"ALE/{game}-v5", frameskip=1, repeat_action_probability=0.0, full_action_space=False,
        max_num_frames_per_episode=None, disable_env_checker=True,
    )  # fmt: skip
    env = AtariPreprocessing(env, noop_max=30, frame_skip=4, screen_size=84)
    inner = env.unwrapped
    reset = inner.reset

    def seeded(**options: Any) -> Any:
        found = reset(**options)
        inner.np_random = NoOps(no_ops)  # type: ignore[assignment]
        return found

    inner.reset = seeded  # type: ignore[method-assign]
    return FrameStackObservation(Lives(env), 4, padding_type="zero")


def no_ops_of(env: Any) -> int:
    return int(env._env.reset(options={"reset_mask": np.zeros(1, np.bool_)})[1][
        "episode_frame_number"][0])  # fmt: skip


@pytest.mark.parametrize(("game", "steps"), [("Breakout", 220), ("Pong", 150), ("MsPacman", 450)])
@pytest.mark.parametrize("autoreset", ["next-step", "same-step"])
def test_pixel_by_pixel_as_gymnasiums_wrappers(game: str, steps: int, autoreset: Any) -> None:
    """Breakout waits for FIRE, Pong has it, Ms. Pac-Man has none; lives are lost in two of them."""
    protocol = load(resolve("experiments", "pong-paper")).env.atari
    config = EnvConfig(id=f"ALE/{game}-v5", num_envs=1, autoreset=autoreset, atari=protocol)
    env = make_vector_env(config, seed=5)
    obs = env.reset()
    other = reference(game, no_ops_of(env))
    expected, _ = other.reset(seed=1)
    rng, ends, compared = np.random.default_rng(3), 0, 0
    while compared < steps:
        action = int(rng.integers(env.action_space.n))
        step = env.step(np.array([action]))
        if not step.valid[0]:
            assert step.first[0], "nothing is remembered of what was pressed"
            obs = step.obs
            continue
        assert np.array_equal(obs[0], expected), f"the observation before step {compared}"
        seen, reward, terminated, truncated, _ = other.step(action)
        assert (step.reward[0], step.terminated[0]) == (reward, terminated) and not truncated
        compared += 1
        if terminated:
            ends += 1
            if other.get_wrapper_attr("over"):
                break  # the next game draws no-ops of its own
            expected, _ = other.reset()
        else:
            expected = seen
        obs = step.obs
    assert compared > 100 and (ends >= 2 or game == "Pong")
    env.close()


# -- no-ops


@pytest.mark.parametrize(
    ("changes", "low", "high", "autoreset"),
    [
        ({}, 1, 30, "next-step"),
        ({}, 1, 30, "same-step"),
        ({"noop_min": 0, "noop_max": 3}, 0, 3, "next-step"),
        ({"noop_min": 7, "noop_max": 9}, 7, 9, "next-step"),
    ],
)
def test_so_many_no_ops_and_no_others(
    changes: dict[str, int], low: int, high: int, autoreset: Any
) -> None:
    protocol = AtariConfig(max_frames=4, fire_reset=False, screen_size=36, **changes)
    config = EnvConfig(id="ALE/Pong-v5", num_envs=4, autoreset=autoreset, atari=protocol)
    env: Any = make_vector_env(config, seed=2)
    env.reset()
    seen: set[int] = set()
    for _ in range(30 if high > 9 else 5):  # games of one step
        nobody = {"reset_mask": np.zeros(4, np.bool_)}
        seen |= set(env._env.reset(options=nobody)[1]["episode_frame_number"].tolist())
        while not env.step(np.zeros(4, np.int64)).episodes:
            pass
    assert (min(seen), max(seen)) == (low, high)
    env.close()


# -- what is pressed


def test_without_any_of_it_nothing_is_pressed_or_cleared() -> None:
    """The fields name the deviations: a lost life keeps its frames, and Breakout stands still."""
    plain = AtariConfig(fire_second=False, life_reset=False, clear_stack=False)
    env = make_vector_env(EnvConfig(id="ALE/Breakout-v5", num_envs=1, atari=plain), seed=1)
    env.reset()
    wait = np.zeros(1, np.int64)
    while True:
        step = env.step(wait)
        assert step.valid[0]
        if step.terminated[0]:
            break
    before = step.obs.copy()
    after = env.step(wait)
    assert after.valid[0] and np.array_equal(after.obs[0, :-1], before[0, 1:])
    assert before[0, 0].any()
    env.close()


def test_a_policy_that_never_fires_plays_all_lives_of_breakout() -> None:
    env = make_vector_env(EnvConfig(id="ALE/Breakout-v5", num_envs=1), seed=1)
    env.reset()
    lives, games = 0, []
    for _ in range(400):
        step = env.step(np.zeros(1, np.int64))
        lives += int(step.terminated[0])
        games += step.episodes
    assert lives >= 5 and games
    env.close()


sequences = st.lists(st.integers(0, 5), max_size=3).map(tuple)


@given(
    sequences, sequences, st.booleans(),
    st.lists(st.lists(st.sampled_from("  bl"), min_size=2, max_size=2), max_size=20),
)  # fmt: skip
def test_presses_of_any_sequence(
    after_reset: tuple[int, ...], after_life: tuple[int, ...], clear: bool, history: list[list[str]]
) -> None:
    """Against lists, an environment at a time."""
    opening = Opening(2, after_reset=after_reset, after_life=after_life, stack=3, clear=clear)
    opening.reset()
    queues, ages, fell = [list(after_reset), list(after_reset)], [1, 1], [False, False]
    for marks in history:
        pressed = [bool(queue) for queue in queues]
        expected = [queue.pop(0) if queue else 7 for queue in queues]
        assert opening.press(np.array([7, 7])).tolist() == expected
        began, lost = (np.array([mark == kind for mark in marks]) for kind in "bl")
        assert opening.saw(began, lost).tolist() == pressed
        for i, mark in enumerate(marks):
            queues[i] = {"b": list(after_reset), "l": list(after_life)}.get(mark, queues[i])
            starts = (mark != " " or pressed[i]) and not queues[i]
            ages[i] = 1 if starts or fell[i] else ages[i] + 1  # presses show no lost life
            fell[i] = mark == "l" and bool(queues[i])
        obs = np.ones((2, 3, 1, 1), np.uint8)
        opening.clear(obs)
        kept = [min(age, 3) if clear else 3 for age in ages]
        assert obs.sum(axis=(1, 2, 3)).tolist() == kept
        assert all(obs[i, 3 - n :].all() for i, n in enumerate(kept))
