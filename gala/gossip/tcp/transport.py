"""Mailboxes between hosts: one connection of our own for each pair of neighbours."""

from __future__ import annotations

import hashlib
import socket
import sys
import threading
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from gala.errors import UserError
from gala.gossip.membership import PeerState
from gala.gossip.message import Header, Identity
from gala.gossip.network import Endpoint
from gala.gossip.notes import Notes
from gala.gossip.tcp.addresses import Book, is_loopback, own_addresses
from gala.gossip.tcp.exchange import Exchange
from gala.gossip.tcp.frames import Limits
from gala.gossip.tcp.guard import Guard, Unguarded
from gala.gossip.tcp.hello import HOST_BYTES, Hello
from gala.gossip.tcp.link import GOODBYE_S, Shared
from gala.gossip.tcp.listener import Listener, listen, split
from gala.gossip.tcp.peer import Peer
from gala.gossip.tcp.registry import Registry
from gala.launch.joining import answer
from gala.launch.pages import Address


@dataclass(frozen=True, kw_only=True)
class Site:
    """Where an agent stands in the network, and whom it lets in.

    Attributes:
        toward: host of the store: the way there says by which address this host is known.
        listen_at: HOST:PORT that the user chose; None: any port, by the way to the store.
        guard: lets in who belongs to the run.
        insecure: whether the network may be used without a guard that is safe.
    """

    toward: str | None = None
    listen_at: str | None = None
    guard: Guard = field(default_factory=Unguarded)
    insecure: bool = False


