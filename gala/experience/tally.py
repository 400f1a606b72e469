"""Tally: steps that were handed out, and the games that they were part of."""

from __future__ import annotations

import math
from collections import deque
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
    """

    def __init__(self) -> None:
        self.steps = self.episodes = 0
        self.returns: deque[float] = deque(maxlen=RECENT_EPISODES)
        self.lengths: deque[int] = deque(maxlen=RECENT_EPISODES)
        self.return_sum = 0.0

    def finished(self, ret: float, length: int) -> None:
        """A game has ended."""
        if not math.isfinite(ret):
            return  # one such game would stay in the sum for ever
        self.returns.append(ret)
        self.lengths.append(length)
        self.episodes += 1
        self.return_sum += ret

    def counts(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "steps": self.steps,
            "returns": list(self.returns),
            "lengths": list(self.lengths),
            "episodes": self.episodes,
            "return_sum": self.return_sum,
        }

    def count_from(self, counts: dict[str, Any]) -> None:
        """Go on from :meth:`counts`."""
        self.steps, self.episodes = counts["steps"], counts["episodes"]
        self.returns.extend(counts["returns"])
        self.lengths.extend(counts["lengths"])
        self.return_sum = counts["return_sum"]
