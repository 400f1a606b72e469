"""Videos: the right game, the right pictures, and clear errors."""

from __future__ import annotations

import builtins
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from gala.config.sections import AtariConfig, EnvConfig
from gala.envs import make_vector_env
from gala.errors import UserError
from gala.evaluation import video
from gala.evaluation.video import emulator_steps, even, record

imageio = pytest.importorskip("imageio.v2")
pytest.importorskip("imageio_ffmpeg")

# imageio's reader, used by these tests alone, leaves its pipes to the garbage collector
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

SHORT_PONG = EnvConfig(
    id="ALE/Pong-v5", reward_clip=True, atari=AtariConfig(max_frames=200, sticky_actions=0.25)
)


def random_actions(n: int, seed: int = 0) -> Any:
    generator = np.random.default_rng(seed)
    return lambda obs, mask=None, begin=None: generator.integers(0, n, size=len(obs))


def read(path: Path) -> tuple[list[np.ndarray], float]:
    with imageio.get_reader(path) as reader:
        return list(reader.iter_data()), reader.get_meta_data()["fps"]


def test_an_atari_game_in_colour(tmp_path: Path) -> None:
    path = tmp_path / "game.mp4"
    record(SHORT_PONG, random_actions(6), path, seed=3)
    frames, fps = read(path)
    assert fps == 15
    assert os.listdir(tmp_path) == ["game.mp4"]
    assert 40 <= len(frames) <= 51
    assert frames[0].shape == (420, 420, 3)
    red, green, blue = frames[-1][150, 210].astype(int)  # the floor of Pong is brown
    assert red > green + 20 > blue + 20
    assert np.abs(frames[0].astype(int) - frames[-1].astype(int)).max() > 60  # something moved


def test_what_is_shown_is_what_the_policy_plays(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same seed and actions without a camera give the same rewards and observations."""
    seen: list[np.ndarray] = []
    choose = random_actions(6, seed=8)

    def act(obs: np.ndarray, mask: object = None, begin: object = None) -> np.ndarray:
        seen.append(obs.copy())
        return choose(obs)

    rewards = [
        reward for _, reward in emulator_steps(video.evaluation_env(SHORT_PONG, episodes=1), act, 5)
    ]
    env = make_vector_env(video.evaluation_env(SHORT_PONG, episodes=1), seed=5)
    choose = random_actions(6, seed=8)
    obs, expected = env.reset(), [0.0]
    for shown in seen:
        assert np.array_equal(obs, shown)
        step = env.step(choose(obs))
        obs = step.obs
        if not step.episodes:
            expected.append(float(step.reward[0]))
    env.close()
    assert rewards == expected


class Painter(gymnasium.Env[np.ndarray, int]):
    """Five steps; step t is painted with brightness 40 t and pays t."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 7}
    observation_space = gymnasium.spaces.Box(0, 1, (2,))
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, render_mode: str | None = None, pay: int = 1) -> None:
        self.render_mode, self.pay = render_mode, pay
        self.t = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(2, np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.t += 1
        return np.zeros(2, np.float32), float(self.t * self.pay), self.t == 5, False, {}

    def render(self) -> np.ndarray:
        return np.full((65, 49, 3), 40 * self.t, np.uint8)


@pytest.fixture
def painter() -> Iterator[str]:
    gymnasium.register("Painter-v0", Painter)
    yield "Painter-v0"
    del gymnasium.registry["Painter-v0"]


def test_a_gymnasium_episode(tmp_path: Path, painter: str) -> None:
    path = tmp_path / "episode.mp4"
    total = record(EnvConfig(id=painter), random_actions(2), path, seed=0)
    frames, fps = read(path)
    assert total == 1 + 2 + 3 + 4 + 5
    assert fps == 7
    assert [round(frame.mean() / 40) for frame in frames] == [0, 1, 2, 3, 4, 5]
    assert frames[0].shape == (64, 48, 3)  # codecs want even sizes


def test_a_time_limit_of_the_run_holds(tmp_path: Path, painter: str) -> None:
    config = EnvConfig(id=painter, max_episode_steps=2)
    assert record(config, random_actions(2), tmp_path / "short.mp4", seed=0) == 1 + 2


def test_arguments_and_wrappers_of_the_run_hold(tmp_path: Path, painter: str) -> None:
    seen = []

    def act(obs: np.ndarray, mask: object = None, begin: object = None) -> np.ndarray:
        seen.append(obs.shape)
        return np.zeros(1, np.int64)

    wrappers = ("gymnasium.wrappers:TimeAwareObservation",)
    config = EnvConfig(id=painter, max_episode_steps=2, kwargs={"pay": 10}, wrappers=wrappers)
    assert record(config, act, tmp_path / "own.mp4", seed=0) == 10 + 20
    assert set(seen) == {(1, 3)}


def test_a_long_game_is_cut(tmp_path: Path, painter: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "MAX_SECONDS", 2 / 7)
    path = tmp_path / "cut.mp4"
    assert record(EnvConfig(id=painter), random_actions(2), path, seed=0) == 1 + 2
    assert len(read(path)[0]) == 3


def test_even_sizes() -> None:
    assert even(np.zeros((3, 5, 4), np.uint8)).shape == (2, 4, 3)
    assert even(np.zeros((4, 6, 3), np.uint8)).shape == (4, 6, 3)


# -- errors


def test_without_the_extra_the_error_names_it(
    tmp_path: Path, painter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def missing(name: str, *args: Any, **options: Any) -> Any:
        if name.startswith("imageio"):
            raise ImportError(name)
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(UserError, match=r"pip install .*\[video\]'"):
        record(EnvConfig(id=painter), random_actions(2), tmp_path / "x.mp4", seed=0)


def test_a_failing_policy_leaves_no_file(tmp_path: Path, painter: str) -> None:
    def fail(obs: np.ndarray, mask: object, begin: object) -> np.ndarray:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        record(EnvConfig(id=painter), fail, tmp_path / "x.mp4", seed=0)
    assert os.listdir(tmp_path) == []


def test_an_environment_without_pictures(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no picture"):
        record(EnvConfig(id="gala/Identity-v0"), random_actions(4), tmp_path / "x.mp4", seed=0)
    assert os.listdir(tmp_path) == []


def test_bad_names(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"must end with \.mp4"):
        record(SHORT_PONG, random_actions(6), tmp_path / "x.avi", seed=0)
    with pytest.raises(UserError, match="no such folder"):
        record(SHORT_PONG, random_actions(6), tmp_path / "no" / "x.mp4", seed=0)
