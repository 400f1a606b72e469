"""Tally: steps that were handed out, and the games that they were part of."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import Any

RECENT_EPISODES = 100


class Tally:
    """Counts what every :class:`~gala.experience.source.Source` counts.

    Attributes:
        steps: environment steps that were handed out so far.
        returns: raw returns of the newest finished games.
        lengths: their lengths in steps.
        episodes: finished games so far.
        return_sum: of their raw returns.
        task_returns: raw returns of the newest finished games of each task; empty without tasks.

    Args:
        tasks: numbers of the agent's tasks.
    """

    def __init__(self, tasks: Sequence[int] = ()) -> None:
        self.steps = self.episodes = 0
        self.returns: deque[float] = deque(maxlen=RECENT_EPISODES)
        self.lengths: deque[int] = deque(maxlen=RECENT_EPISODES)
        self.return_sum = 0.0
        self.task_returns: dict[int, deque[float]] = {
            task: deque(maxlen=RECENT_EPISODES) for task in tasks
        }

    def finished(self, ret: float, length: int, task: int | None = None) -> None:
        """A game has ended, of a task where there are any."""
        if not math.isfinite(ret):
            return  # one such game would stay in the sum for ever
        self.returns.append(ret)
        self.lengths.append(length)
        self.episodes += 1
        self.return_sum += ret
        if task is not None:
            self.task_returns[task].append(ret)

    def counts(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "steps": self.steps,
            "returns": list(self.returns),
            "lengths": list(self.lengths),
            "episodes": self.episodes,
            "return_sum": self.return_sum,
            "task_returns": {task: list(known) for task, known in self.task_returns.items()},
        }

    def count_from(self, counts: dict[str, Any]) -> None:
        """Go on from :meth:`counts`."""
        self.steps, self.episodes = counts["steps"], counts["episodes"]
        self.returns.extend(counts["returns"])
        self.lengths.extend(counts["lengths"])
        self.return_sum = counts["return_sum"]
        before = counts.get("task_returns", {})  # of another number of agents: other tasks
        for task, returns in self.task_returns.items():
            returns.extend(before.get(task, ()))
