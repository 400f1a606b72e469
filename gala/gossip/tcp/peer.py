"""Peer: what passes between an agent and one neighbour, whichever connection carries it.

The agent's side never waits: it leaves its newest message here, and finds the neighbour's newest
one. The connection's thread comes by when the network allows.
"""

from __future__ import annotations

import math
import threading
import time
from typing import Protocol

import torch
from torch import Tensor

from gala.gossip import message
from gala.gossip.membership import PeerState
from gala.gossip.message import Header, Refusal, Refused

LOST_S = 2.0
"""A connection that was lost is made again before anybody calls its agent dead, unless nobody
listens there any more."""

YOUNG_S = 5.0
"""So long one of two connections that were made at the same time is kept against the other."""


class Connected(Protocol):
    """A connection to a neighbour.

    Attributes:
        incarnation: of the neighbour at its other end.
        preferred: whether it is kept when both ends have made one.
        since: when it was made, in seconds of a monotonic clock.
    """

    incarnation: int
    preferred: bool
    since: float

    def wake(self) -> None:
        """There is something to send."""
        ...

    def cut(self) -> None:
        """End it, from any thread."""
        ...


class Peer:
    """One neighbour.

    Args:
        rank: its index.
        inbound: whether its messages are wanted (an in-neighbour).
        outbound: whether it is sent messages (an out-neighbour).
        payload_bytes: of messages.

    Attributes:
        snapshot: newest own message for it.
        through: version of its newest message that the agent is through with.
        taken: newest own version that it is through with.
        version: of its newest message, 0 for none.
        copies_sent: messages that have left.
        nearby: whether it lives on this host and is left to another transport.
        link: the connection that stands.
    """

    def __init__(self, rank: int, *, inbound: bool, outbound: bool, payload_bytes: int) -> None:
        self.rank, self.inbound, self.outbound = rank, inbound, outbound
        self.snapshot: tuple[Header, Tensor] | None = None
        self.through = self.taken = self.version = self.copies_sent = 0
        self.nearby = False
        self.link: Connected | None = None
        self.changed = threading.Condition()
        self._payload_bytes = payload_bytes
        self._incarnation: int | None = None
        self._state, self._lost_at = PeerState.JOINING, math.inf
        self._latest: tuple[Header, Tensor] | Refused | None = None
        self._held: Tensor | None = None
        self._free: list[Tensor] = []

    @property
    def state(self) -> PeerState:
        """See :meth:`gala.gossip.transport.Transport.state`."""
        if self._state is PeerState.ACTIVE and time.monotonic() - self._lost_at > LOST_S:
            return PeerState.DOWN
        return self._state

    def offer(self, snapshot: tuple[Header, Tensor]) -> None:
        """Send ``snapshot`` when the one under way is done, unless a newer one comes first."""
        self.snapshot = snapshot
        self._wake()

    def acknowledge(self, version: int) -> None:
        """Tell the neighbour that the agent is through with ``version``."""
        if version > self.through:
            self.through = version
            self._wake()

    def latest(self) -> tuple[Header, Tensor] | None:
        """Newest message, valid until the next call.

        Raises:
            Refused: it breaks a rule.
        """
        with self.changed:
            latest = self._latest
            held = None if latest is None or isinstance(latest, Refused) else latest[1]
            if self._held is not None and self._held is not held:
                self._free.append(self._held)
            self._held = held
        if isinstance(latest, Refused):
            raise latest
        return latest

    def admit(self, link: Connected) -> bool:
        """Let ``link`` carry from now on; False if the one that stands shall go on."""
        with self.changed:
            if self._state is PeerState.LEFT and link.incarnation == self._incarnation:
                return False  # a dial that crossed the goodbye must not bring it back
            old = self.link
            if old is not None:
                young = time.monotonic() - old.since < YOUNG_S
                same = link.incarnation == old.incarnation
                if link.incarnation < old.incarnation:
                    return False
                if same and young and old.preferred and not link.preferred:
                    return False
                old.cut()
            if link.incarnation != self._incarnation:  # what was before is of another incarnation
                self._incarnation = link.incarnation
                self.version = self.taken = 0
                self._retire()
                self._latest = None
                self._state = PeerState.JOINING
            self.link, self._lost_at = link, math.inf
            if self.version or not self.inbound:
                self._state = PeerState.ACTIVE
            self.changed.notify_all()
        return True

    def lose(self, link: Connected) -> None:
        """``link`` is over."""
        with self.changed:
            if self.link is link:
                self.link, self._lost_at = None, time.monotonic()
                self.changed.notify_all()

    def find_nobody(self) -> None:
        """Where it was, nobody listens any more."""
        if self.link is None and self._lost_at < math.inf:
            self._lost_at = -math.inf

    def leave(self, link: Connected) -> None:
        """It said goodbye over ``link``."""
        with self.changed:
            if self.link is link:
                self._state = PeerState.LEFT

    def take(self, version: int, link: Connected) -> None:
        """It said over ``link`` that it is through with ``version``."""
        with self.changed:
            if self.link is link:  # else it may be of another incarnation
                self.taken = max(self.taken, version)

    def lend(self) -> Tensor:
        """Memory for a message under way (UInt8[payload_bytes]): until :meth:`receive` takes it, or
        :meth:`give_back`, it is the caller's alone.
        """
        with self.changed:
            if self._free:
                return self._free.pop()
        return torch.empty(self._payload_bytes, dtype=torch.uint8)

    def give_back(self, payload: Tensor) -> None:
        """``payload``, which was lent, will not be written to any more."""
        with self.changed:
            self._free.append(payload)

    def receive(self, header: Header, payload: Tensor, link: Connected) -> bool:
        """Its message lies in ``payload``, which was lent; whether it is kept there."""
        refused = None
        try:
            message.verify(header, payload)
        except Refused as broken:
            refused = broken
        with self.changed:
            if self.link is not link:
                return False  # another connection carries: it keeps its own order
            self._retire()
            self._latest = refused if refused is not None else (header, payload)
            self._state = PeerState.ACTIVE  # first: see Transport.state
            self.version = header.version
        return refused is None

    def require_newer(self, header: Header, last: int) -> None:
        """Check that a message comes after version ``last`` of the same connection.

        Raises:
            Refused: it does not.
        """
        if header.version <= last or header.incarnation != self._incarnation:
            raise Refused(Refusal.REPLAY)

    def _retire(self) -> None:
        """The newest message will not be asked for any more."""
        old = self._latest
        if old is not None and not isinstance(old, Refused) and old[1] is not self._held:
            self._free.append(old[1])

    def _wake(self) -> None:
        link = self.link
        if link is not None:
            link.wake()
