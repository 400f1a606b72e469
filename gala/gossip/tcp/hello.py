"""Hello: the first frame in either direction; who is there, and whether it belongs to the run."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

from gala.gossip.message import Identity, Refusal, Refused, require_same
from gala.gossip.tcp.frames import MAX_REASON_BYTES, Frame, framed
from gala.launch.framing import PREFIX, exactly, in_time
from gala.launch.pages import MAX_INCARNATION

MAGIC = b"GALATCP1"
HOST_BYTES = 16
_HELLO = struct.Struct(f"<8sHIIIQ8s8s8s{HOST_BYTES}sHB")


class Rejected(Exception):
    """The other end wants no connection with this one; ``reason`` is its word for why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Asks(Exception):
    """The other end is no agent yet: it asks what the store would say."""


@dataclass(frozen=True, kw_only=True)
class Hello:
    """What an agent says of itself.

    Attributes:
        identity: what its messages carry.
        rank: index of the agent.
        agents: number of agents.
        incarnation: restarts of the agent so far.
        payload_bytes: of its messages.
        host: names its host.
        port: where it listens.
        answers: whether it says which versions it has taken (lock-step).
    """

    identity: Identity
    rank: int
    agents: int
    incarnation: int
    payload_bytes: int
    host: bytes
    port: int
    answers: bool

    def pack(self) -> bytes:
        """The body of its frame."""
        identity = self.identity
        return _HELLO.pack(
            MAGIC,
            identity.wire,
            self.rank,
            self.agents,
            self.incarnation,
            self.payload_bytes,
            bytes.fromhex(identity.run),
            bytes.fromhex(identity.topology),
            bytes.fromhex(identity.layout),
            self.host,
            self.port,
            self.answers,
        )

    @staticmethod
    def unpack(body: bytes) -> Hello:
        """What :meth:`pack` wrote.

        Raises:
            Refused: it is none.
        """
        if len(body) != _HELLO.size or body[: len(MAGIC)] != MAGIC:
            raise Refused(Refusal.MAGIC)
        _, wire, rank, agents, incarnation, payload, run, topology, layout, host, port, answers = (
            _HELLO.unpack(body)
        )
        return Hello(
            identity=Identity(
                run=run.hex(), topology=topology.hex(), layout=layout.hex(), wire=wire
            ),
            rank=rank,
            agents=agents,
            incarnation=incarnation,
            payload_bytes=payload,
            host=host,
            port=port,
            answers=bool(answers),
        )

    def require_kin(self, own: Hello) -> None:
        """Check that who says this belongs to the run of ``own``.

        Raises:
            Refused: with the first rule that it breaks.
        """
        require_same(self.identity, own.identity)
        if self.agents != own.agents or self.answers != own.answers:
            raise Refused(Refusal.TOPOLOGY)
        if self.payload_bytes != own.payload_bytes:
            raise Refused(Refusal.SIZE)
        if self.rank >= own.agents or self.rank == own.rank:
            raise Refused(Refusal.RANK)
        if self.incarnation >= MAX_INCARNATION:
            raise Refused(Refusal.NUMBERS)


def say_hello(sock: socket.socket, hello: Hello, deadline: float) -> None:
    """Send ``hello``.

    Raises:
        OSError: it could not be sent before ``deadline`` (of ``time.monotonic``).
    """
    in_time(sock, deadline)
    sock.sendall(framed(Frame.HELLO, hello.pack()))


def say_no(sock: socket.socket, reason: str, deadline: float) -> None:
    """Send why there is no HELLO.

    Raises:
        OSError: it could not be sent before ``deadline``.
    """
    in_time(sock, deadline)
    sock.sendall(framed(Frame.NO, reason.encode()[:MAX_REASON_BYTES]))


def hear_hello(sock: socket.socket, deadline: float) -> Hello:
    """What the other end says first.

    Raises:
        OSError: nothing whole came before ``deadline``.
        Refused: something else came.
        Rejected: the other end says NO.
        Asks: the other end is about to join.
    """
    size, kind = PREFIX.unpack(exactly(sock, PREFIX.size, deadline))
    if kind == Frame.HELLO and size == _HELLO.size:
        return Hello.unpack(exactly(sock, size, deadline))
    if kind == Frame.NO and size <= MAX_REASON_BYTES:
        raise Rejected(exactly(sock, size, deadline).decode("ascii", "replace"))
    if kind == Frame.ASKS and size == 0:
        raise Asks
    raise Refused(Refusal.MAGIC)
