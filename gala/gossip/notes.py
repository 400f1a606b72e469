"""Notes: what an agent's gossip has to tell, from whichever thread saw it."""

from __future__ import annotations

import threading
from collections import Counter, deque

from gala.gossip.message import Refusal

MAX_EVENTS = 1000
"""Events kept until somebody takes them."""


class Notes:
    """Events and refusals of one agent.

    Attributes:
        events: (kind, text) of what happened to neighbours; whoever logs takes them.
        refused: messages and connections refused, by reason.
    """

    def __init__(self) -> None:
        self.events: deque[tuple[str, str]] = deque(maxlen=MAX_EVENTS)
        self.refused: Counter[Refusal] = Counter()
        self._lock = threading.Lock()
        self._told: Counter[tuple[str, Refusal]] = Counter()

    def refuse(self, reason: Refusal) -> None:
        """Count a refusal."""
        with self._lock:
            self.refused[reason] += 1

    def refuse_connection(self, whose: str, reason: Refusal) -> None:
        """Count a connection that was refused; told at the first, second, 4th, 8th ... of a kind.

        Args:
            whose: in words; few different ones, whoever knocks.
            reason: why.
        """
        with self._lock:
            self.refused[reason] += 1
            self._told[whose, reason] += 1
            times = self._told[whose, reason]
        if times & (times - 1) == 0:
            often = f" ({times} times so far)" if times > 1 else ""
            self.events.append(("refused", f"{whose} was refused: {reason}{often}"))
