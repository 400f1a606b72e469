"""Alarm: tell when the agents have left the ball."""

from __future__ import annotations

import math


class Alarm:
    """Alarm that watches the ticks of the divergence.

    Args:
        ticks: measurements in a row outside of the ball before it is an alarm.
        limit: of the relative distance ``||x_i - mean|| / ||mean||``; None: the bound alone counts.

    Attributes:
        on: whether the agents are outside now.
    """

    def __init__(self, ticks: int, limit: float | None = None) -> None:
        assert ticks >= 1
        self._ticks, self._limit = ticks, limit
        self._outside = self._beyond = 0
        self.on = False

    def look(
        self, ratio: float | None, relative: float | None, *, bounded: bool = True
    ) -> str | None:
        """Take the measurement of one tick; no tick is to be given twice.

        Args:
            ratio: divergence over its bound, of the same tick; None where no bound applies.
            relative: largest relative distance of an agent; None, unknown: counts neither way.
            bounded: whether a bound was looked for: where there was no time for it, the tick counts
                neither as one outside of the ball nor as one within.

        Returns:
            What is wrong, when an alarm begins.
        """
        if bounded:
            self._outside = self._outside + 1 if _above(ratio, 1.0) else 0
        if relative is not None:
            self._beyond = self._beyond + 1 if _above(relative, self._limit) else 0
        before, self.on = self.on, max(self._outside, self._beyond) >= self._ticks
        if not self.on or before:
            return None
        times = f"{self._ticks} times in a row" if self._ticks > 1 else "now"
        if bounded and self._outside >= self._ticks:
            return f"the agents are {ratio:.3g} times as far apart as the bound allows, {times}"
        return (
            f"an agent is {relative:.3g} of the mean's norm away from the mean, {times}; "
            f"the limit is {self._limit:g}"
        )


def _above(value: float | None, limit: float | None) -> bool:
    if value is None or limit is None:
        return False
    return value > limit or math.isnan(value)
