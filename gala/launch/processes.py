"""Processes of the operating system: who is whose child, and how none outlives its purpose."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1


def die_with_parent(number: int = signal.SIGTERM) -> None:
    """Leave no orphans: the kernel sends a signal to this process when its parent dies (Linux).

    More exactly, when the thread that started it ends.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(number))


def bound_to(parent: int) -> Callable[[], None]:
    """:func:`die_with_parent` for ``preexec_fn`` in the child of ``parent``, which may be dead by
    the time that the child asks for it.
    """

    def bind() -> None:
        die_with_parent()
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGTERM)

    return bind


def end(process: subprocess.Popen[Any], grace_s: float) -> int:
    """Kill a child that does not end by itself within ``grace_s``; returns its exit code."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(grace_s)
    process.kill()
    return process.wait()


def end_all(processes: Iterable[subprocess.Popen[Any]], grace_s: float) -> None:
    """:func:`end` children that have the same seconds to leave, all together."""
    deadline = time.monotonic() + grace_s
    for process in processes:
        end(process, max(deadline - time.monotonic(), 0.0))


def children(pid: int) -> list[int]:
    """Living processes whose parent is ``pid`` (Linux; elsewhere none are found)."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_bytes().rpartition(b")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != b"Z":
            found.append(int(stat.parent.name))
    return sorted(found)


def was_started_with(pid: int, setting: str) -> bool:
    """Whether ``VARIABLE=value`` stood in the environment that ``pid`` was started with (Linux)."""
    try:
        return setting.encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
