"""Frames: what passes over a connection, each with its length and kind in front.

Whoever receives decides how much it takes: the length is held against the kind before a byte of the
body is read, and nothing but a whole frame is ever looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from gala.gossip.message import HEADER_BYTES, Refusal, Refused
from gala.launch.framing import PREFIX
from gala.launch.joining import ASKS

MAX_BOOK_BYTES = 2**18
MAX_REASON_BYTES = 32


class Frame(IntEnum):
    """Kind of a frame."""

    HELLO = 1
    """Who speaks; the first frame in either direction."""
    NO = 2
    """Instead of a HELLO: the name of the reason why there is none."""
    DATA = 3
    """Message header, steps known of every agent (Int64[N]), payload."""
    ALIVE = 4
    """Nothing new; steps known of every agent."""
    TAKEN = 5
    """Version that was taken, Int64."""
    BOOK = 6
    """Addresses of agents, see :mod:`gala.gossip.tcp.addresses`."""
    BYE = 7
    """The sender leaves for good."""
    ASKS = ASKS
    """Instead of a HELLO, by whoever joins: see :mod:`gala.launch.joining`."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Sizes that are taken from one neighbour.

    Attributes:
        agents: N.
        payload_bytes: of its messages.
        data: whether it is an in-neighbour, whose messages are wanted at all.
    """

    agents: int
    payload_bytes: int
    data: bool

    @property
    def head_bytes(self) -> int:
        """Bytes of a DATA frame before its payload."""
        return HEADER_BYTES + 8 * self.agents

    def check(self, prefix: bytes) -> tuple[Frame, int]:
        """Kind of a frame and bytes of its body.

        Raises:
            Refused: no such frame has so many bytes, or it has no place here.
        """
        size, kind = PREFIX.unpack(prefix)
        least, most = {
            Frame.DATA: (self.head_bytes + self.payload_bytes,) * 2 if self.data else (1, 0),
            Frame.ALIVE: (8 * self.agents,) * 2,
            Frame.TAKEN: (8, 8),
            Frame.BOOK: (0, MAX_BOOK_BYTES),
            Frame.BYE: (0, 0),
        }.get(kind, (1, 0))
        if not least <= size <= most:
            raise Refused(Refusal.SIZE)
        return Frame(kind), size


def framed(kind: Frame, body: bytes = b"", *, payload_bytes: int = 0) -> bytes:
    """Prefix and ``body`` of a frame; ``payload_bytes`` more follow by themselves."""
    return PREFIX.pack(len(body) + payload_bytes, kind) + body
