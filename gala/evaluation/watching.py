"""``gala play``: watch one game of a policy, in a window or as a video."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch loads, as in gala eval

from pathlib import Path

from gala.config.tasks import tasks_of
from gala.errors import printable
from gala.evaluation import video as video_file
from gala.evaluation.player import Player
from gala.evaluation.window import require_display
from gala.policy.loading import open_run


def watch(
    run: str | Path,
    *,
    agent: str | int = "mean",
    step: int | None = None,
    policy: str = "greedy",
    video: str | Path | None = None,
    seed: int = 0,
) -> float:
    """Show one game, of the first task where there are several, and print its return.

    Args:
        run: a run folder, or an exported policy.
        agent: see :func:`gala.load`.
        step: see :func:`gala.load`.
        policy: greedy (most likely actions) or stochastic (drawn actions).
        video: an mp4 file to write; None: a window.
        seed: of environment and actions; the same seed gives the same game.

    Returns:
        The raw return.

    Raises:
        UserError: no such policy, no display, an environment without pictures, or a missing extra.
    """
    trained = open_run(run, step)
    snapshot = trained.one(agent)
    if video is None:
        require_display()
    else:
        video_file.check(tasks_of(trained.config.env)[0], Path(video))
    player = Player(trained, snapshot, seed)
    if video is not None:
        total = player.record(policy, Path(video))
        print(printable(f"video of one {policy} game with return {total:g}: {video}"))
        return total
    total = player.show(policy)
    print(f"one {policy} game with return {total:g}")
    return total
