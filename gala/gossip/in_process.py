"""Mailboxes between agents that are threads of one process.

A published message is a private copy under the agent's rank; replacing it is one assignment, so
that a reader sees the old message or the new one and nothing in between.

Agents that share a device hand messages over on it: nothing passes the CPU. What was written there
last may not be done yet when the message is found; the device then does first things first. Nor may
a message be done with when its reader goes on: it is held until the reader's stream has rested, so
that its memory is not given away.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from torch import Tensor

from gala.device.streams import Handover
from gala.gossip import message
from gala.gossip.membership import PeerState
from gala.gossip.message import Header, Identity


class LocalGroup:
    """Messages that the agents of one process published.

    Args:
        ranks: the agents of this process.
        handover: of the device that they share; None: the CPU.
    """

    def __init__(self, ranks: Sequence[int], handover: Handover | None = None) -> None:
        self.ranks, self.handover = frozenset(ranks), handover
        self.messages: dict[int, tuple[Header, Tensor, Any]] = {}
        self.taken: dict[tuple[int, int], int] = {}
        self.left: set[int] = set()


class InProcessTransport:
    """The view of one agent on its :class:`LocalGroup`.

    Args:
        rank: index of this agent.
        local_group: shared by all agents of the process.
        identity: what messages must agree on.
    """

    def __init__(self, *, rank: int, local_group: LocalGroup, identity: Identity) -> None:
        self._rank, self._local_group, self._identity = rank, local_group, identity
        self.copies_sent = 0
        self._read: dict[int, Tensor] = {}

    def publish(self, header: Header, payload: Tensor, to: Collection[int] | None = None) -> None:
        """See :class:`~gala.gossip.transport.Transport`; one copy of the payload."""
        copy, handover = payload.clone(), self._local_group.handover
        moment = handover.written(copy) if handover is not None else None
        self._local_group.messages[self._rank] = (header, copy, moment)
        self.copies_sent += 1

    def copies(self, peers: Sequence[int]) -> list[tuple[int, ...]]:
        """See :class:`~gala.gossip.transport.Transport`; one serves all."""
        return [tuple(peers)] if peers else []

    def version(self, peer: int) -> int:
        """See :class:`~gala.gossip.transport.Transport`."""
        found = self._local_group.messages.get(peer)
        return found[0].version if found is not None else 0

    def latest(self, peer: int) -> tuple[Header, Tensor] | None:
        """See :class:`~gala.gossip.transport.Transport`; the payload is shared, not copied."""
        found = self._local_group.messages.get(peer)
        if found is None:
            return None
        header, payload, moment = found
        message.require_kin(header, identity=self._identity, rank=peer)
        handover = self._local_group.handover
        if handover is not None:
            if peer in self._read:
                handover.rest()
            self._read[peer] = payload
            handover.read(payload, moment)
        message.verify(header, payload)
        return header, payload

    def steps(self, peer: int) -> int:
        """See :class:`~gala.gossip.transport.Transport`."""
        found = self._local_group.messages.get(peer)
        return found[0].step if found is not None else 0

    def acknowledge(self, peer: int, version: int) -> None:
        """See :class:`~gala.gossip.transport.Transport`."""
        self._local_group.taken[peer, self._rank] = version

    def acknowledged(self, peer: int) -> int:
        """See :class:`~gala.gossip.transport.Transport`."""
        return self._local_group.taken.get((self._rank, peer), 0)

    def state(self, peer: int) -> PeerState:
        """See :class:`~gala.gossip.transport.Transport`; threads die with the process only."""
        if peer in self._local_group.left:
            return PeerState.LEFT
        return PeerState.ACTIVE if peer in self._local_group.messages else PeerState.JOINING

    def close(self) -> None:
        """See :class:`~gala.gossip.transport.Transport`."""
        self._local_group.left.add(self._rank)
