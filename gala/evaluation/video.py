"""A video of one game of a policy, as mp4.

The vector emulator does not render, and another emulator would play another game. Therefore two of
it run side by side from one seed and are given the same actions: one shows the policy what it was
trained on, the other is asked for large colour pictures. Their rewards must agree at each step.
"""

from __future__ import annotations

import contextlib
import dataclasses
import secrets
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import error as gym_error
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from gala.config.sections import EnvConfig
from gala.envs import make_vector_env
from gala.envs.atari import game_of
from gala.envs.gym import GymEnv
from gala.envs.making import make_vector
from gala.errors import UserError
from gala.evaluation.clip import Clip
from gala.evaluation.episodes import Act, evaluation_env
from gala.files import commands

Frame = NDArray[np.uint8]
Steps = Generator[tuple[Frame, float], None, None]
"""Picture UInt8[H, W, 3] after each step, the first one before any, with the step's raw reward."""

EMULATOR_FPS = 60
PICTURE_SIZE = 210
"""Height of the emulator's own picture; its 160 columns are stretched to the same number."""
MAX_SECONDS = 600


def check(config: EnvConfig, path: Path) -> None:
    """Whether :func:`record` could write ``path``, asked before any game is played.

    Raises:
        UserError: the video extra is missing, ``path`` cannot be an mp4 file, or the environment
            has no picture.
    """
    if path.suffix.lower() != ".mp4":
        raise UserError("must end with .mp4", file=path, field="--video")
    if not path.parent.is_dir():
        raise UserError("no such folder", file=path.parent, field="--video")
    _require_extra()
    if game_of(config.id) is None:
        DrawnEnv(evaluation_env(config, episodes=1), seed=0).close()


def record(
    config: EnvConfig, act: Act, path: Path, *, seed: int, clip: Clip | None = None
) -> float:
    """Play one game and write it to ``path``.

    Args:
        config: of the run that trained the policy.
        act: the policy, for a batch of one observation.
        path: the mp4 file; its folder must exist. The game is cut after ten minutes of play.
        seed: of the environment.
        clip: shown the pictures, too.

    Returns:
        The raw return of what the video shows.

    Raises:
        UserError: as :func:`check`, or ``path`` cannot be written.
    """
    check(config, path)
    config = evaluation_env(config, episodes=1)
    if game_of(config.id) is not None:
        fps, steps = EMULATOR_FPS / config.atari.frame_skip, emulator_steps(config, act, seed)
    else:
        drawn = DrawnEnv(config, seed=seed)
        fps, steps = drawn.fps, gymnasium_steps(drawn, act)
    total = 0.0
    with contextlib.closing(steps), _mp4(path, fps) as append:
        for count, (frame, reward) in enumerate(steps):
            append(frame)
            if clip is not None:
                clip.add(frame)
            total += reward
            if count >= MAX_SECONDS * fps:
                break
    return total


def emulator_steps(config: EnvConfig, act: Act, seed: int) -> Steps:
    """One Atari game, seen in colour by a second emulator with the same seed and actions."""
    colour = dataclasses.replace(
        config.atari, grayscale=False, screen_size=PICTURE_SIZE, frame_stack=1
    )
    twin = dataclasses.replace(config, atari=colour)
    with (
        contextlib.closing(make_vector_env(config, seed=seed)) as played,
        contextlib.closing(make_vector_env(twin, seed=seed)) as shown,
    ):
        obs = played.reset()
        yield _picture(shown.reset()), 0.0
        begin = np.ones(1, np.bool_)
        while True:
            actions = act(obs, played.action_mask, begin)
            step, view = played.step(actions), shown.step(actions)
            assert step.reward[0] == view.reward[0], "the two emulators play different games"
            if step.episodes:  # it already shows the next game
                return
            yield _picture(view.obs), float(step.reward[0])
            obs, begin = step.obs, step.first


def _picture(obs: NDArray[Any]) -> Frame:
    """Colour observation UInt8[1, 3, H, W] as a picture twice as large."""
    image = np.moveaxis(obs[0], 0, -1)
    return np.ascontiguousarray(image.repeat(2, axis=0).repeat(2, axis=1))


class DrawnEnv:
    """One Gymnasium environment that draws itself.

    Args:
        config: of evaluation.
        seed: of its first episode.

    Attributes:
        env: the environment, before its first episode.
        first: its first observation, [1, ...].
        fps: pictures per second at the environment's own speed.

    Raises:
        UserError: it has no picture, or what draws it is not installed.
    """

    def __init__(self, config: EnvConfig, *, seed: int) -> None:
        one = dataclasses.replace(config, num_envs=1, workers="sync")
        try:
            self._vector = make_vector(one, render_mode="rgb_array")
        except UserError as error:
            rule = f"{config.id} has no picture: {error.rule}"
            raise UserError(rule, field="--video", hint=error.hint) from None
        self.fps = float(self._vector.metadata.get("render_fps", 30))
        try:
            self.env = GymEnv(self._vector, AutoresetMode.NEXT_STEP, config, seed=seed)
            self.first = self.env.reset()
            self.picture()
        except gym_error.DependencyNotInstalled as error:
            self.close()
            raise UserError(f"{config.id} cannot be drawn: {error}", field="--video") from None
        except (gym_error.Error, TypeError, NotImplementedError) as error:
            self.close()
            raise UserError(f"{config.id} has no picture: {error}", field="--video") from None

    def picture(self) -> Frame:
        """What the environment looks like now."""
        drawn = self._vector.render()
        if not drawn or not isinstance(drawn[0], np.ndarray):
            raise TypeError("it draws nothing")
        return even(drawn[0])

    def close(self) -> None:
        """Release the environment."""
        self._vector.close()


def gymnasium_steps(drawn: DrawnEnv, act: Act) -> Steps:
    """One episode of an environment that draws itself; closes it."""
    with contextlib.closing(drawn):
        obs, begin = drawn.first, np.ones(1, np.bool_)
        yield drawn.picture(), 0.0
        while True:
            step = drawn.env.step(act(obs, drawn.env.action_mask, begin))
            yield drawn.picture(), float(step.reward[0])
            if step.episodes:
                return
            obs, begin = step.obs, step.first


def even(frame: NDArray[Any]) -> Frame:
    """The picture without the last odd row or column, which video codecs cannot hold."""
    height, width = (n - n % 2 for n in frame.shape[:2])
    return np.ascontiguousarray(frame[:height, :width, :3], dtype=np.uint8)


def _require_extra() -> None:
    try:
        import imageio.v2  # noqa: F401
        import imageio_ffmpeg  # type: ignore[import-untyped]  # noqa: F401
    except ImportError:
        raise UserError(
            "writing a video needs the video extra",
            field="--video",
            hint=commands.install("video"),
        ) from None


@contextlib.contextmanager
def _mp4(path: Path, fps: float) -> Iterator[Callable[[Frame], None]]:
    """Give a function that appends a frame; the file gets its name when the block ends well."""
    import imageio.v2 as imageio

    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.tmp.mp4")
    try:
        writer = imageio.get_writer(temporary, fps=fps, codec="libx264", macro_block_size=2)
        with contextlib.closing(writer):
            yield writer.append_data
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"cannot be written: {error.strerror or error}", file=path) from None
    finally:
        temporary.unlink(missing_ok=True)
