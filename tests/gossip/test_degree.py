"""Messages to some of the neighbours: in turns, mixed as they come, and the ball still held."""

from __future__ import annotations

from collections import Counter

import pytest
import steered
import torch
from fake_transport import FakeEdges, FakeTransport, Network, identity
from hypothesis import given
from hypothesis import strategies as st

from gala.gossip.mixing import Averaging, among_present, without_missing
from gala.gossip.node import GossipNode
from gala.topology import load_topology


def local_group(name: str, agents: int) -> tuple[list[GossipNode], torch.Tensor, Network]:
    network, vectors = Network(agents), torch.arange(float(agents))[:, None]
    topology = load_topology(name, agents)
    nodes = [
        GossipNode(
            rank=rank,
            topology=topology,
            vector=vectors[rank],
            transport=FakeEdges(network, rank, topology.out_neighbours(rank)),
            identity=identity(),
            mixer=Averaging(vectors[rank], weigh=among_present),
            partial=True,
        )
        for rank in range(agents)
    ]
    return nodes, vectors, network


def reached(network: Network, version: int) -> list[tuple[int, int]]:
    """(sender, receiver) of the messages of a version."""
    return sorted(edge for edge, (head, _) in network.edges.items() if head.version == version)


def test_neighbours_are_sent_to_in_turns_beginning_with_the_next_rank() -> None:
    nodes, _, network = local_group("complete", 4)
    for version, receivers in enumerate(([3, 0], [1, 3], [0, 1]), start=1):
        nodes[2].publish(update=version, step=0, copies=2)
        assert reached(network, version) == sorted((2, i) for i in receivers)
    assert nodes[2].bytes_sent == 6 * 4 and nodes[2].counters.sent == 3
    for copies in (3, 9, None):
        nodes[2].publish(update=4, step=0, copies=copies)
    assert nodes[2].bytes_sent == 15 * 4 and len(reached(network, 6)) == 3


@pytest.mark.parametrize(("name", "agents"), [("complete", 5), ("exponential", 8), ("ring", 6)])
@pytest.mark.parametrize("copies", [1, 2])
def test_agents_in_step_send_to_different_ones(name: str, agents: int, copies: int) -> None:
    """So everybody receives from as many as it sends to."""
    nodes, _, network = local_group(name, agents)
    for version in range(1, 7):
        for node in nodes:
            node.publish(update=version, step=0, copies=copies)
        received = Counter(receiver for _, receiver in reached(network, version))
        assert set(received.values()) == {copies} and len(received) == agents


def test_a_copy_that_serves_all_goes_to_all() -> None:
    network, vector = Network(4), torch.zeros(1)
    topology = load_topology("complete", 4)
    node = GossipNode(
        rank=0, topology=topology, vector=vector,
        transport=FakeTransport(network, 0), identity=identity(),
    )  # fmt: skip
    assert node.copies == [(1, 2, 3)]
    node.publish(update=1, step=0, copies=1)
    assert all(FakeTransport(network, i).version(0) == 1 for i in (1, 2, 3))
    assert node.bytes_sent == 4


def test_who_was_not_sent_to_goes_on_alone() -> None:
    nodes, vectors, _ = local_group("complete", 4)
    nodes[0].publish(update=1, step=0, copies=1)
    assert nodes[1].mix() and not nodes[2].mix() and not nodes[3].mix()
    assert vectors[:, 0].tolist() == [0.0, 0.5, 2.0, 3.0]


@given(st.lists(st.floats(0, 1), min_size=2, max_size=6), st.data())
def test_weights_of_those_who_are_there(parts: list[float], data: st.DataObject) -> None:
    total = sum(parts)
    parts = [part / total for part in parts] if total > 0 else [1 / len(parts)] * len(parts)
    own, weights = parts[0], dict(enumerate(parts[1:], start=1))
    here = data.draw(st.sets(st.sampled_from(sorted(weights)), min_size=1))
    if own + sum(weights[j] for j in here) == 0:
        return  # only those without any weight are there: nothing can be told
    kept_own, kept = among_present(own, weights, here)
    assert kept.keys() == here and kept_own + sum(kept.values()) == pytest.approx(1)
    assert kept_own >= max(kept.values()) - 1e-12 and min(kept.values()) >= 0
    if here == weights.keys() and own >= max(weights.values()):
        assert kept_own == pytest.approx(own) and kept == pytest.approx(weights)
    assert without_missing(own, weights, here)[1] == {j: weights[j] for j in here}


def test_equal_weights_make_a_half_of_one_neighbour() -> None:
    assert among_present(0.25, dict.fromkeys((1, 2, 3), 0.25), {2}) == (0.5, {2: 0.5})
    assert among_present(0.0, {1: 0.5, 2: 0.5}, {1}) == (0.5, {1: 0.5})
    assert among_present(0.6, {1: 0.2, 2: 0.2}, {1}) == (
        pytest.approx(0.75),
        {1: pytest.approx(0.25)},
    )


TARGET = 0.03


def doubling(k: int) -> float:
    """Steps that double half-way, on parameters of length 10."""
    return 0.05 if k <= 300 else 0.1


@pytest.mark.parametrize(
    ("name", "agents", "share"),
    [
        pytest.param("ring", 4, 0.9, marks=pytest.mark.long),
        ("ring", 8, 1.1),  # a long ring saves nothing, and loses nothing
        pytest.param("exponential", 4, 0.9, marks=pytest.mark.long),
        ("exponential", 8, 0.95),
        pytest.param("complete", 4, 0.9, marks=pytest.mark.long),
        ("complete", 8, 0.95),
    ],
)
def test_the_radius_is_held_with_fewer_bytes_than_by_periods_alone(
    name: str, agents: int, share: float
) -> None:
    turns = steered.run(name, agents, TARGET, norm=doubling)
    alone = steered.run(name, agents, TARGET, norm=doubling, in_turns=False)
    assert turns.relative.max() <= TARGET
    assert turns.copies < share * alone.copies
    assert alone.relative.max() <= TARGET
    degree = len(load_topology(name, agents).out_neighbours(0))
    assert turns.copies < 0.5 * degree, "of all messages, less than half"
    assert turns.intervals[50:].min(axis=0).max() < 10 * turns.intervals[50:].min()


@pytest.mark.parametrize("seed", range(3))
def test_agents_agree_on_an_interval(seed: int) -> None:
    """Of neighbours in the same situation nobody sends half as often as another for long."""
    loop = steered.run("exponential", 8, TARGET, seed=seed)
    late = loop.intervals[300:]
    assert (late.max(axis=1) / late.min(axis=1)).mean() < 2.5
    assert loop.relative.max() <= TARGET


def test_a_slow_agent_is_held_too() -> None:
    loop = steered.run("complete", 4, TARGET, norm=doubling, lazy={1: 3})
    assert loop.relative.max() <= TARGET and loop.copies < 1.0


def test_agents_that_pull_apart_are_held_too() -> None:
    loop = steered.run("ring", 4, 0.1, drift=0.5)
    assert loop.relative.max() <= 1.1 * 0.1 and loop.copies < 0.5


def test_what_cannot_be_held_is_tried_with_every_message() -> None:
    loop = steered.run("complete", 4, 1e-4, updates=100)
    assert loop.copies == 3.0
    assert [(pace.degree, pace.period) for pace in loop.paces] == [(3, 1)] * 4
