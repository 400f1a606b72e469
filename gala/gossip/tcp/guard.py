"""Guard: who is let in, and whose word is believed."""

from __future__ import annotations

import socket
from typing import Protocol


class Guard(Protocol):
    """Proves that this agent belongs to the run, and checks that others do.

    Attributes:
        safe: whether it does: else whoever reaches an agent is one.
    """

    safe: bool

    def as_client(self, sock: socket.socket) -> socket.socket:
        """The connection ``sock`` that this agent has dialled, made safe.

        Raises:
            OSError: the other end did not show that it belongs to the run; ``sock`` is closed.
        """
        ...

    def as_server(self, sock: socket.socket) -> socket.socket:
        """The connection ``sock`` that somebody has dialled: safe once something was received.

        Waits for nobody; who does not belong to the run is an OSError of the first look.
        """
        ...

    def may_be(self, sock: socket.socket, rank: int) -> bool:
        """Whether agent ``rank`` can be at the other end of a safe connection."""
        ...

    def sign(self, text: bytes) -> str:
        """A signature of ``text`` by this agent."""
        ...

    def is_signed(self, text: bytes, signature: str, rank: int) -> bool:
        """Whether agent ``rank`` has signed ``text``."""
        ...


class Unguarded:
    """Without a key of the run: everybody is believed."""

    safe = False

    def as_client(self, sock: socket.socket) -> socket.socket:
        """See :class:`Guard`."""
        return sock

    def as_server(self, sock: socket.socket) -> socket.socket:
        """See :class:`Guard`."""
        return sock

    def may_be(self, sock: socket.socket, rank: int) -> bool:
        """See :class:`Guard`."""
        return True

    def sign(self, text: bytes) -> str:
        """See :class:`Guard`."""
        return ""

    def is_signed(self, text: bytes, signature: str, rank: int) -> bool:
        """See :class:`Guard`."""
        return True
