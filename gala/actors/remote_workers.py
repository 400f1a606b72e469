"""Remote worker pool: workers of other machines that connect to an agent.

Who shows the token gets the next place that is free, or waits for one. Who does not is told why,
and the run goes on.
"""

from __future__ import annotations

import socket
import threading
from collections import deque
from contextlib import suppress

from gala.envs.handshake import admit
from gala.envs.wire import Gone, Kind, Link
from gala.errors import UserError

MOST_GUESTS = 64
"""That are looked at at the same time; others wait outside."""


class RemoteWorkerPool:
    """A :class:`~gala.actors.worker_pool.WorkerPool` of workers that connect.

    Args:
        host: to listen at.
        port: likewise; 0: any that is free.
        token: that workers must show.
        workers: places.

    Attributes:
        replaced: workers that were over so far.

    Raises:
        UserError: one cannot listen there.
    """

    def __init__(self, host: str, port: int, token: bytes, workers: int) -> None:
        self._token = token
        self._vacant = deque(range(workers))
        self._waiting = deque[tuple[str, Link]]()
        self._events = deque[tuple[str, str]]()
        self.replaced = self._refused = 0
        self._counting, self._opening = threading.Lock(), threading.Lock()
        self._closed = False
        try:
            family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            self._listener = socket.create_server((host, port), family=family, backlog=64)
        except OSError as error:
            rule = f"cannot listen at {host}:{port}: {error.strerror or error}"
            raise UserError(rule, field="--actors.listen", hint="another port") from None
        where = shown(self._listener.getsockname())
        self._events.append(("actor", f"waits for {workers} workers at {where}"))
        self._guests = threading.BoundedSemaphore(MOST_GUESTS)
        self._thread = threading.Thread(target=self._open, name="remote-workers", daemon=True)
        self._thread.start()

    def come(self) -> list[tuple[int, Link]]:
        """See :class:`~gala.actors.worker_pool.WorkerPool`."""
        found = []
        while self._vacant and self._waiting:
            (name, link), index = self._waiting.popleft(), self._vacant.popleft()
            self._events.append(("actor", f"actor {index}: has come from {name}"))
            found.append((index, link))
        return found

    def delivered(self, index: int) -> None:
        """Nothing is to be done."""

    def over(self, index: int, why: str | None) -> str:
        """See :class:`~gala.actors.worker_pool.WorkerPool`; never too often: others may
        do better.
        """
        self.replaced += 1
        self._vacant.append(index)
        return f"actor {index}: {why or 'its link is closed'}; another may take its number"

    def events(self) -> list[tuple[str, str]]:
        """See :class:`~gala.actors.worker_pool.WorkerPool`."""
        return [self._events.popleft() for _ in range(len(self._events))]

    def close(self) -> None:
        """See :class:`~gala.actors.worker_pool.WorkerPool`."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread
        self._listener.close()
        self._thread.join()
        with self._opening:
            self._closed = True
        for _, link in self._waiting:
            _dismiss(link)

    def _open(self) -> None:
        """The thread: whoever comes is looked at in a thread of its own, so that nobody waits."""
        while True:
            try:
                end, address = self._listener.accept()
            except OSError:
                return  # closed
            self._guests.acquire()  # they are through in some seconds
            guest = shown(address), Link(tuned(end))
            threading.Thread(target=self._admit, args=guest, daemon=True).start()

    def _admit(self, name: str, link: Link) -> None:
        try:
            admit(link, self._token)
        except (Gone, UserError) as error:
            link.close()
            self._tell(name, str(error) or "it says nothing")
        else:
            with self._opening:
                if not self._closed:
                    self._waiting.append((name, link))
                    return
            _dismiss(link)  # it came while the run ended
        finally:
            self._guests.release()

    def _tell(self, name: str, why: str) -> None:
        """Tell of strangers, ever more rarely: they may come by the thousand."""
        with self._counting:
            self._refused += 1
            refused = self._refused
        if refused & (refused - 1):
            return
        count = f"; {refused} so far" if refused > 1 else ""
        self._events.append(("actor", f"{name} was refused: {why}{count}"))


def _dismiss(link: Link) -> None:
    with suppress(Gone):
        link.send(Kind.BYE)
    link.close()


def tuned(end: socket.socket) -> socket.socket:
    """A TCP socket that sends small messages at once, and notices when the other side vanishes."""
    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    end.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):
        for option, seconds in (("TCP_KEEPIDLE", 20), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 4)):
            end.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), seconds)
    return end


def shown(address: tuple[object, ...]) -> str:
    """A socket's address, for people."""
    return f"{address[0]}:{address[1]}"
