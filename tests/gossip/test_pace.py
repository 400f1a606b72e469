"""Nodes that do not publish every update."""

import pytest
import torch
from fake_transport import FakeTransport, Network, identity

from gala.gossip.node import GossipNode
from gala.topology import load_topology


def local_group(partial: bool) -> tuple[list[GossipNode], torch.Tensor]:
    network, vectors = Network(3), torch.tensor([[0.0], [3.0], [9.0]])
    nodes = [
        GossipNode(
            rank=rank,
            topology=load_topology("ring", 3),
            vector=vectors[rank],
            transport=FakeTransport(network, rank),
            identity=identity(),
            partial=partial,
        )
        for rank in range(3)
    ]
    return nodes, vectors


def test_an_update_that_rests_counts_and_sends_nothing() -> None:
    nodes, _ = local_group(partial=False)
    nodes[0].rest()
    nodes[0].rest()
    nodes[0].publish(update=3, step=0)
    assert nodes[0].staleness == 3 and nodes[0].mix_every == 3
    assert nodes[0].counters.sent == 1 and nodes[0].bytes_sent == 4
    assert nodes[1].transport.version(0) == 1


def test_the_patient_wait_for_all_and_the_partial_take_what_there_is() -> None:
    for partial in (False, True):
        nodes, vectors = local_group(partial)
        nodes[1].publish(update=1, step=0)
        assert nodes[0].mix() is partial
        # the weight of the silent agent 2 stays with agent 0: 2/3 0 + 1/3 3
        assert vectors[0].item() == pytest.approx(1.0 if partial else 0.0)
    assert not nodes[0].mix(), "no message, no mix"


def test_what_is_heard_is_told_before_it_is_mixed() -> None:
    nodes, vectors = local_group(partial=False)
    told = []

    def listen(weights, received, updates):
        own = vectors[0].item()
        told.append((own, dict(weights), {j: v.item() for j, v in received.items()}, updates))

    nodes[0].before_mix = listen
    nodes[1].publish(update=5, step=0)
    nodes[2].publish(update=7, step=0)
    assert nodes[0].mix()
    third = pytest.approx(1 / 3)
    assert told == [(0.0, {1: third, 2: third}, {1: 3.0, 2: 9.0}, {1: 5, 2: 7})]
    assert vectors[0].item() == pytest.approx(4.0)


def test_a_snapshot_of_some() -> None:
    nodes, _ = local_group(partial=False)
    for node in nodes:
        node.publish(update=1, step=0)
    assert set(nodes[0].snapshot([2])) == {0, 2} and set(nodes[0].snapshot()) == {0, 1, 2}
