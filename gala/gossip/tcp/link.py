"""Link: the thread of one connection, which carries both directions of an edge.

It sends what is newest when there is room, and a sign of life every second. Whoever is silent for
longer than its own habit explains is cut off, and dialled again.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from gala.gossip import message
from gala.gossip.membership import Rhythm
from gala.gossip.message import HEADER_BYTES, MAX_COUNT, Identity, Refusal, Refused
from gala.gossip.notes import Notes
from gala.gossip.tcp.addresses import Book
from gala.gossip.tcp.channel import AT_ONCE, Channel
from gala.gossip.tcp.frames import Frame, Limits, framed
from gala.gossip.tcp.peer import Peer

HEARTBEAT_S = 1.0
SLACK_S = 4.0
"""Silence beyond what a neighbour's habit explains."""
MAX_SILENCE_S = 20.0
GOODBYE_S = 2.0


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What all links of an agent have in common.

    Attributes:
        identity: what messages must agree on.
        limits: of sizes, for in-neighbours.
        lock_step: whether versions taken are told, and nobody is cut off before ``MAX_SILENCE_S``.
        steps: Int64[N], steps known of every agent.
        book: addresses known of every agent.
        notes: what is refused.
        closing: whether the agent leaves.
    """

    identity: Identity
    limits: Limits
    lock_step: bool
    steps: NDArray[np.int64]
    book: Book
    notes: Notes
    closing: Callable[[], bool]


class Link:
    """A connection to ``peer``.

    Args:
        sock: connected, both ends have said hello.
        peer: who is at the other end.
        shared: of all links.
        incarnation: of the peer.
        preferred: see :class:`~gala.gossip.tcp.peer.Connected`.
    """

    def __init__(
        self, sock: socket.socket, peer: Peer, shared: Shared, *, incarnation: int, preferred: bool
    ) -> None:
        self.peer, self.incarnation, self.preferred = peer, incarnation, preferred
        self.since = time.monotonic()
        self._shared = shared
        limits = Limits(
            agents=shared.limits.agents,
            payload_bytes=shared.limits.payload_bytes,
            data=peer.inbound,
        )
        self._channel = Channel(sock, limits, self._room, self._take)
        self._payload: Tensor | None = None
        self._ear, self._alarm = socket.socketpair()
        self._ear.setblocking(False)
        self._alarm.setblocking(False)
        self._awake = self._cut = self._left = False
        self._received = self._sent = self._answered = self._told = 0
        self._carries = False
        self._rhythm = Rhythm()
        self._heard_at = self._spoke_at = self.since
        self._bye_at: float | None = None

    def wake(self) -> None:
        """There is something to send, or an end."""
        if not self._awake:
            self._awake = True
            try:
                self._alarm.send(b"\0")
            except OSError:  # full: it will wake up; closed: it is over
                return

    def cut(self) -> None:
        """End it, from any thread."""
        self._cut, self._awake = True, False
        self.wake()

    def run(self) -> None:
        """Carry frames until the connection ends.

        Raises:
            Refused: the neighbour sent what is not taken.
            OSError: the connection broke, or is silent.
        """
        try:
            more = False
            while not (self._cut or self._left or self._has_left()):
                self._compose()
                more = self._exchange(0.0 if more else HEARTBEAT_S / 2)
                self._look_after_silence()
        finally:
            self.close()
            if self._payload is not None:
                self.peer.give_back(self._payload)

    def close(self) -> None:
        """Close the connection; :meth:`run` does it by itself."""
        self._channel.close()
        self._ear.close()
        self._alarm.close()

    def _exchange(self, timeout_s: float) -> bool:
        """Wait for the network, or to be woken; whether there is more to do at once."""
        sock, channel = self._channel.sock, self._channel
        poll = select.poll()
        poll.register(sock, select.POLLIN | (select.POLLOUT if channel.sending else 0))
        poll.register(self._ear, select.POLLIN)
        ready = dict(poll.poll(1000 * timeout_s))
        if self._ear.fileno() in ready:
            self._ear.recv(4096)
            self._awake = False
        received = channel.receive()
        if received:
            self._heard_at = time.monotonic()
        sent = channel.flush()
        if self._carries and not channel.sending:
            self._carries = False
            self.peer.copies_sent += 1
        return received >= AT_ONCE or sent >= AT_ONCE

    def _compose(self) -> None:
        """Choose what to send next, if nothing is under way."""
        peer, channel, now = self.peer, self._channel, time.monotonic()
        if channel.sending or self._bye_at is not None:
            return
        frames: list[bytes | memoryview] = []
        if self._shared.lock_step and peer.through > self._answered:
            self._answered = peer.through
            frames.append(framed(Frame.TAKEN, self._answered.to_bytes(8, "little")))
        snapshot = peer.snapshot
        if snapshot is not None and snapshot[0].version > self._sent:
            header, payload = snapshot
            head = header.pack() + self._shared.steps.tobytes()
            frames.append(framed(Frame.DATA, head, payload_bytes=payload.numel()))
            frames.append(payload.numpy().data)
            self._sent, self._carries = header.version, True
        if self._told < self._shared.book.edition:  # a large book in turns with what is newest
            pages, self._told = self._shared.book.pages(self._told)
            frames.append(framed(Frame.BOOK, pages))
        elif not self._carries and self._shared.closing():
            frames.append(framed(Frame.BYE))
            self._bye_at = now
        elif not frames and now - self._spoke_at >= HEARTBEAT_S:
            frames.append(framed(Frame.ALIVE, self._shared.steps.tobytes()))
        if frames:
            channel.send(*frames)
            self._spoke_at = now

    def _room(self) -> memoryview:
        """Memory for the payload of the next message, of this connection alone."""
        if self._payload is None:
            self._payload = self.peer.lend()
        return self._payload.numpy().data

    def _take(self, frame: Frame, body: bytes) -> None:
        self._rhythm.arrived(time.monotonic())
        if frame is Frame.DATA:
            self._take_message(body)
        elif frame is Frame.ALIVE:
            self._learn_steps(body)
        elif frame is Frame.TAKEN:
            version = int.from_bytes(body, "little")
            if version >= message.MAX_VERSION:
                raise Refused(Refusal.NUMBERS)
            self.peer.take(version, self)
        elif frame is Frame.BOOK:
            self._shared.book.learn(body, self._shared.notes)
        else:
            self.peer.leave(self)
            self._left = True

    def _take_message(self, body: bytes) -> None:
        header = message.unpack(
            body[:HEADER_BYTES], identity=self._shared.identity, rank=self.peer.rank
        )
        self.peer.require_newer(header, self._received)
        self._received = header.version
        self._learn_steps(body[HEADER_BYTES:])
        assert self._payload is not None, "a message without memory for it"
        if self.peer.receive(header, self._payload, self):
            self._payload = None

    def _learn_steps(self, words: bytes) -> None:
        known = np.frombuffer(words, "<i8")
        if ((known < 0) | (known >= MAX_COUNT)).any():
            raise Refused(Refusal.NUMBERS)
        steps = self._shared.steps
        np.maximum(steps, known, out=steps)

    def _has_left(self) -> bool:
        """Whether the own goodbye is on its way, and the other end had time to read it.

        Closing at once would throw away, at the other end too, what was not read yet.
        """
        if self._bye_at is None or self._channel.sending:
            return False
        return time.monotonic() - self._bye_at > GOODBYE_S

    def _look_after_silence(self) -> None:
        habit = MAX_SILENCE_S if self._shared.lock_step else self._rhythm.deadline + SLACK_S
        if time.monotonic() - self._heard_at > min(habit, MAX_SILENCE_S):
            raise TimeoutError("silent for longer than its habit explains")
