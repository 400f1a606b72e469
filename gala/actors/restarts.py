"""Restarts: which actors are to be started, and which fail again and again."""

from __future__ import annotations

import time

from gala.errors import UserError

MAX_FALSE_STARTS = 5
"""Times in a row that an actor may end before its first unroll, before the agent gives up."""
FIRST_PAUSE_S, MAX_PAUSE_S = 0.1, 10.0
GRACE_S = 2.0
"""Seconds that an actor has to leave once its channel is closed."""


class Restarts:
    """The actors of an agent by their index, from 0 on.

    Args:
        actors: how many.

    Attributes:
        replaced: ends so far.
    """

    def __init__(self, actors: int) -> None:
        self._due: dict[int, float] = dict.fromkeys(range(actors), 0.0)
        self._failures, self._delivered = [0] * actors, [False] * actors
        self.replaced = 0

    def due(self) -> list[int]:
        """Those that are to be started now; each is named once."""
        now = time.monotonic()
        found = [index for index, due in self._due.items() if due <= now]
        for index in found:
            del self._due[index]
            self._delivered[index] = False
        return found

    def delivered(self, index: int) -> None:
        """An actor has filled an unroll."""
        self._delivered[index] = True
        self._failures[index] = 0

    def over(self, index: int, why: str) -> str:
        """An actor has ended: it will be due again, later where it had just begun.

        Returns:
            That, in words.

        Raises:
            UserError: it was once too often.
        """
        self._failures[index] += not self._delivered[index]
        failures = self._failures[index]
        if failures >= MAX_FALSE_STARTS:
            rule = f"actor {index} has failed {failures} times before its first unroll: {why}"
            raise UserError(rule, field="--actors.count", hint="0 acts in the agent itself")
        self.replaced += 1
        pause_s = min(FIRST_PAUSE_S * 4.0 ** max(failures - 1, 0), MAX_PAUSE_S) if failures else 0.0
        self._due[index] = time.monotonic() + pause_s
        return f"actor {index}: {why}; it is replaced"


def ending(code: int) -> str:
    """How a process has ended, from its exit code, in words."""
    return f"was killed by signal {-code}" if code < 0 else f"has ended with exit code {code}"
