"""A window that shows one game of a policy.

An environment of Gymnasium shows itself (``render_mode="human"``); of Atari games, whose vector
emulator draws nothing, the pictures of :func:`gala.evaluation.video.emulator_steps` are shown.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
from collections.abc import Callable, Iterator

from gymnasium import error as gym_error
from gymnasium.vector import AutoresetMode

from gala.config.sections import EnvConfig
from gala.envs.atari import game_of
from gala.envs.gym import GymEnv
from gala.envs.making import make_vector
from gala.errors import UserError
from gala.evaluation.episodes import Act, evaluation_env, play
from gala.evaluation.video import EMULATOR_FPS, Frame, emulator_steps
from gala.files import commands

INSTEAD = "--video game.mp4 writes a file instead"


def show(config: EnvConfig, act: Act, *, seed: int) -> float:
    """Play one game in a window.

    Args:
        config: of the run that trained the policy.
        act: the policy, for a batch of one observation.
        seed: of the environment.

    Returns:
        The raw return; of an Atari game until its window was closed.

    Raises:
        UserError: the environment cannot show itself, or no window can be opened.
    """
    config = evaluation_env(config, episodes=1)
    if game_of(config.id) is None:
        return _shows_itself(config, act, seed)
    total, fps = 0.0, EMULATOR_FPS / config.atari.frame_skip
    with contextlib.closing(emulator_steps(config, act, seed)) as steps:
        with _window(config.id, fps) as put:
            for frame, reward in steps:
                total += reward
                if not put(frame):
                    break
    return total


def _shows_itself(config: EnvConfig, act: Act, seed: int) -> float:
    one = dataclasses.replace(config, workers="sync")
    try:
        with contextlib.closing(make_vector(one, render_mode="human")) as vector:
            env = GymEnv(vector, AutoresetMode.NEXT_STEP, config, seed=seed)
            return float(play(env, act, 1).returns[0])
    except UserError as error:
        hint = f"{error.hint}; {INSTEAD}" if error.hint else INSTEAD
        raise UserError(f"{config.id} shows no window: {error.rule}", hint=hint) from None
    except (gym_error.Error, TypeError, NotImplementedError) as error:
        raise UserError(f"{config.id} shows no window: {error}", hint=INSTEAD) from None


def require_display() -> None:
    """Refuse to open a window where there is no screen.

    Raises:
        UserError: it names ``--video``.
    """
    known = ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER")
    if sys.platform == "linux" and not any(os.environ.get(name) for name in known):
        raise UserError("there is no display for a window: DISPLAY is not set", hint=INSTEAD)


@contextlib.contextmanager
def _window(title: str, fps: float) -> Iterator[Callable[[Frame], bool]]:
    """A window for pictures: gives a function that shows one, False once the window is closed.

    Raises:
        UserError: pygame is missing, or no window can be opened.
    """
    try:
        import pygame
    except ImportError:
        hint = f"{commands.install('play')}; {INSTEAD}"
        raise UserError("a window needs the play extra", hint=hint) from None
    clock, screen = pygame.time.Clock(), None

    def show(frame: Frame) -> bool:
        nonlocal screen
        if screen is None:
            try:
                pygame.display.init()
                screen = pygame.display.set_mode((frame.shape[1], frame.shape[0]))
            except pygame.error as error:
                raise UserError(f"no window can be opened: {error}", hint=INSTEAD) from None
            pygame.display.set_caption(title)
        screen.blit(pygame.surfarray.make_surface(frame.swapaxes(0, 1)), (0, 0))
        pygame.display.flip()
        clock.tick(fps)
        return not any(event.type == pygame.QUIT for event in pygame.event.get())

    try:
        yield show
    finally:
        pygame.display.quit()
