"""Guard around an output: whatever it raises ends here, and training goes on without it.

Files, event files, servers and terminals fail in their own ways and at their own times. Each is
used through a guard of its own, so that it fails alone: it is told once, left alone for a while
that doubles, opened and tried again, and told when it works again.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Generic, TypeVar

FIRST_PAUSE_S, MAX_PAUSE_S = 1.0, 300.0

T = TypeVar("T")


class Guard(Generic[T]):
    """Uses one output, and survives it.

    Args:
        name: what the user knows it by: a path, a service.
        open: makes it; called at the first use, and again after a failure.
        tell: is told of the first failure in a row, and of the success that ends it.
        close: releases it.
        passes: what is no failure of the output, and is raised on.
        clock: seconds of a monotonic clock.

    Attributes:
        lost: uses that came to nothing.
        error: why the last use failed; None when it did not.
    """

    def __init__(
        self,
        name: str,
        open: Callable[[], T],
        *,
        tell: Callable[[str], object],
        close: Callable[[T], object] = lambda output: None,
        passes: tuple[type[Exception], ...] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._open, self._tell, self._close, self._clock = open, tell, close, clock
        self._passes = passes
        self._output: T | None = None
        self._again = self._pause = 0.0
        self._missing = 0
        self.lost = 0
        self.error: str | None = None

    def use(self, action: Callable[[T], object], *, now: bool = False) -> bool:
        """Call ``action`` with the output.

        Args:
            action: may raise what it likes.
            now: do not wait for the end of a pause.

        Returns:
            Whether it was done.
        """
        if self.error is not None and not now and self._clock() < self._again:
            self._lose()
            return False
        try:
            if self._output is None:
                self._output = self._open()
            action(self._output)
        except self._passes:
            raise
        except (Exception, SystemExit) as error:  # some libraries leave instead of raising
            self._fail(reason(error))
            return False
        if self.error is not None:
            self.error, missing, self._missing = None, self._missing, 0
            self._tell(f"{self.name}: works again; {missing} left out")
        return True

    def close(self) -> None:
        """Release the output; it is opened again when it is used again."""
        output, self._output = self._output, None
        if output is None:
            return
        try:
            self._close(output)
        except (Exception, SystemExit) as error:
            self._fail(reason(error))

    def _fail(self, text: str) -> None:
        first, self.error = self.error is None, text
        self._lose()
        self._pause = FIRST_PAUSE_S if first else min(2.0 * self._pause, MAX_PAUSE_S)
        self._again = self._clock() + self._pause
        output, self._output = self._output, None
        if output is not None:
            with contextlib.suppress(Exception, SystemExit):
                self._close(output)
        if first:
            self._tell(f"{self.name}: {text} (left out until it works again)")

    def _lose(self) -> None:
        self.lost += 1
        self._missing += 1


def reason(error: BaseException) -> str:
    """An error in one line: the operating system's words where there are any."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
