"""Balance: who waits for whom, the actors for their learner or it for them."""

from __future__ import annotations

import threading
import time


class Balance:
    """What both sides did since it was last asked; any thread may tell it.

    Args:
        slots: unrolls that can be full at once.
    """

    def __init__(self, slots: int) -> None:
        self._slots, self._lock = slots, threading.Lock()
        self._begin()

    def _begin(self) -> None:
        self._since = time.perf_counter()
        self._asked = 0
        self._full = self._waited_s = self._idle_s = self._busy_s = 0.0

    def asked(self, full: int) -> None:
        """The learner has asked for an unroll while so many were full."""
        with self._lock:
            self._asked += 1
            self._full += full / self._slots

    def waited(self, seconds: float) -> None:
        """The learner has waited for unrolls."""
        with self._lock:
            self._waited_s += seconds

    def acted(self, idle_s: float, busy_s: float) -> None:
        """An actor has waited, and acted."""
        with self._lock:
            self._idle_s, self._busy_s = self._idle_s + idle_s, self._busy_s + busy_s

    def metrics(self) -> dict[str, float]:
        """Shares in [0, 1] since the last call, by the names of metrics."""
        with self._lock:
            since_s = max(time.perf_counter() - self._since, 1e-9)
            found = {
                "actors/queue_fill": self._full / max(self._asked, 1),
                "actors/idle": self._idle_s / max(self._idle_s + self._busy_s, 1e-9),
                # a wait that began before the last call is told of here as a whole
                "actors/learner_idle": min(self._waited_s / since_s, 1.0),
            }
            self._begin()
        return found
