"""Assignment of an actor: what it is given when it is started; and its channel from then on.

A channel is a pair of sockets that keep messages apart (``SOCK_SEQPACKET``): the pool sends numbers
of slots to fill, the actor sends them back full, and before it ends by an error, what that was. A
message is there as a whole or not at all, and the end of a process is the end of its channel.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

from gala.actors.player import Part
from gala.envs.wire import Gone

_SLOT = struct.Struct("<cq")
_FILL, _ERROR = b"s", b"!"
_LONGEST = 2000


@dataclass(frozen=True, kw_only=True)
class Assignment(Part):
    """Assignment of one actor on the machine of its agent, beyond its part.

    Attributes:
        rank: of the agent.
        run_id: of the launch.
        actors: of the agent.
        slots: in the memory.
        memory: descriptor of the pool's memory.
        weights: descriptor of the learner's mailbox.
        channel: descriptor of the actor's end of its channel.
        parent: process of the agent.
    """

    rank: int
    run_id: str
    actors: int
    slots: int
    memory: int
    weights: int
    channel: int
    parent: int


class Channel:
    """One end of a channel.

    Args:
        end: socket; closed by :meth:`close`.
    """

    def __init__(self, end: socket.socket) -> None:
        self.end = end

    @classmethod
    def of(cls, fd: int) -> Channel:
        """The end of a descriptor."""
        return cls(socket.socket(fileno=fd))

    @classmethod
    def pair(cls) -> tuple[Channel, Channel]:
        """Two ends."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(ours), cls(theirs)

    def send(self, slot: int) -> None:
        """A slot to fill, or a full one.

        Raises:
            Gone: nobody will hear it.
        """
        self._send(_SLOT.pack(_FILL, slot))

    def fail(self, text: str) -> None:
        """What the error was.

        Raises:
            Gone: nobody will hear it.
        """
        self._send(_ERROR + text.encode()[:_LONGEST])

    def receive(self, *, wait: bool = True) -> int | str | None:
        """A slot or the text of an error; None where nothing is there and ``wait`` is False.

        Raises:
            Gone: nothing is there, and nothing will come.
        """
        try:
            data = self.end.recv(_LONGEST + 1, 0 if wait else socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None
        except OSError:
            raise Gone from None
        if not data:
            raise Gone
        if data[:1] == _ERROR:
            return data[1:].decode(errors="replace")
        return int(_SLOT.unpack(data)[1])

    def close(self) -> None:
        """Close this end."""
        self.end.close()

    def _send(self, data: bytes) -> None:
        try:
            self.end.send(data, socket.MSG_NOSIGNAL)
        except OSError:
            raise Gone from None
