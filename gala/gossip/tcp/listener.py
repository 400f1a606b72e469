"""Listener: takes connections from whoever knocks, for a short time and not too many at once."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from functools import partial

from gala.errors import UserError
from gala.gossip.tcp.addresses import is_loopback

LOOK_S = 0.5
MAX_PENDING = 32
"""Connections that have not said hello; one more ends the oldest."""


class Caller:
    """A connection of which nobody knows yet who is there.

    Attributes:
        sock: it, or what it has become: whoever encrypts it says so here, so that it can be ended.
        settled: to be called when it is known, or over.
    """

    def __init__(self, sock: socket.socket, settle: Callable[[Caller], None]) -> None:
        self.sock = sock
        self.settled = partial(settle, self)


class Listener:
    """Listens, and lets ``receive`` have each connection in a thread of its own.

    Args:
        sockets: listening.
        receive: called with each caller, whose connection it closes in the end.
    """

    def __init__(self, sockets: list[socket.socket], receive: Callable[[Caller], None]) -> None:
        self._sockets, self._receive = sockets, receive
        self._pending: dict[Caller, None] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._threads = [
            threading.Thread(target=self._listen, args=(each,), name="tcp listener", daemon=True)
            for each in sockets
        ]

    def start(self) -> None:
        """Begin to listen."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Listen no more; whoever has not said hello is shown out."""
        self._closed.set()
        for each in self._sockets:
            shut(each)
        for thread in self._threads:
            thread.join()
        with self._lock:
            for caller in self._pending:
                shut(caller.sock)

    def _listen(self, listening: socket.socket) -> None:
        listening.settimeout(LOOK_S)  # not everywhere does shutting it wake who waits
        while not self._closed.is_set():
            try:
                connection, _ = listening.accept()
            except TimeoutError:
                continue
            except OSError:  # it was closed, or there are no descriptors left just now
                self._closed.wait(0.1)
                continue
            caller = Caller(connection, self._settle)
            with self._lock:
                if len(self._pending) >= MAX_PENDING:
                    oldest = next(iter(self._pending))
                    del self._pending[oldest]
                    shut(oldest.sock)
                self._pending[caller] = None
            threading.Thread(
                target=self._receive, args=(caller,), name="tcp hello", daemon=True
            ).start()
        listening.close()

    def _settle(self, caller: Caller) -> None:
        with self._lock:
            self._pending.pop(caller, None)


def shut(sock: socket.socket) -> None:
    """End ``sock`` for the thread that uses it, which then closes it."""
    try:
        socket.socket.shutdown(sock, socket.SHUT_RDWR)  # that of an encrypted one does more
    except OSError:
        return


def listen(at: str | None, addresses: tuple[str, ...]) -> list[socket.socket]:
    """Listening sockets.

    Args:
        at: HOST, HOST:PORT or [HOST]:PORT that the user chose.
        addresses: of this host, by the way to the store: loopback only stays inside.

    Raises:
        UserError: it cannot be listened there.
    """
    if at is not None:
        host, port = split(at)
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            return [_bound(family, str(target[0]), port) for family, _, _, _, target in found[:1]]
        except OSError as error:
            raise UserError(f"cannot listen at {at}: {error.strerror}", field="--listen") from None
    if all(map(is_loopback, addresses)):
        families = {socket.AF_INET6 if ":" in each else socket.AF_INET: each for each in addresses}
        return [_bound(family, each, 0) for family, each in families.items()]
    if socket.has_dualstack_ipv6():
        return [socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)]
    return [socket.create_server(("0.0.0.0", 0))]


def split(at: str) -> tuple[str, int]:
    """Host and port of HOST, HOST:PORT or [HOST]:PORT; port 0 is any.

    Raises:
        UserError: it is none of them.
    """
    host, colon, port = at.rpartition(":")
    if at.count(":") > 1 and not at.startswith("["):  # an IPv6 address alone
        host, colon, port = at, "", ""
    elif not colon or at.endswith("]"):
        host, port = at, ""
    host = host.strip("[]")
    known = not port or (port.isascii() and port.isdigit() and int(port) < 2**16)
    if not host or not known:
        raise UserError(f"{at!r} is no address", field="--listen", hint="host:29500")
    return host, int(port or 0)


def _bound(family: int, host: str, port: int) -> socket.socket:
    return socket.create_server((host, port), family=family)