class TcpTransport:
    """The edges of one agent.

    Args:
        endpoint: of this agent.
        in_neighbours: whose messages it receives.
        out_neighbours: to whom it sends.
        payload_bytes: size of the payload of every message.
        identity: what messages must agree on.
        answers: whether versions taken are told (lock-step).
        nearby: whether neighbours on the same host are left to another transport.
        site: where it listens.
        notes: is told of what is refused.

    Attributes:
        book: addresses known of every agent.

    Raises:
        UserError: it cannot listen there, or nothing says who belongs to the run.
    """

    def __init__(
        self,
        *,
        endpoint: Endpoint,
        in_neighbours: Iterable[int],
        out_neighbours: Iterable[int],
        payload_bytes: int,
        identity: Identity,
        answers: bool = False,
        nearby: bool = True,
        site: Site | None = None,
        notes: Notes | None = None,
    ) -> None:
        self._rank, self._site = endpoint.rank, site if site is not None else Site()
        self._closing = threading.Event()
        self._steps = np.zeros(endpoint.agents, np.int64)
        inbound, outbound = set(in_neighbours), set(out_neighbours)
        self._peers = {
            j: Peer(j, inbound=j in inbound, outbound=j in outbound, payload_bytes=payload_bytes)
            for j in sorted(inbound | outbound)
        }
        self.book = Book(
            run=identity.run, rank=endpoint.rank, agents=endpoint.agents, guard=self._site.guard
        )
        shared = Shared(
            identity=identity,
            limits=Limits(agents=endpoint.agents, payload_bytes=payload_bytes, data=True),
            lock_step=answers,
            steps=self._steps,
            book=self.book,
            notes=notes if notes is not None else Notes(),
            closing=self._closing.is_set,
        )
        sockets, inside = self._listen(shared.notes)
        self._port = sockets[0].getsockname()[1]
        self._exchange = Exchange(
            _hello(endpoint, identity, payload_bytes, self._port, answers),
            self._peers,
            shared,
            self._site.guard,
            lambda: answer(self._registry.known()),
            nearby=nearby,
            abroad=self._site.guard.safe or self._site.insecure or not inside,
        )
        self._listener = Listener(sockets, self._exchange.welcome)
        self._registry = Registry(
            self.book,
            endpoint.rendezvous,
            run=identity.run,
            rank=endpoint.rank,
            incarnation=endpoint.incarnation,
            wanted=self._unlinked,
            addresses=self._addresses,
            notes=shared.notes,
        )
        sys.setswitchinterval(5e-4)  # who waits for the network must not wait for the interpreter
        self._listener.start()
        self._registry.start()
        self._exchange.start()

    @property
    def local(self) -> set[int]:
        """Neighbours that are left to another transport."""
        return {j for j, peer in self._peers.items() if peer.nearby}

    @property
    def copies_sent(self) -> int:
        """See :class:`~gala.gossip.transport.Transport`; those that were replaced by newer ones
        before they were sent, or whose edge does not stand, do not count.
        """
        return sum(peer.copies_sent for peer in self._peers.values())

    def publish(self, header: Header, payload: Tensor, to: Collection[int] | None = None) -> None:
        """See :class:`~gala.gossip.transport.Transport`; edges of others carry the steps alone."""
        self._steps[self._rank] = header.step
        wanted = [
            peer
            for i, peer in self._peers.items()
            if peer.outbound and not peer.nearby and (to is None or i in to)
        ]
        if wanted:
            snapshot = header, payload.clone()
            for peer in wanted:
                peer.offer(snapshot)

    def copies(self, peers: Sequence[int]) -> list[tuple[int, ...]]:
        """See :class:`~gala.gossip.transport.Transport`; one for each edge."""
        return [(peer,) for peer in peers]

    def version(self, peer: int) -> int:
        """See :class:`~gala.gossip.transport.Transport`."""
        found = self._peers.get(peer)
        return found.version if found is not None else 0

    def latest(self, peer: int) -> tuple[Header, Tensor] | None:
        """See :class:`~gala.gossip.transport.Transport`."""
        found = self._peers.get(peer)
        return found.latest() if found is not None else None

    def steps(self, peer: int) -> int:
        """See :class:`~gala.gossip.transport.Transport`; the steps of all agents travel along."""
        return int(self._steps[peer])

    def acknowledge(self, peer: int, version: int) -> None:
        """See :class:`~gala.gossip.transport.Transport`."""
        if peer in self._peers:
            self._peers[peer].acknowledge(version)

    def acknowledged(self, peer: int) -> int:
        """See :class:`~gala.gossip.transport.Transport`."""
        found = self._peers.get(peer)
        return found.taken if found is not None else 0

    def state(self, peer: int) -> PeerState:
        """See :class:`~gala.gossip.transport.Transport`."""
        found = self._peers.get(peer)
        return found.state if found is not None else PeerState.JOINING

    def close(self) -> None:
        """Say goodbye on every connection; does not wait for the others for long."""
        deadline = time.monotonic() + GOODBYE_S
        self._closing.set()
        self._registry.close()
        self._exchange.close(deadline)
        self._listener.close()

    def _listen(self, notes: Notes) -> tuple[list[socket.socket], bool]:
        """Sockets that listen, and whether only this host reaches them."""
        sockets = listen(self._site.listen_at, own_addresses(self._site.toward))
        inside = all(is_loopback(each.getsockname()[0]) for each in sockets)
        if not inside and not self._site.guard.safe:
            self._require_insecure(sockets, notes)
        return sockets, inside

    def _require_insecure(self, sockets: list[socket.socket], notes: Notes) -> None:
        if not self._site.insecure:
            for each in sockets:
                each.close()
            raise UserError(
                "agents on other hosts would be believed whoever they are",
                field="--gossip.transport",
                hint="--secret-file FILE (gala keys secret FILE makes one), --keys FOLDER, "
                "--listen 127.0.0.1 for one host, or --insecure in a network that you trust",
            )
        text = "messages between hosts are not encrypted, and whoever reaches an agent is believed"
        notes.events.append(("insecure", text))

    def _unlinked(self) -> list[int]:
        return [j for j, peer in self._peers.items() if peer.link is None and not peer.nearby]

    def _addresses(self) -> tuple[Address, ...]:
        """Where others find this agent."""
        if self._site.listen_at is not None:
            return ((split(self._site.listen_at)[0], self._port),)
        return tuple((host, self._port) for host in own_addresses(self._site.toward))


def _hello(
    endpoint: Endpoint, identity: Identity, payload_bytes: int, port: int, answers: bool
) -> Hello:
    return Hello(
        identity=identity,
        rank=endpoint.rank,
        agents=endpoint.agents,
        incarnation=endpoint.incarnation,
        payload_bytes=payload_bytes,
        host=hashlib.sha256(endpoint.host.encode()).digest()[:HOST_BYTES],
        port=port,
        answers=answers,
    )
