"""A connection as frames, without waiting: one thread reads and writes it.

An encrypted socket must not be used by two threads at once; hence it is never waited on here, and
both directions take turns of at most ``AT_ONCE`` bytes.
"""

from __future__ import annotations

import socket
import ssl
from collections import deque
from collections.abc import Callable

from gala.gossip.tcp.frames import Frame, Limits
from gala.launch.framing import PREFIX

AT_ONCE = 2**20
_LATER = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Channel:
    """Frames over a connected socket.

    Args:
        sock: plain or encrypted; closed by this channel.
        limits: of what is taken.
        room: gives memory for a payload, when one begins.
        take: called with each whole frame: kind and body, of DATA without the payload, which lies
            where ``room`` said.
    """

    def __init__(
        self,
        sock: socket.socket,
        limits: Limits,
        room: Callable[[], memoryview],
        take: Callable[[Frame, bytes], None],
    ) -> None:
        sock.setblocking(False)
        self.sock, self._limits, self._room, self._take = sock, limits, room, take
        self._unsent: deque[memoryview] = deque()
        self._frame: Frame | None = None
        self._part = bytearray(PREFIX.size)
        self._view = memoryview(self._part)
        self._in_payload = False

    @property
    def sending(self) -> bool:
        """Whether a frame is under way."""
        return bool(self._unsent)

    def send(self, *parts: bytes | memoryview) -> None:
        """Send ``parts`` after what is under way; they must not change before they have left."""
        self._unsent.extend(memoryview(part) for part in parts if len(part))

    def flush(self) -> int:
        """Send what the network takes now; returns the bytes."""
        sent = 0
        while self._unsent and sent < AT_ONCE:
            try:
                count = self.sock.send(self._unsent[0])
            except _LATER:
                break
            sent += count
            self._unsent[0] = self._unsent[0][count:]
            if not self._unsent[0]:
                self._unsent.popleft()
        return sent

    def receive(self) -> int:
        """Read what is there, and hand over the frames that are whole; returns the bytes.

        ``AT_ONCE`` or more: there may be more, which a look at the socket need not show.

        Raises:
            ConnectionError: the other end has closed.
            Refused: a frame that is not taken.
        """
        received = 0
        while received < AT_ONCE:
            try:
                count = self.sock.recv_into(self._view)
            except _LATER:
                break
            if count == 0:
                raise ConnectionResetError("closed by the other end")
            received += count
            self._view = self._view[count:]
            while not self._view:
                self._go_on()
        return received

    def close(self) -> None:
        """Close the connection."""
        self.sock.close()

    def _go_on(self) -> None:
        """A part is whole: prepare the next one, or hand over the frame."""
        if self._frame is None:
            self._frame, size = self._limits.check(bytes(self._part))
            if self._frame is Frame.DATA:
                size = self._limits.head_bytes
            self._part = bytearray(size)
            self._view = memoryview(self._part)
            if size:
                return
        if self._frame is Frame.DATA and not self._in_payload:
            self._in_payload, self._view = True, self._room()
            if self._view:
                return
        frame, body = self._frame, bytes(self._part)
        self._frame, self._in_payload = None, False
        self._part = bytearray(PREFIX.size)
        self._view = memoryview(self._part)
        self._take(frame, body)
