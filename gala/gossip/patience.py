"""Patience: how long an agent waits for others, and what cuts a wait short."""

from __future__ import annotations

import time
from collections.abc import Callable

GRACE_S = 3.0
"""Longest wait of an agent that was asked to stop, unless its updates take longer."""

GRACE_UPDATES = 4
"""As many of its usual updates is such a wait at least, so that slow groups stop in step too."""

AWAKE_S = 0.5
"""Longest time between two looks that counts as waited: more is the agent's own standstill."""


class Patience:
    """Waits of one agent.

    Args:
        timeout_s: longest wait.
        update_s: usual seconds of an update of the agent.
        asked: whether the agent is to stop soon.
        aborted: whether it is to wait for nobody any more.

    Attributes:
        waited_s: seconds spent so far.
    """

    def __init__(
        self,
        timeout_s: float,
        *,
        update_s: Callable[[], float],
        asked: Callable[[], bool],
        aborted: Callable[[], bool],
    ) -> None:
        self._update_s = update_s
        self._timeout_s, self._asked, self._aborted = timeout_s, asked, aborted
        self.waited_s = 0.0

    @property
    def ended(self) -> bool:
        """Whether there is no time to begin a wait."""
        return self._asked() or self._aborted()

    def wait_while(self, missing: Callable[[], set[int]]) -> set[int]:
        """Wait as long as agents are ``missing``.

        Returns:
            Those who still were after the longest wait; none of them where it was aborted.
        """
        waited, since, pause = 0.0, time.monotonic(), 20e-6
        longest, hurried = self._timeout_s, False
        while who := missing():
            if self._aborted():
                return set()
            if not hurried and self._asked():
                hurried = True
                grace = max(GRACE_S, GRACE_UPDATES * self._update_s())
                longest = min(longest, waited + grace)
            if waited >= longest:
                return who
            time.sleep(pause)
            pause = min(pause * 1.5, 1e-3)
            now = time.monotonic()
            self.waited_s += now - since
            waited += min(now - since, AWAKE_S)
            since = now
        return set()
