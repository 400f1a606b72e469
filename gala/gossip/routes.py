"""Several transports of one agent behind one: each neighbour is reached by the one that fits."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from torch import Tensor

from gala.gossip.membership import PeerState
from gala.gossip.message import Header
from gala.gossip.transport import Transport


class Routes:
    """A transport made of transports.

    Args:
        transports: all of them; each is published to once.
        route: the transport that reaches an agent, None as long as that is not known.
    """

    def __init__(
        self, transports: Sequence[Transport], route: Callable[[int], Transport | None]
    ) -> None:
        self._transports, self._route = transports, route

    @property
    def copies_sent(self) -> int:
        """See :class:`~gala.gossip.transport.Transport`."""
        return sum(transport.copies_sent for transport in self._transports)

    def publish(self, header: Header, payload: Tensor, to: Collection[int] | None = None) -> None:
        """See :class:`~gala.gossip.transport.Transport`; on each that reaches somebody of them."""
        for transport in self._transports:
            mine = None if to is None else self._reached_by(transport, to)
            if mine is None or mine:
                transport.publish(header, payload, mine)

    def copies(self, peers: Sequence[int]) -> list[tuple[int, ...]]:
        """See :class:`~gala.gossip.transport.Transport`."""
        return [
            copy
            for transport in self._transports
            for copy in transport.copies(self._reached_by(transport, peers))
        ]

    def version(self, peer: int) -> int:
        """See :class:`~gala.gossip.transport.Transport`."""
        transport = self._route(peer)
        return transport.version(peer) if transport is not None else 0

    def latest(self, peer: int) -> tuple[Header, Tensor] | None:
        """See :class:`~gala.gossip.transport.Transport`."""
        transport = self._route(peer)
        return transport.latest(peer) if transport is not None else None

    def steps(self, peer: int) -> int:
        """See :class:`~gala.gossip.transport.Transport`; whoever knows most is right."""
        return max(transport.steps(peer) for transport in self._transports)

    def acknowledge(self, peer: int, version: int) -> None:
        """See :class:`~gala.gossip.transport.Transport`."""
        transport = self._route(peer)
        if transport is not None:
            transport.acknowledge(peer, version)

    def acknowledged(self, peer: int) -> int:
        """See :class:`~gala.gossip.transport.Transport`."""
        transport = self._route(peer)
        return transport.acknowledged(peer) if transport is not None else 0

    def state(self, peer: int) -> PeerState:
        """See :class:`~gala.gossip.transport.Transport`."""
        transport = self._route(peer)
        return transport.state(peer) if transport is not None else PeerState.JOINING

    def close(self) -> None:
        """See :class:`~gala.gossip.transport.Transport`."""
        for transport in self._transports:
            transport.close()

    def _reached_by(self, transport: Transport, peers: Collection[int]) -> list[int]:
        return [peer for peer in peers if self._route(peer) is transport]
