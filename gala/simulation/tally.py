"""What is counted while a simulation runs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gala.simulation.links import Floats, Ints

LONGEST = 4096
"""Staleness and ages beyond this many updates are counted as this."""


class Histogram:
    """Counts of small whole numbers.

    Attributes:
        largest: the largest number so far.
    """

    def __init__(self) -> None:
        self._counts = np.zeros(LONGEST + 1, np.int64)
        self.largest = 0

    def add(self, values: Ints) -> None:
        """Count ``values``."""
        if len(values):
            self.largest = max(self.largest, int(values.max()))
            counts = np.bincount(np.minimum(values, LONGEST))
            self._counts[: len(counts)] += counts

    @property
    def total(self) -> int:
        """Numbers counted."""
        return int(self._counts.sum())

    @property
    def mean(self) -> float:
        """Their mean; 0 for none."""
        return float(self._counts @ np.arange(LONGEST + 1) / max(self.total, 1))

    def percentile(self, percent: float) -> int:
        """The smallest number that at least so many per cent do not exceed; 0 for none."""
        if self.total == 0:
            return 0
        return int(np.searchsorted(np.cumsum(self._counts), self.total * percent / 100))

    def shares(self) -> list[float]:
        """Share of 0, 1, 2, ... up to the largest."""
        counted = self._counts[: min(self.largest, LONGEST) + 1]
        return [float(each) for each in counted / max(self.total, 1)]


class Tally:
    """Everything that is measured.

    Args:
        every_s: virtual seconds between two looks at the divergence.

    Attributes:
        seen: updates without a mix after each exchange, 0 for a mix.
        between: updates from one mix to the next.
        age: of mixed messages, in own updates of the receiver.
        deaths: of agents.
        waited_s: time spent waiting, of all agents.
        times, divergence: when ``||X - Xbar||_F`` was looked at, and what it was.
        farthest: the largest ``||x_i - mean||`` then.
    """

    def __init__(self, every_s: float) -> None:
        self.seen, self.between, self.age = Histogram(), Histogram(), Histogram()
        self.deaths = 0
        self.waited_s = 0.0
        self.times: list[float] = []
        self.divergence: list[float] = []
        self.farthest: list[float] = []
        self._every_s, self._next = every_s, 0.0
        self._age_s = 0.0

    def staleness(self, values: Ints) -> None:
        """Agents that did not mix, with their updates since the last mix."""
        self.seen.add(values)

    def mixes(self, values: Ints) -> None:
        """Agents that mixed, with their updates since the mix before."""
        self.between.add(values)
        self.seen.add(np.zeros(len(values), np.int64))

    def ages(self, updates: Ints, seconds: Floats) -> None:
        """Messages that were mixed, by their age."""
        self.age.add(updates)
        self._age_s += float(seconds.sum())

    @property
    def mean_age_s(self) -> float:
        """Mean age of mixed messages in seconds."""
        return self._age_s / max(self.age.total, 1)

    def look(self, now: float, x: Floats, present: NDArray[np.bool_] | None = None) -> None:
        """Measure the divergence of Float64[N, D] (of those ``present``) if it is time to."""
        if now < self._next:
            return
        self._next = now + self._every_s
        rows = x if present is None else x[present]
        self.times.append(now)
        squares = squares_to_mean(rows)
        self.divergence.append(float(np.sqrt(squares.sum())))
        self.farthest.append(float(np.sqrt(squares.max(initial=0.0))))


def squares_to_mean(x: Floats) -> Floats:
    """``||x_i - mean||^2`` of the rows of Float64[N, D], Float64[N]."""
    if len(x) == 0:
        return np.zeros(0)
    centred = x - x.mean(axis=0)
    return np.asarray(np.einsum("nd,nd->n", centred, centred))  # no threads for so little
