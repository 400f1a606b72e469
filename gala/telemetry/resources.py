"""What the process of an agent takes of its machine."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path

STATM = Path("/proc/self/statm")
"""Sizes of this process in pages, the second of what is resident; Linux alone has it."""


class Resources:
    """Cores and memory of this process; of one that holds several agents all of them together."""

    def __init__(self) -> None:
        self._seconds, self._since = _cpu_seconds(), time.perf_counter()

    def take(self) -> dict[str, float | None]:
        """What is recorded: ``system/cores``, CPU seconds per second since the last call, and
        ``system/memory_mb``, resident megabytes; null where the system does not tell.
        """
        seconds, now = _cpu_seconds(), time.perf_counter()
        cores = (seconds - self._seconds) / max(now - self._since, 1e-9)
        self._seconds, self._since = seconds, now
        return {"system/cores": cores, "system/memory_mb": _resident_mb()}


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _resident_mb() -> float | None:
    try:
        pages = int(STATM.read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
