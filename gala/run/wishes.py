"""What a person asks of a run that goes on, as files in its folder: to stop, to save.

Whoever may write into the run folder may ask; agents look there now and then. No process is sent
a signal: its number could be another's by now, or on another host.
"""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

from gala.files.atomic import write_atomic

WISHES = ("stop", "checkpoint")

EVERY_S = 0.5
"""Seconds between two looks."""


def ask(run: Path, wish: str) -> None:
    """Ask all agents of a run for one of :data:`WISHES`; once more is another wish.

    Raises:
        OSError: the folder is gone, or cannot be written.
    """
    assert wish in WISHES, wish
    if not run.is_dir():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(run))
    write_atomic(_file(run, wish), json.dumps({"t": time.time()}))


class Wishes:
    """What was asked since this process began: older wishes were of another incarnation.

    Args:
        run: the run folder.
        began: unix seconds.
        clock: seconds of a monotonic clock.
    """

    def __init__(
        self, run: Path, began: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._run, self._clock = run, clock
        self._heard = dict.fromkeys(WISHES, began)
        self._looked = clock()

    def new(self) -> list[str]:
        """Wishes since the last call; looks at most every :data:`EVERY_S` seconds."""
        if self._clock() - self._looked < EVERY_S:
            return []
        self._looked = self._clock()
        return [wish for wish in WISHES if self._is_new(wish)]

    def _is_new(self, wish: str) -> bool:
        try:
            asked = _file(self._run, wish).stat().st_mtime
        except OSError:
            return False
        new = asked > self._heard[wish]
        self._heard[wish] = max(asked, self._heard[wish])
        return new


def _file(run: Path, wish: str) -> Path:
    return run / f"asked-{wish}.json"
