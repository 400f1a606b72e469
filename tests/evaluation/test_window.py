"""``gala play``: a window where there is a display, a file else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from gala import cli
from gala.config.sections import AtariConfig, EnvConfig, NetworkConfig
from gala.errors import UserError
from gala.evaluation import window
from gala.run.config import Config

MakeRun = Callable[..., Path]


class Painter(gymnasium.Env[Any, Any]):
    """Four steps that pay 1, drawn by itself."""

    metadata = {"render_modes": ["human", "rgb_array"], "render_fps": 30}
    observation_space = gymnasium.spaces.Box(0, 1, (2,))
    action_space = gymnasium.spaces.Discrete(2)
    modes: list[str | None] = []

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode, self.t = render_mode, 0
        self.modes.append(render_mode)

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        self.t = 0
        return np.zeros(2, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.t += 1
        return np.zeros(2, np.float32), 1.0, self.t == 4, False, {}

    def render(self) -> Any:
        return np.zeros((32, 32, 3), np.uint8) if self.render_mode == "rgb_array" else None


class Broken(Painter):
    """Has no display."""

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        raise RuntimeError("No available video device")


@pytest.fixture(autouse=True)
def own_envs() -> Iterator[None]:
    Painter.modes.clear()
    for kind in (Painter, Broken):
        gymnasium.register(f"{kind.__name__}-v3", kind, disable_env_checker=True)
    yield
    for kind in (Painter, Broken):
        del gymnasium.registry[f"{kind.__name__}-v3"]


def still(obs: Any, mask: object = None, begin: object = None) -> Any:
    return np.zeros(len(obs), np.int64)


def test_an_environment_shows_itself() -> None:
    assert window.show(EnvConfig(id="Painter-v3", num_envs=8), still, seed=0) == 4
    assert Painter.modes == ["human"]


def test_what_cannot_be_shown_names_the_video() -> None:
    for env_id, words in (
        ("Broken-v3", "No available video device"),
        ("gala/Identity-v0", "shows no window"),
    ):
        with pytest.raises(UserError, match=words) as raised:
            window.show(EnvConfig(id=env_id), still, seed=0)
        assert "--video game.mp4 writes a file instead" in str(raised.value)


def test_atari_in_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    pygame = pytest.importorskip("pygame")
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    flips: list[tuple[int, int]] = []

    def flip() -> None:
        flips.append(pygame.display.get_surface().get_size())
        if len(flips) == 12:
            pygame.event.post(pygame.event.Event(pygame.QUIT))

    monkeypatch.setattr(pygame.display, "flip", flip)
    config = EnvConfig(id="ALE/Pong-v5", atari=AtariConfig(max_frames=400, noop_max=0))
    window.show(config, still, seed=0)
    assert flips == [(420, 420)] * 12, "until the window is closed"


def test_without_a_display_the_video_is_named(
    identity_run: MakeRun, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    assert cli.main(["play", str(identity_run(1.0))]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "there is no display for a window" in line and "--video game.mp4" in line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--agent", "5"], "--agent: there is no agent 5"),
        (["--step", "3"], "--step: holds no readable checkpoint of 3 steps or fewer"),
        (["--video", "game.gif"], "--video: must end with .mp4"),
        (["--video", "game.mp4"], "gala/Identity-v0 has no picture"),
    ],
)
def test_mistakes(
    identity_run: MakeRun, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert cli.main(["play", str(identity_run(1.0)), *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line


def test_a_video_of_a_policy(
    atari_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("imageio_ffmpeg")
    pong = EnvConfig(id="ALE/Pong-v5", num_envs=1, atari=AtariConfig(max_frames=200))
    run = atari_run(Config(env=pong, network=NetworkConfig(hidden=(8,))))
    file = tmp_path / "game.mp4"
    assert cli.main(["play", str(run), "--agent", "1", "--video", str(file)]) == 0
    assert file.stat().st_size > 1000
    assert f"video of one greedy game with return 0: {file}" in capsys.readouterr().out
