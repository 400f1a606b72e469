"""Listening: neighbours are heard, weighed and forgotten, and the own vector stays as it is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from fake_transport import FakeTransport, Network, identity

from gala.gossip.listening import Listening
from gala.gossip.node import GossipNode
from gala.gossip.transport import PeerState
from gala.gossip.wire import CPU
from gala.topology import load_topology


def group(
    topology: str, agents: int, **options: Any
) -> tuple[Network, list[GossipNode], list[Listening], torch.Tensor]:
    """Nodes that listen; row i of the returned tensor is the vector of node i."""
    network, graph = Network(agents), load_topology(topology, agents)
    vectors = torch.randn(agents, 3, generator=torch.Generator().manual_seed(7))
    heard = [Listening(vectors[rank], graph, rank) for rank in range(agents)]
    nodes = [
        GossipNode(
            rank=rank,
            topology=graph,
            vector=vectors[rank],
            transport=FakeTransport(network, rank),
            identity=identity(),
            mixer=heard[rank].on(CPU),
            **options,
        )
        for rank in range(agents)
    ]
    return network, nodes, heard, vectors


def counted(listening: Listening) -> dict[int, float]:
    """Weight of each neighbour that counts, by rank."""
    found = zip(listening.state_dict()["heard"], listening.weights.tolist(), strict=False)
    return {rank: weight for rank, weight in found if weight}


def publish(nodes: list[GossipNode], update: int, without: int = -1) -> None:
    for node in nodes:
        if node.rank != without:
            node.publish(update=update, step=0)


@pytest.mark.parametrize("topology", ["ring", "directed-ring", "one-peer-exponential"])
def test_each_round_its_neighbours_by_rank(topology: str) -> None:
    agents, graph = 4, load_topology(topology, 4)
    _, nodes, heard, vectors = group(topology, agents, max_staleness=0)
    for k in range(5):
        vectors += 1.0
        before = vectors.clone()
        publish(nodes, k + 1)
        for node in nodes:
            assert node.mix()
        assert torch.equal(vectors, before), "nothing is averaged"
        for rank, listening in enumerate(heard):
            row = graph.row(rank, k)[1]
            assert counted(listening) == pytest.approx(row)
            assert listening.vectors.shape == (len(row), 3)
            assert torch.equal(listening.vectors, vectors[sorted(row)])
            assert listening.weights.tolist() == pytest.approx([row[j] for j in sorted(row)])


def test_what_was_heard_stays_until_the_next_round() -> None:
    _, nodes, heard, vectors = group("directed-ring", 2)
    publish(nodes, 1)
    assert nodes[0].mix()
    kept = heard[0].vectors.clone()
    vectors[1] += 5.0  # a vector in the mailbox is the sender's no more
    assert not nodes[0].mix()
    assert torch.equal(heard[0].vectors, kept) and heard[0].weights.tolist() == [0.5]


@pytest.mark.parametrize("state", [PeerState.DOWN, PeerState.LEFT])
def test_who_is_gone_counts_no_more(state: PeerState) -> None:
    network, nodes, heard, _ = group("ring", 3)
    publish(nodes, 1)
    assert nodes[0].mix() and counted(heard[0]).keys() == {1, 2}
    network.states[1] = state
    publish(nodes, 2, without=1)
    nodes[0].mix()
    assert counted(heard[0]) == pytest.approx({2: 1 / 3}), "its weight stays with self"
    network.states[1] = PeerState.ACTIVE
    publish(nodes, 3)
    nodes[0].mix()
    assert counted(heard[0]).keys() == {1, 2}


def test_gone_before_the_next_round_it_counts_no_more_at_once() -> None:
    network, nodes, heard, _ = group("ring", 3)
    publish(nodes, 1)
    nodes[0].mix()
    network.states[1] = PeerState.DOWN
    assert nodes[0].peer_state(1) is PeerState.DOWN
    assert counted(heard[0]).keys() == {2} and heard[0].weights.tolist()[0] == 0


def test_what_is_not_finite_is_not_heard() -> None:
    _, nodes, heard, vectors = group("ring", 3)
    vectors[1, 0] = torch.nan
    publish(nodes, 1)
    nodes[0].mix()
    assert counted(heard[0]).keys() == {2} and bool(heard[0].vectors.isfinite().all())


def test_old_messages_count_less_where_the_topology_says_so(tmp_path: Any) -> None:
    path = tmp_path / "graph.yaml"
    path.write_text("family: ring\nweights: {kind: uniform, discount: 0.5}\n")
    graph = load_topology(str(path), 2)
    listening = Listening(torch.zeros(2), graph, 0)
    for age, weight in ((0, 0.5), (1, 0.25), (3, 0.0625)):
        listening.mix(0.5, {1: 0.5}, {1: torch.ones(2)}, {1: age})
        assert counted(listening) == pytest.approx({1: weight})


def test_a_newcomer_begins_as_a_neighbour() -> None:
    _, nodes, _, vectors = group("ring", 3)
    publish(nodes, 4, without=0)
    header = nodes[0].adopt()
    assert header is not None and torch.equal(vectors[0], vectors[header.rank])


def test_it_goes_on_from_what_it_had_heard() -> None:
    _, nodes, heard, _ = group("ring", 4)
    publish(nodes, 1)
    nodes[0].mix()
    before = heard[0].weights.clone()
    heard[0].forget(3)  # it may have ended first: what is saved must not depend on that
    assert counted(heard[0]).keys() == {1}
    state = heard[0].state_dict()
    again = Listening(torch.zeros(3), load_topology("ring", 4), 0)
    again.load_state_dict(state)
    assert torch.equal(again.vectors, heard[0].vectors)
    assert torch.equal(again.weights, before) and counted(again).keys() == {1, 3}
    for other in (
        Listening(torch.zeros(3), load_topology("directed-ring", 4), 0),  # fewer neighbours
        Listening(torch.zeros(5), load_topology("ring", 4), 0),  # other messages
    ):
        other.load_state_dict(state)
        assert counted(other) == {} and not bool(other.weights.any())
