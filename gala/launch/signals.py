"""Ctrl-C, SIGTERM and a closed terminal as a wish to stop that the training loop can see."""

from __future__ import annotations

import atexit
import signal
import time
from collections.abc import Callable
from types import FrameType

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

REPEAT_S = 2.0
"""Signals that come faster are one wish: schedulers and impatient people send several."""


class StopRequest:
    """Notes the signals that asked this process to stop; none of them ends it.

    Args:
        clock: seconds of a monotonic clock.

    Attributes:
        count: signals received, and failures of sibling threads.
        signal: the first signal received; None before.
        urgent: asked again after a while: do not even wait for neighbours.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.count = 0
        self.signal: int | None = None
        self.urgent = False
        self._clock, self._first = clock, 0.0

    @property
    def requested(self) -> bool:
        """Finish the current update, save, and leave."""
        return self.count > 0

    def install(self) -> StopRequest:
        """Take over the signals of :data:`STOPPING`, to the very end of the process."""
        take_over(self._on_signal)
        return self

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        if self.signal is None:
            self.signal, self._first = number, self._clock()
        self.urgent |= self._clock() - self._first >= REPEAT_S


def take_over(handler: Callable[[int, FrameType | None], object]) -> None:
    """Call ``handler`` for each signal of :data:`STOPPING`, but not while it is at work.

    ``nohup`` has a closed terminal ignored; so it stays. While the interpreter takes itself down,
    after handlers are gone, they are ignored: what has been saved must not look like a kill.
    """
    busy = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal busy
        if not busy:
            busy = True
            handler(number, frame)
            busy = False

    for number in STOPPING:
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handle)
    atexit.register(_ignore)


def _ignore() -> None:
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
