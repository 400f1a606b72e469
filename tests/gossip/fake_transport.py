"""A transport in a dictionary, for tests that step several nodes in one thread."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from torch import Tensor

from gala.gossip import message
from gala.gossip.message import Header, Identity, Refusal, Refused
from gala.gossip.transport import PeerState


class Network:
    """What all agents published, and knobs to break it."""

    def __init__(self, agents: int) -> None:
        self.agents = agents
        self.messages: dict[int, tuple[Header, Tensor]] = {}
        self.taken: dict[tuple[int, int], int] = {}
        self.states = dict.fromkeys(range(agents), PeerState.ACTIVE)
        self.refuse: dict[int, Refusal] = {}


class FakeTransport:
    """The view of one agent on a :class:`Network`."""

    def __init__(self, network: Network, rank: int) -> None:
        self.network, self.rank, self.copies_sent = network, rank, 0

    def publish(self, header: Header, payload: Tensor, to: Collection[int] | None = None) -> None:
        message.verify(header, payload)
        self.network.messages[self.rank] = (header, payload.clone())
        self.copies_sent += 1

    def copies(self, peers: Sequence[int]) -> list[tuple[int, ...]]:
        return [tuple(peers)]

    def steps(self, peer: int) -> int:
        found = self.network.messages.get(peer)
        return found[0].step if found else 0

    def version(self, peer: int) -> int:
        found = self.network.messages.get(peer)
        return found[0].version if found else 0

    def latest(self, peer: int) -> tuple[Header, Tensor] | None:
        if peer in self.network.refuse:
            raise Refused(self.network.refuse[peer])
        return self.network.messages.get(peer)

    def acknowledge(self, peer: int, version: int) -> None:
        self.network.taken[peer, self.rank] = version

    def acknowledged(self, peer: int) -> int:
        return self.network.taken.get((self.rank, peer), 0)

    def state(self, peer: int) -> PeerState:
        return self.network.states[peer]

    def close(self) -> None:
        self.network.states[self.rank] = PeerState.LEFT


class FakeEdges(FakeTransport):
    """Delivers along edges, a copy each, to those alone whom a message is for."""

    def __init__(self, network: Network, rank: int, out_neighbours: Sequence[int]) -> None:
        super().__init__(network, rank)
        self.out_neighbours = out_neighbours
        self.edges: dict[tuple[int, int], tuple[Header, Tensor]] = network.__dict__.setdefault(
            "edges", {}
        )

    def publish(self, header: Header, payload: Tensor, to: Collection[int] | None = None) -> None:
        message.verify(header, payload)
        copy = header, payload.clone()
        for peer in self.out_neighbours if to is None else to:
            self.edges[self.rank, peer] = copy
            self.copies_sent += 1

    def copies(self, peers: Sequence[int]) -> list[tuple[int, ...]]:
        return [(peer,) for peer in peers]

    def version(self, peer: int) -> int:
        found = self.edges.get((peer, self.rank))
        return found[0].version if found else 0

    def latest(self, peer: int) -> tuple[Header, Tensor] | None:
        return self.edges.get((peer, self.rank))


def identity(**changes: object) -> Identity:
    base = Identity(run="00" * 8, topology="11" * 8, layout="22" * 8)
    return replace(base, **changes)
