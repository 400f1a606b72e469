"""Where the time of an update goes: timer, each of which is named when it ends."""

from __future__ import annotations

import time

PHASES = ("collect", "learn", "gossip", "log", "other")
"""In the order of an update; ``other`` is what lies between two updates."""


class PhaseTimer:
    """Sums up, phase by phase, the time between calls of :meth:`end_phase`."""

    def __init__(self) -> None:
        self._spent = dict.fromkeys(PHASES, 0.0)
        self._since = time.perf_counter()

    def start(self) -> None:
        """What was before does not count to any phase."""
        self._since = time.perf_counter()

    def end_phase(self, phase: str) -> None:
        """The time since the last call was spent on ``phase``."""
        now = time.perf_counter()
        self._spent[phase] += now - self._since
        self._since = now

    def take(self) -> dict[str, float]:
        """Seconds of each phase since the last call of this method."""
        spent, self._spent = self._spent, dict.fromkeys(PHASES, 0.0)
        return spent
