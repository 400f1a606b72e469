"""The beginning of every frame on a connection of gala's own, and reading one by a deadline."""

from __future__ import annotations

import socket
import struct
import time

PREFIX = struct.Struct("<IB")
"""Bytes of the body, and its kind: see :mod:`gala.gossip.tcp.frames`."""


def exactly(sock: socket.socket, count: int, deadline: float) -> bytes:
    """The next ``count`` bytes.

    Raises:
        OSError: they did not come before ``deadline`` (of ``time.monotonic``).
    """
    found = bytearray()
    while len(found) < count:
        in_time(sock, deadline)
        piece = sock.recv(count - len(found))
        if not piece:
            raise ConnectionResetError("closed by the other end")
        found += piece
    return bytes(found)


def in_time(sock: socket.socket, deadline: float) -> None:
    """Let the next operation end at ``deadline``, however little came of those before.

    Raises:
        TimeoutError: it is over already.
    """
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("took too long")
    sock.settimeout(left)
