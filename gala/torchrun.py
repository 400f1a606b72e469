"""``gala train --agents N``: start torchrun for the user, and stop it kindly.

torchrun answers a signal by ending its workers and itself with an error. Here the signals go to the
workers instead: they save, sum up and leave with 0, and so does torchrun.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from gala.launch_environment import worker_environment

_PR_SET_PDEATHSIG = 1


def torchrun(arguments: Sequence[str], agents: int) -> int:
    """Run ``agents`` workers of ``gala.train`` on this host; returns torchrun's exit code.

    Args:
        arguments: the command line of ``gala.train``.
        agents: number of workers.
    """
    command = [
        *(sys.executable, "-m", "torch.distributed.run"),
        *("--standalone", f"--nproc-per-node={agents}"),
        *("-m", "gala.train", *arguments),
    ]
    process = subprocess.Popen(
        command,
        env=worker_environment(agents),
        start_new_session=True,  # the terminal's Ctrl-C reaches this process alone
        preexec_fn=_die_with_parent,
    )

    def forward(number: int, frame: FrameType | None) -> None:
        workers = children(process.pid)
        for pid in workers or [process.pid]:
            try:
                os.kill(pid, signal.SIGTERM)
            except ProcessLookupError:
                continue

    previous = {n: signal.signal(n, forward) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        return process.wait()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def children(pid: int) -> list[int]:
    """Processes whose parent is ``pid`` (Linux; elsewhere none are found)."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return sorted(found)


def _die_with_parent() -> None:
    """No orphans: the kernel ends torchrun when this process dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
