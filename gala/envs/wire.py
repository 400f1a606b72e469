"""What an environment worker and its agent say to each other: raw bytes behind a fixed header.

A frame is a header of 24 bytes and a payload. Arrays lie in the payload as they lie in memory, at
offsets that both sides work out from what was agreed on; text is UTF-8. Nothing is ever
evaluated: what does not fit is refused.

======== ====== =================================================================
bytes    type
======== ====== =================================================================
0 - 3    bytes  ``GALE``
4 - 5    uint16 version of the protocol, :data:`PROTOCOL`; header and place stay for ever
6 - 7    uint16 kind, :class:`Kind`
8 - 11   uint32 flags, of the kind
12 - 15  uint32 count, of the kind
16 - 23  uint64 bytes of the payload
======== ====== =================================================================

Numbers are little-endian, in arrays too.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from dataclasses import dataclass
from enum import IntEnum

from gala.errors import UserError

PROTOCOL = 1
MAGIC = b"GALE"
HEADER = struct.Struct("<4sHHIIQ")
GREETING_BYTES = 4096
"""Most bytes of a payload before both sides know whom they talk to."""
MOST_BYTES = 1 << 30
"""Most bytes of a payload afterwards."""
SEND_S = 10.0
"""Seconds in which the other side must take what it is sent, or it is gone."""


class Kind(IntEnum):
    """What a frame is."""

    NONCE = 1
    PROOF = 2
    ORDERS = 3
    FORM = 4
    ACT = 5
    STEP = 6
    REFUSED = 7
    BYE = 8
    PART = 9
    WEIGHTS = 10
    GO = 11
    UNROLL = 12


class Gone(Exception):
    """The other end is closed, or takes nothing."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame that has come.

    Attributes:
        kind: see :class:`Kind`.
        flags: of the kind.
        count: of the kind.
        payload: valid until the next frame of the same link.
    """

    kind: int
    flags: int
    count: int
    payload: memoryview

    @property
    def text(self) -> str:
        """The payload as text."""
        return bytes(self.payload).decode(errors="replace")


class Link:
    """One end of a stream of frames.

    Args:
        end: a connected stream socket; closed by :meth:`close`.

    Attributes:
        most: bytes of a payload beyond which a frame is refused.
        sent: bytes so far, headers included.
        received: likewise.
    """

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self.end = end
        self.most = GREETING_BYTES
        self.sent = self.received = 0
        self._header = bytearray(HEADER.size)
        self._payload = bytearray(GREETING_BYTES)
        self._begin()

    def _begin(self) -> None:
        """The next frame is to be read."""
        self._target, self._have = memoryview(self._header), 0
        self._head: tuple[int, int, int] | None = None

    def trust(self) -> None:
        """The other side has shown who it is: frames may be large."""
        self.most = MOST_BYTES

    def send(
        self,
        kind: Kind,
        payload: bytes | memoryview = b"",
        *,
        flags: int = 0,
        count: int = 0,
        patience_s: float = SEND_S,
    ) -> None:
        """Send a frame.

        Args:
            kind: of the frame.
            payload: of the frame.
            flags: of the kind, below 2**32.
            count: likewise.
            patience_s: seconds in which the other side must take it.

        Raises:
            Gone: nobody takes it.
        """
        size = len(payload) if isinstance(payload, bytes) else payload.nbytes
        head = HEADER.pack(MAGIC, PROTOCOL, kind, flags, count, size)
        parts = [memoryview(head), memoryview(payload).cast("B")]
        deadline = time.monotonic() + patience_s
        while parts:
            try:
                done = self.end.sendmsg(parts, [], socket.MSG_NOSIGNAL)
            except BlockingIOError:
                left = deadline - time.monotonic()
                if left <= 0 or not _ready(self.end, select.POLLOUT, left):
                    raise Gone from None
                continue
            except OSError:
                raise Gone from None
            self.sent += done
            while parts and done >= len(parts[0]):
                done -= len(parts.pop(0))
            if parts:
                parts[0] = parts[0][done:]

    def poll(self) -> Frame | None:
        """The next frame, if it has come as a whole.

        Raises:
            Gone: nothing will come any more.
            UserError: the other side speaks something else.
        """
        while True:
            if self._have < len(self._target):
                try:
                    got = self.end.recv_into(self._target[self._have :])
                except BlockingIOError:
                    return None
                except OSError:
                    raise Gone from None
                if not got:
                    raise Gone
                self._have += got
                self.received += got
                continue
            if self._head is not None:
                frame = Frame(*self._head, self._target)
                self._begin()
                return frame
            self._read_header()

    def receive(self, timeout_s: float | None = None) -> Frame:
        """The next frame, waited for.

        Args:
            timeout_s: then the other side is gone; None: wait for ever.

        Raises:
            Gone: nothing will come any more.
            UserError: the other side speaks something else.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while (frame := self.poll()) is None:
            left = None if deadline is None else max(deadline - time.monotonic(), 0.0)
            if not _ready(self.end, select.POLLIN, left):
                raise Gone
        return frame

    def close(self) -> None:
        """Close this end."""
        self.end.close()

    def _read_header(self) -> None:
        magic, protocol, kind, flags, count, size = HEADER.unpack(self._header)
        if magic != MAGIC:
            raise UserError("the other side is no gala", hint="is the port the right one?")
        if protocol != PROTOCOL:
            raise UserError(
                f"the other side speaks version {protocol} of the protocol of environments, this "
                f"side speaks version {PROTOCOL}",
                hint="install the same version of gala on both",
            )
        if size > self.most:
            raise UserError(f"the other side sends {size:,} bytes at once", hint="is it a gala?")
        if size > len(self._payload):
            self._payload = bytearray(size)
        self._head = kind, flags, count
        self._target, self._have = memoryview(self._payload)[:size], 0


def _ready(end: socket.socket, event: int, timeout_s: float | None) -> bool:
    """Wait for an event of a socket, whatever the number of its descriptor."""
    waits = select.poll()
    waits.register(end, event)
    return bool(waits.poll(None if timeout_s is None else 1e3 * timeout_s))
