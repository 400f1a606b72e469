from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from edges import IDENTITY

from gala.gossip import message
from gala.gossip.membership import PeerState
from gala.gossip.message import Header
from gala.gossip.tcp.peer import Peer


@dataclass
class FakeLink:
    incarnation: int = 0
    preferred: bool = True
    since: float = 0.0
    is_cut: bool = False

    def wake(self) -> None: ...

    def cut(self) -> None:
        self.is_cut = True


def make_peer(*, inbound: bool) -> Peer:
    return Peer(1, inbound=inbound, outbound=True, payload_bytes=8)


@pytest.mark.parametrize("inbound", [True, False])
def test_connection_that_crossed_the_goodbye_does_not_bring_a_neighbour_back(inbound: bool) -> None:
    peer, first = make_peer(inbound=inbound), FakeLink()
    assert peer.admit(first)
    peer.leave(first)
    peer.lose(first)
    assert not peer.admit(FakeLink())
    assert peer.state is PeerState.LEFT


@pytest.mark.parametrize("inbound", [True, False])
def test_next_incarnation_comes_back_after_a_goodbye(inbound: bool) -> None:
    peer, first = make_peer(inbound=inbound), FakeLink()
    peer.admit(first)
    peer.leave(first)
    peer.lose(first)
    assert peer.admit(FakeLink(incarnation=1))
    assert peer.state is (PeerState.JOINING if inbound else PeerState.ACTIVE)


def test_goodbye_over_a_connection_that_was_replaced_is_not_believed() -> None:
    peer, old, new = make_peer(inbound=False), FakeLink(), FakeLink(incarnation=1)
    peer.admit(old)
    assert peer.admit(new) and old.is_cut
    peer.leave(old)
    assert peer.state is PeerState.ACTIVE


def receive(peer: Peer, link: FakeLink, version: int, value: float) -> torch.Tensor:
    """A message comes over ``link``; returns the memory that it lies in."""
    payload = peer.lend()
    payload.view(torch.float32).fill_(value)
    header = Header(identity=IDENTITY, rank=1, version=version, update=version, step=0, time=1.0)
    if not peer.receive(message.sealed(header, payload), payload, link):
        peer.give_back(payload)
    return payload


def test_memory_of_a_message_under_way_belongs_to_its_connection() -> None:
    """One that was replaced may still write for a moment: into memory that nobody reads."""
    peer, old, new = make_peer(inbound=True), FakeLink(), FakeLink()
    peer.admit(old)
    half = peer.lend()
    peer.admit(new)
    receive(peer, new, 1, 1.0)
    held = peer.latest()
    receive(peer, new, 2, 2.0)
    half.view(torch.float32).fill_(666.0)  # the old one goes on
    assert held is not None and (held[1].view(torch.float32) == 1.0).all()
    latest = peer.latest()
    assert latest is not None and (latest[1].view(torch.float32) == 2.0).all()
    assert half.data_ptr() not in (held[1].data_ptr(), latest[1].data_ptr())


def test_message_over_a_connection_that_was_replaced_is_not_taken() -> None:
    peer, old, new = make_peer(inbound=True), FakeLink(), FakeLink()
    peer.admit(old)
    peer.admit(new)
    receive(peer, old, 9, 9.0)
    assert peer.latest() is None and peer.version == 0


def test_memory_is_used_again() -> None:
    peer, link = make_peer(inbound=True), FakeLink()
    peer.admit(link)
    used = set()
    for version in range(1, 50):
        used.add(receive(peer, link, version, float(version)).data_ptr())
        peer.latest()
        lent = peer.lend()  # a connection that ends in the middle of a message
        used.add(lent.data_ptr())
        peer.give_back(lent)
    assert len(used) <= 4
