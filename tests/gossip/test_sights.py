"""What an agent in lock-step sees of a neighbour that speaks up just then."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from fake_transport import FakeTransport, Network, identity

from gala.gossip import message
from gala.gossip.message import Header
from gala.gossip.notes import Notes
from gala.gossip.patience import Patience
from gala.gossip.sights import Sights
from gala.gossip.transport import PeerState
from gala.topology import load_topology


class Interrupted(FakeTransport):
    """Something happens after the state of a neighbour was read, once."""

    then: Callable[[], None] | None = None

    def state(self, peer: int) -> PeerState:
        found = super().state(peer)
        then, self.then = self.then, None
        if then is not None:
            then()
        return found


def speak(network: Network, rank: int, version: int) -> None:
    """As every transport: who has no word yet signs first."""
    network.states[rank] = PeerState.ACTIVE
    payload = torch.zeros(4, dtype=torch.uint8)
    header = Header(identity=identity(), rank=rank, version=version, update=1, step=0, time=1.0)
    FakeTransport(network, rank).publish(message.sealed(header, payload), payload)


@pytest.fixture
def sights() -> tuple[Network, Interrupted, Sights]:
    """Agent 0 of a directed ring of three, which agent 1 hears and agent 2 is heard by."""
    network = Network(3)
    network.states = dict.fromkeys(range(3), PeerState.JOINING)
    transport = Interrupted(network, 0)
    patience = Patience(60.0, update_s=lambda: 1.0, asked=lambda: False, aborted=lambda: False)
    topology = load_topology("directed-ring", 3)
    return network, transport, Sights(transport, topology, 0, patience, Notes())


def test_a_founder_that_speaks_up_while_it_is_looked_at_is_waited_for(
    sights: tuple[Network, Interrupted, Sights],
) -> None:
    """It would else look like one that has come back, and its first mix would lack a message."""
    network, transport, seen = sights
    (hearer,) = load_topology("directed-ring", 3).out_neighbours(0)
    transport.then = lambda: speak(network, hearer, 1)
    assert seen.lacking_taking(1, [hearer]) == {hearer}
    assert seen.lacking_taking(1, [hearer]) == {hearer}
    network.taken[0, hearer] = 1
    assert seen.lacking_taking(1, [hearer]) == set()


def test_one_that_comes_back_is_not_waited_for_before_its_first_word(
    sights: tuple[Network, Interrupted, Sights],
) -> None:
    network, transport, seen = sights
    (hearer,) = load_topology("directed-ring", 3).out_neighbours(0)
    speak(network, hearer, 5)
    assert seen.lacking_taking(6, [hearer]) == {hearer}
    network.states[hearer] = PeerState.JOINING
    assert seen.lacking_taking(6, [hearer]) == set()
    transport.then = lambda: speak(network, hearer, 6)
    assert seen.lacking_taking(6, [hearer]) == set(), "it joined when it was looked at"
    assert seen.lacking_taking(6, [hearer]) == {hearer}
