"""A transport in a dictionary, for tests that step several nodes in one thread."""

from __future__ import annotations

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
        self.network, self.rank = network, rank

    def publish(self, header: Header, payload: Tensor) -> None:
        message.verify(header, payload)
        self.network.messages[self.rank] = (header, payload.clone())

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


def identity(**changes: object) -> Identity:
    base = Identity(run="00" * 8, topology="11" * 8, layout="22" * 8)
    return replace(base, **changes)
