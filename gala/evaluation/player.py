"""One policy of a run that plays by the protocol of evaluation: ``gala eval``, ``gala play``."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import torch

from gala.config.tasks import tasks_of
from gala.envs import make_vector_env
from gala.evaluation import video as video_file
from gala.evaluation import window
from gala.evaluation.clip import Clip
from gala.evaluation.episodes import Act, Games, actor, evaluation_env, evaluation_seed, play
from gala.policy.loading import device_of, policy_of
from gala.policy.trained_run import Snapshot, TrainedRun


class Player:
    """Plays with a snapshot of a run.

    Args:
        trained: the run.
        snapshot: the parameters.
        seed: of environments and actions; the same seed gives the same games.

    Raises:
        UserError: see :func:`gala.policy.loading.policy_of`.
    """

    def __init__(self, trained: TrainedRun, snapshot: Snapshot, seed: int) -> None:
        self._tasks, self._env_seed = tasks_of(trained.config.env), evaluation_seed(seed)
        self._action_seed = evaluation_seed(seed, stream=1)
        device = device_of()
        self._policy = policy_of(trained, snapshot, seed=self._action_seed, device=device)

    def play(
        self, mode: str, episodes: int, finished: Callable[[int], None], task: int = 0
    ) -> Games:
        """Play ``episodes`` games of a task; see :func:`gala.evaluation.episodes.play`."""
        config = evaluation_env(self._tasks[task], episodes=episodes)
        env = make_vector_env(config, seed=self._env_seed, threads=torch.get_num_threads())
        with contextlib.closing(env):
            return play(env, self._act(mode), episodes, finished=finished)

    def record(self, mode: str, path: Path, clip: Clip | None = None) -> float:
        """Write a video of one game and show it to ``clip``; returns its raw return.

        Of several tasks the first is shown.
        """
        act = self._act(mode)
        return video_file.record(self._tasks[0], act, path, seed=self._env_seed, clip=clip)

    def show(self, mode: str) -> float:
        """Play one game in a window, of the first task; returns its raw return."""
        return window.show(self._tasks[0], self._act(mode), seed=self._env_seed)

    def _act(self, mode: str) -> Act:
        self._policy.seed(self._action_seed)
        return actor(self._policy.acting, greedy=mode == "greedy")
