"""``gala train --agents N``: start torchrun for the user, and stop it kindly.

torchrun answers a signal by ending its workers and itself with an error. Here the signals go to the
workers instead: they save, sum up and leave. How each ended it notes by itself; torchrun's own exit
code is not believed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from types import FrameType

from gala.errors import EXIT_ALARM, EXIT_BAD_INPUT, EXIT_CRASH, EXIT_OK
from gala.launch.environment import EXIT_NOTES_VARIABLE, noted_exits, worker_environment
from gala.launch.processes import bound_to, children
from gala.launch.signals import take_over


def torchrun(arguments: Sequence[str], agents: int) -> int:
    """Run ``agents`` workers of ``gala.train`` on this host.

    Args:
        arguments: the command line of ``gala.train``.
        agents: number of workers.

    Returns:
        The exit code, see :func:`verdict`.
    """
    command = [
        *(sys.executable, "-m", "torch.distributed.run"),
        # by the address: the name of this host need not resolve to anything
        *("--standalone", "--local-addr=127.0.0.1", f"--nproc-per-node={agents}"),
        *("-m", "gala.train", *arguments),
    ]
    folder = tempfile.TemporaryDirectory(prefix="gala-")
    process = subprocess.Popen(
        command,
        env=worker_environment(agents) | {EXIT_NOTES_VARIABLE: folder.name},
        start_new_session=True,  # the terminal's Ctrl-C reaches this process alone
        preexec_fn=bound_to(os.getpid()),
    )

    told: set[int] = set()

    def tell(pids: Iterable[int]) -> None:
        for pid in pids:
            told.add(pid)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    def forward(number: int, frame: FrameType | None) -> None:
        tell(children(process.pid) or [process.pid])

    take_over(forward)
    try:
        while process.poll() is None:  # not wait(): it would not hear a signal just before it
            time.sleep(0.1)
            if told:  # torchrun was about to start workers when the signal came: them, too
                tell(set(children(process.pid)) - told)
        return verdict(process.returncode, noted_exits(folder.name), agents)
    finally:
        folder.cleanup()


def verdict(code: int, noted: Mapping[int, int], workers: int) -> int:
    """The exit code of a launch.

    Args:
        code: of torchrun.
        noted: how the workers say that they ended, by rank.
        workers: how many there are.

    Returns:
        0 only where each has said so; else what the first in order of weight has said: an alarm,
        bad input, anything else; else that of torchrun, if it is one of failure.
    """
    bad = [each for _, each in sorted(noted.items()) if each != EXIT_OK]
    for weighty in (EXIT_ALARM, EXIT_BAD_INPUT):
        if weighty in bad:
            return weighty
    silent = [rank for rank in range(workers) if rank not in noted]
    if silent and code == 0:
        agents = f"agent{'s' * (len(silent) > 1)} {', '.join(map(str, silent))}"
        print(f"gala: error: {agents} ended without a word that all is done", file=sys.stderr)
    if bad:
        return bad[0]
    return (128 - code if code < 0 else code or EXIT_CRASH) if silent else EXIT_OK
