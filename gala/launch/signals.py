"""Ctrl-C and SIGTERM as a wish to stop that the training loop can see."""

from __future__ import annotations

import signal
from types import FrameType


class StopRequest:
    """Counts the signals that asked this process to stop.

    Attributes:
        count: SIGINT and SIGTERM received.
    """

    def __init__(self) -> None:
        self.count = 0

    @property
    def requested(self) -> bool:
        """Finish the current update, save, and leave."""
        return self.count > 0

    @property
    def urgent(self) -> bool:
        """Asked twice: do not even wait for neighbours."""
        return self.count > 1

    def install(self) -> StopRequest:
        """Take over SIGINT and SIGTERM; a third signal ends the process at once."""
        signal.signal(signal.SIGINT, self._on_signal)
        signal.signal(signal.SIGTERM, self._on_signal)
        return self

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        if self.count > 2:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
