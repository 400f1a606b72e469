"""``gala train --agents N``: start torchrun for the user, and stop it kindly.

torchrun answers a signal by ending its workers and itself with an error. Here the signals go to the
workers instead: they save, sum up and leave with 0, and so does torchrun.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from gala.launch.environment import EXIT_NOTE_VARIABLE, worker_environment
from gala.launch.supervisor import children, die_with_parent


def torchrun(arguments: Sequence[str], agents: int) -> int:
    """Run ``agents`` workers of ``gala.train`` on this host; returns its exit code, or what they
    left in a note: 3 after an alarm that was to end the run, 2 after bad input.

    Args:
        arguments: the command line of ``gala.train``.
        agents: number of workers.
    """
    command = [
        *(sys.executable, "-m", "torch.distributed.run"),
        *("--standalone", f"--nproc-per-node={agents}"),
        *("-m", "gala.train", *arguments),
    ]
    folder = tempfile.TemporaryDirectory(prefix="gala-")
    note = Path(folder.name) / "exit"
    process = subprocess.Popen(
        command,
        env=worker_environment(agents) | {EXIT_NOTE_VARIABLE: str(note)},
        start_new_session=True,  # the terminal's Ctrl-C reaches this process alone
        preexec_fn=die_with_parent,
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
        code = process.wait()
        return int(note.read_text()) if code == 0 and note.exists() else code
    finally:
        folder.cleanup()
        for number, handler in previous.items():
            signal.signal(number, handler)
