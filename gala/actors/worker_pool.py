"""Worker pool: processes of this machine that only step environments, for one agent."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import Protocol

from gala.actors.restarts import GRACE_S, Restarts, ending
from gala.envs.wire import Link
from gala.launch.processes import end, end_all


class WorkerPool(Protocol):
    """Whoever brings workers.

    Attributes:
        replaced: workers that ended so far.
    """

    @property
    def replaced(self) -> int:
        """See the class."""
        ...

    def come(self) -> list[tuple[int, Link]]:
        """Workers that have come since the last call, by the places that they take."""
        ...

    def delivered(self, index: int) -> None:
        """A worker's environments have filled an unroll."""
        ...

    def over(self, index: int, why: str | None) -> str:
        """The worker of a place is over, for a reason, or its link is closed.

        Returns:
            That, in words.

        Raises:
            UserError: it was once too often.
        """
        ...

    def events(self) -> list[tuple[str, str]]:
        """What else happened since the last call and people should see: kind and message."""
        ...

    def close(self) -> None:
        """Let all of them go; their links are closed."""
        ...


class LocalWorkerPool:
    """A :class:`WorkerPool` of child processes.

    Args:
        workers: how many.
    """

    def __init__(self, workers: int) -> None:
        self._restarts = Restarts(workers)
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    @property
    def replaced(self) -> int:
        """See :class:`WorkerPool`."""
        return self._restarts.replaced

    def come(self) -> list[tuple[int, Link]]:
        """See :class:`WorkerPool`; starts those who are due."""
        return [(index, self._start(index)) for index in self._restarts.due()]

    def delivered(self, index: int) -> None:
        """See :class:`WorkerPool`."""
        self._restarts.delivered(index)

    def over(self, index: int, why: str | None) -> str:
        """See :class:`WorkerPool`."""
        # a link that is closed says that it is about to end
        code = end(self._processes.pop(index), GRACE_S if why is None else 0.0)
        return self._restarts.over(index, why or ending(code))

    def events(self) -> list[tuple[str, str]]:
        """None."""
        return []

    def close(self) -> None:
        """See :class:`WorkerPool`; those that do not leave soon are killed."""
        processes, self._processes = self._processes, {}
        end_all(processes.values(), GRACE_S)

    def _start(self, index: int) -> Link:
        ours, theirs = socket.socketpair()
        with theirs:
            fd = theirs.fileno()
            self._processes[index] = subprocess.Popen(
                [sys.executable, "-m", "gala.actors.worker", str(fd), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
                pass_fds=(fd,),
                process_group=0,  # what stops the agent is not for its workers
            )
        link = Link(ours)
        link.trust()
        return link
