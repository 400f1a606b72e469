"""The gossip node: fixed updates give the closed form; freshness, staleness, death and refusal."""

import random
import threading
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fake_transport import FakeTransport, Network, identity
from hypothesis import given, settings
from hypothesis import strategies as st

from gala.gossip import message
from gala.gossip.message import NEVER, Header, Refusal
from gala.gossip.mixing import mixer_of
from gala.gossip.node import GossipNode
from gala.gossip.transport import PeerState
from gala.gossip.trust import QUARANTINE
from gala.gossip.wire import wire_format
from gala.topology import load_topology


def local_group(
    topology: str, agents: int, *, size: int = 3, max_staleness: int | None = None, **options: Any
) -> tuple[Network, list[GossipNode], torch.Tensor]:
    """Nodes of a fresh local_group; row i of the returned tensor is the vector of node i."""
    network = Network(agents)
    generator = torch.Generator().manual_seed(7)
    vectors = torch.randn(agents, size, generator=generator)
    nodes = [
        GossipNode(
            rank=rank,
            topology=load_topology(topology, agents),
            vector=vectors[rank],
            transport=FakeTransport(network, rank),
            identity=identity(),
            max_staleness=max_staleness,
            **options,
        )
        for rank in range(agents)
    ]
    return network, nodes, vectors


@pytest.mark.parametrize(
    "topology", ["ring", "directed-ring", "exponential", "one-peer-exponential"]
)
@pytest.mark.parametrize("agents", [2, 4, 8])
def test_fixed_updates_in_lock_step_give_the_closed_form(topology: str, agents: int) -> None:
    _, nodes, vectors = local_group(topology, agents, max_staleness=0)
    updates = torch.randn(agents, 3, generator=torch.Generator().manual_seed(1)) * 0.1
    expected = vectors.double().numpy().copy()
    graph = load_topology(topology, agents)
    for k in range(50):
        for rank, node in enumerate(nodes):
            vectors[rank] += updates[rank]
            node.publish(update=k + 1, step=0)
        for node in nodes:
            assert node.mix()
        expected = graph.matrix(k) @ (expected + updates.double().numpy())
    np.testing.assert_allclose(vectors.double().numpy(), expected, atol=1e-6 * 50, rtol=1e-6)


def test_golden_history_of_a_directed_ring_of_three() -> None:
    """Agents start at 0, agent i adds 2^i each round, then averages with its predecessor."""
    network = Network(3)
    vectors = torch.zeros(3, 1)
    nodes = [
        GossipNode(
            rank=rank,
            topology=load_topology("directed-ring", 3),
            vector=vectors[rank],
            transport=FakeTransport(network, rank),
            identity=identity(),
            max_staleness=0,
        )
        for rank in range(3)
    ]
    history = []
    for k in range(3):
        for rank, node in enumerate(nodes):
            vectors[rank] += 2.0**rank
            node.publish(update=k + 1, step=0)
        for node in nodes:
            node.mix()
        history.append(vectors.flatten().tolist())
    # by hand, x_i <- (y_i + y_{i-1}) / 2 with y_i = x_i + 2^i:
    # y = 1, 2, 4 -> (1+4)/2, (2+1)/2, (4+2)/2
    # y = 3.5, 3.5, 7 -> (3.5+7)/2, 3.5, (7+3.5)/2
    # y = 6.25, 5.5, 9.25 -> 7.75, 5.875, 7.375
    assert history == [[2.5, 1.5, 3.0], [5.25, 3.5, 5.25], [7.75, 5.875, 7.375]]


def test_no_mix_before_every_in_neighbour_is_fresh() -> None:
    _, nodes, vectors = local_group("ring", 4)
    before = vectors[0].clone()
    nodes[0].publish(update=1, step=0)
    assert not nodes[0].mix()
    nodes[1].publish(update=1, step=0)
    assert not nodes[0].mix() and torch.equal(vectors[0], before)
    nodes[3].publish(update=1, step=0)
    assert nodes[0].mix()
    torch.testing.assert_close(vectors[0], (before + vectors[1] + vectors[3]) / 3)
    assert not nodes[0].mix(), "a message is used once"


def test_staleness_counts_updates_since_the_last_mix() -> None:
    _, nodes, _ = local_group("directed-ring", 2)
    for k in range(1, 4):
        nodes[0].publish(update=k, step=0)
        nodes[0].mix()
        assert nodes[0].staleness == k
    nodes[1].publish(update=1, step=0)
    assert nodes[0].mix() and nodes[0].staleness == 0
    assert nodes[0].mix_every == 3 and nodes[0].counters.mixes == 1


@pytest.mark.parametrize("state", [PeerState.DOWN, PeerState.LEFT])
def test_the_weight_of_the_dead_stays_with_self(state: PeerState) -> None:
    network, nodes, vectors = local_group("ring", 4)
    network.states[3] = state
    own, neighbour = vectors[0].clone(), vectors[1].clone()
    for rank in (0, 1):
        nodes[rank].publish(update=1, step=0)
    assert nodes[0].mix()
    torch.testing.assert_close(vectors[0], own * 2 / 3 + neighbour / 3)


def test_alone_among_the_dead_nothing_changes_and_nothing_waits() -> None:
    network, nodes, vectors = local_group("ring", 4, max_staleness=0)
    for rank in (1, 2, 3):
        network.states[rank] = PeerState.DOWN
    before = vectors[0].clone()
    for k in range(5):
        nodes[0].publish(update=k + 1, step=0)
        assert not nodes[0].mix()
    assert torch.equal(vectors[0], before) and nodes[0].staleness == 5


def test_the_last_message_of_the_dead_is_used_once() -> None:
    network, nodes, vectors = local_group("directed-ring", 2)
    nodes[1].publish(update=1, step=0)
    network.states[1] = PeerState.DOWN
    nodes[0].publish(update=1, step=0)
    assert nodes[0].mix()
    nodes[0].publish(update=2, step=0)
    assert not nodes[0].mix()


@pytest.mark.parametrize("reason", list(Refusal))
def test_refused_messages_are_counted_and_never_mixed(reason: Refusal) -> None:
    network, nodes, vectors = local_group("ring", 3)
    for node in nodes:
        node.publish(update=1, step=0)
    network.refuse[1] = reason
    own, good = vectors[0].clone(), vectors[2].clone()
    assert nodes[0].mix()
    torch.testing.assert_close(vectors[0], own * 2 / 3 + good / 3)
    assert nodes[0].refused == {reason: 1}
    assert not nodes[0].mix(), "a refused message is not looked at again"
    assert nodes[0].refused == {reason: 1}


def test_waiting_at_max_staleness_is_bounded() -> None:
    _, nodes, vectors = local_group("directed-ring", 2, max_staleness=1, timeout_s=0.05)
    before = vectors[0].clone()
    nodes[0].publish(update=1, step=0)
    assert not nodes[0].mix() and nodes[0].patience.waited_s == 0.0
    nodes[0].publish(update=2, step=0)
    assert not nodes[0].mix(), "the neighbour is alive but silent: go on after the timeout"
    assert nodes[0].patience.waited_s >= 0.05 and torch.equal(vectors[0], before)


def test_a_wait_can_be_aborted() -> None:
    network = Network(2)
    node = GossipNode(
        rank=0,
        topology=load_topology("directed-ring", 2),
        vector=torch.zeros(2),
        transport=FakeTransport(network, 0),
        identity=identity(),
        max_staleness=0,
        timeout_s=1e6,
        aborted=lambda: True,
    )
    node.publish(update=1, step=0)
    assert not node.mix()


def test_in_lock_step_nobody_overtakes_a_listener() -> None:
    _, nodes, _ = local_group("directed-ring", 2, max_staleness=0, timeout_s=0.05)
    nodes[0].publish(update=1, step=0)
    nodes[0].publish(update=2, step=0)  # node 1 has not taken version 1: waits, bounded
    assert nodes[0].patience.waited_s >= 0.05


def test_in_lock_step_the_last_version_is_there_until_it_is_taken() -> None:
    """Who leaves takes its mailbox along: a neighbour that is slower would mix without it."""
    network, nodes, _ = local_group("ring", 2, max_staleness=0)
    for node in nodes:
        node.publish(update=1, step=0)
    assert nodes[0].mix()
    leaving = threading.Thread(target=nodes[0].close)
    leaving.start()
    leaving.join(0.05)
    assert network.states[0] is not PeerState.LEFT
    assert nodes[1].mix()
    leaving.join()
    assert network.states[0] is PeerState.LEFT
    nodes[1].close()  # and for who has left nobody waits


def test_an_asynchronous_agent_leaves_at_once() -> None:
    network, nodes, _ = local_group("ring", 2)
    nodes[0].publish(update=1, step=0)
    nodes[0].close()
    assert network.states[0] is PeerState.LEFT


@given(st.lists(st.integers(0, 3), min_size=30, max_size=120), st.integers(0, 2**20))
@settings(max_examples=30, deadline=None)
def test_any_interleaving_stays_in_the_hull_of_the_start(order: list[int], seed: int) -> None:
    """Without updates, asynchronous averages of averages never leave the range of the start."""
    _, nodes, vectors = local_group("exponential", 4)
    low, high = vectors.min(0).values - 1e-5, vectors.max(0).values + 1e-5
    for k, rank in enumerate(order):
        nodes[rank].publish(update=k, step=0)
        nodes[rank].mix()
    assert bool(((vectors >= low) & (vectors <= high)).all())


def test_agents_agree_on_the_smallest_stop() -> None:
    _, nodes, _ = local_group("directed-ring", 5, max_staleness=0)
    nodes[3].stop_at = 9
    nodes[1].stop_at = 12
    for k in range(5):
        for node in nodes:
            node.publish(update=k + 1, step=0)
        for node in nodes:
            node.mix()
    assert [node.stop_at for node in nodes] == [9] * 5


def test_without_lock_step_a_stop_is_private() -> None:
    _, nodes, _ = local_group("ring", 3)
    nodes[1].stop_at = 9
    for node in nodes:
        node.publish(update=1, step=0)
    nodes[0].mix()
    assert nodes[0].stop_at == NEVER


def test_a_resumed_group_goes_on_in_the_same_round() -> None:
    _, nodes, vectors = local_group("one-peer-exponential", 4, max_staleness=0)
    _, whole, whole_vectors = local_group("one-peer-exponential", 4, max_staleness=0)

    def rounds(group: list[GossipNode], rows: torch.Tensor, ks: range) -> None:
        for k in ks:
            for rank, node in enumerate(group):
                rows[rank] += 0.1 * (rank + 1)
                node.publish(update=k + 1, step=0)
            for node in group:
                assert node.mix()

    rounds(whole, whole_vectors, range(7))
    rounds(nodes, vectors, range(3))
    states, saved = [node.state_dict() for node in nodes], vectors.clone()
    _, again, again_vectors = local_group("one-peer-exponential", 4, max_staleness=0, timeout_s=5.0)
    again_vectors.copy_(saved)
    for node, state in zip(again, states, strict=True):
        node.load_state_dict(state)
    rounds(again, again_vectors, range(3, 7))
    assert torch.equal(again_vectors, whole_vectors)
    assert all(node.patience.waited_s < 1.0 for node in again)


def test_counters_name_what_was_moved() -> None:
    _, nodes, vectors = local_group("ring", 3, size=10)
    for node in nodes:
        node.publish(update=1, step=8)
    nodes[0].mix()
    counters = nodes[0].counters
    assert (counters.sent, nodes[0].bytes_sent, counters.bytes_received) == (1, 40, 80)
    assert sorted(nodes[0].messages) == [1, 2] == list(nodes[0].neighbours)
    nodes[1].close()
    assert nodes[0].peer_state(1) is PeerState.LEFT


def test_a_snapshot_shows_everybody_that_can_be_read() -> None:
    network, nodes, vectors = local_group("ring", 4)
    assert set(nodes[0].snapshot()) == {0}
    for node in nodes[1:]:
        node.publish(update=1, step=0)
    network.refuse[2] = Refusal.CHECKSUM
    found = nodes[0].snapshot()
    assert set(found) == {0, 1, 3} and torch.equal(found[3], vectors[3])
    assert not nodes[0].refused and nodes[0].messages == {}


def test_a_silent_neighbour_is_suspected_and_no_longer_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [0.0]
    monkeypatch.setattr("gala.gossip.node.time.monotonic", lambda: clock[0])
    _, nodes, _ = local_group("directed-ring", 3)
    for k in range(1, 9):
        clock[0] += 1.0
        nodes[2].publish(update=k, step=k)
        nodes[0].publish(update=k, step=k)
        assert nodes[0].mix()
    clock[0] += 2.0
    assert not nodes[0].mix() and nodes[0].peer_state(2) is PeerState.ACTIVE
    clock[0] += 60.0
    assert not nodes[0].mix(), "nothing to mix, but nothing to wait for either"
    assert nodes[0].peer_state(2) is PeerState.SUSPECT
    nodes[2].publish(update=9, step=9)
    assert nodes[0].mix() and nodes[0].peer_state(2) is PeerState.ACTIVE
    assert [kind for kind, _ in nodes[0].events] == ["join", "suspect", "alive"]


def test_skip_mixes_with_those_that_are_there() -> None:
    _, nodes, vectors = local_group("ring", 4, max_staleness=1, policy="skip")
    nodes[1].publish(update=1, step=0)
    nodes[0].publish(update=1, step=0)
    assert not nodes[0].mix(), "patient at first"
    own, other = vectors[0].clone(), vectors[1].clone()
    nodes[0].publish(update=2, step=0)
    assert nodes[0].mix() and nodes[0].patience.waited_s == 0.0
    torch.testing.assert_close(vectors[0], own * 2 / 3 + other / 3)


def test_never_goes_on_for_ever() -> None:
    _, nodes, _ = local_group("directed-ring", 2, max_staleness=1, policy="never")
    for k in range(10):
        nodes[0].publish(update=k, step=0)
        assert not nodes[0].mix()
    assert nodes[0].patience.waited_s == 0.0


def test_slots_that_are_still_empty_stop_nobody() -> None:
    network, nodes, vectors = local_group("ring", 4)
    network.states[3] = PeerState.JOINING
    own, other = vectors[0].clone(), vectors[1].clone()
    for rank in (0, 1):
        nodes[rank].publish(update=1, step=0)
    assert nodes[0].mix()
    torch.testing.assert_close(vectors[0], own * 2 / 3 + other / 3)


def test_a_joiner_takes_over_parameters_and_round() -> None:
    network, nodes, vectors = local_group("one-peer-exponential", 4)
    for k in range(1, 6):
        for node in nodes[:3]:
            node.publish(update=10 * k, step=k)
            node.mix()
    joiner = GossipNode(
        rank=3,
        topology=load_topology("one-peer-exponential", 4),
        vector=vectors[3],
        transport=FakeTransport(network, 3),
        identity=identity(),
        incarnation=1,
    )
    before = nodes[2].state_dict()["version"]
    header = joiner.adopt()
    assert header is not None and header.update == 50
    assert torch.equal(vectors[3], network.messages[header.rank][1].view(torch.float32))
    assert joiner.state_dict()["round"] == header.round
    joiner.publish(update=51, step=1)
    assert network.messages[3][0].version > before, "versions grow from incarnation to incarnation"


@pytest.mark.parametrize("spoilt", [float("nan"), float("inf")])
def test_a_joiner_asks_the_next_best_when_parameters_are_not_finite(spoilt: float) -> None:
    _, nodes, vectors = local_group("ring", 3)
    vectors[1][0] = spoilt
    nodes[1].publish(update=9, step=9)
    nodes[2].publish(update=3, step=3)
    header = nodes[0].adopt()
    assert header is not None and (header.rank, header.update) == (2, 3)
    assert torch.equal(vectors[0], vectors[2])
    assert nodes[0].refused[Refusal.NON_FINITE] == 1
    assert ("refused", "agent 1 is not joined: its message holds values that are not finite") in (
        nodes[0].events
    )


def test_nobody_finite_to_adopt_from() -> None:
    _, nodes, vectors = local_group("directed-ring", 2)
    before = vectors[0].clone()
    vectors[1][-1] = float("nan")
    nodes[1].publish(update=9, step=9)
    assert nodes[0].adopt(timeout_s=0.05) is None and torch.equal(vectors[0], before)


def test_nobody_to_adopt_from() -> None:
    network, nodes, vectors = local_group("ring", 3)
    before = vectors[0].clone()
    assert nodes[0].adopt() is None
    nodes[1].publish(update=1, step=0)
    network.states[1] = PeerState.DOWN
    assert nodes[0].adopt() is None and torch.equal(vectors[0], before)


def test_a_lost_neighbour_is_refused_put_into_quarantine_and_forgiven() -> None:
    _, nodes, vectors = local_group("directed-ring", 2, trust_factor=10.0)
    for k in range(40):
        vectors[1] += 0.01
        for rank in (1, 0):
            nodes[rank].publish(update=k, step=0)
        nodes[0].mix()
    good, own = vectors[1].clone(), vectors[0].clone()
    for k in range(QUARANTINE):
        vectors[1] = 1e6
        nodes[1].publish(update=k, step=0)
        nodes[0].publish(update=k, step=0)
        assert not nodes[0].mix()
    assert torch.equal(vectors[0], own) and nodes[0].refused[Refusal.DISTANCE] == QUARANTINE
    assert nodes[0].events[-1][0] == "refused" and "quarantine" in nodes[0].events[-1][1]
    vectors[1] = good
    nodes[1].publish(update=99, step=0)
    assert nodes[0].mix() and "left quarantine" in nodes[0].events[-1][1]


def test_in_lock_step_no_clock_decides_what_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A neighbour that sends nonsense now and then, on machines of any speed, and that pause."""

    def believed(tempo: float, pause: float) -> list[bool]:
        _, nodes, vectors = local_group(
            "directed-ring", 2, max_staleness=0, trust_factor=10.0, moved=lambda: 0.01
        )
        dice, found, now = random.Random(3), [], 0.0
        for k in range(60):
            now += pause if k % 7 == 6 else tempo
            monkeypatch.setattr("gala.gossip.node.time.monotonic", partial(float, now))
            vectors[1] = vectors[0] + (10.0 ** dice.uniform(-3.0, 1.0) if k % 7 == 6 else 0.01)
            for node in nodes:
                node.publish(update=k, step=0)
            found.append(nodes[0].mix())
            nodes[1].mix()
        return found

    steady = believed(0.01, 0.01)
    assert {*steady[6::7]} == {True, False}
    assert steady == believed(0.01, 1e4) == believed(300.0, 0.01)


def test_agents_that_part_by_an_update_still_believe_one_another() -> None:
    """As with RMSProp: long first steps, then short ones, then one when the first reward comes."""
    longest = 0.0
    _, nodes, vectors = local_group("directed-ring", 2, trust_factor=10.0, moved=lambda: longest)
    for k in range(60):
        step = 5.0 if k in (0, 50) else 0.01
        longest = max(longest, step)
        vectors[1] += step
        vectors[0] -= step if k == 0 else 0.01
        for rank in (1, 0):
            nodes[rank].publish(update=k, step=0)
        assert all(node.mix() for node in nodes), f"update {k}"
    assert not any(node.refused for node in nodes)


@pytest.mark.parametrize("name", ["bfloat16", "int8"])
def test_a_smaller_wire_format_still_agrees(name: str) -> None:
    network = Network(3)
    vectors = torch.randn(3, 500, generator=torch.Generator().manual_seed(0))
    mean = vectors.mean(0)
    nodes = [
        GossipNode(
            rank=rank,
            topology=load_topology("complete", 3),
            vector=vectors[rank],
            transport=FakeTransport(network, rank),
            identity=identity(),
            wire=wire_format(name, 500),
            max_staleness=0,
        )
        for rank in range(3)
    ]
    for k in range(5):
        for node in nodes:
            node.publish(update=k, step=0)
        for node in nodes:
            node.mix()
    assert float((vectors - mean).abs().max()) < 0.02
    assert nodes[0].bytes_sent == 5 * wire_format(name, 500).payload_bytes
    assert set(nodes[0].snapshot()) == {0, 1, 2}


def test_push_sum_nodes_find_the_mean_of_an_irregular_graph(tmp_path: Path) -> None:
    path = tmp_path / "graph.yaml"
    path.write_text(
        "version: 1\nname: irregular\nagents: 3\nweights: push-sum\n"
        "edges: [[0, 1], [1, 2], [2, 0], [0, 2]]\n"
    )
    graph, network = load_topology(path, 3), Network(3)
    vectors = torch.tensor([[0.0], [3.0], [12.0]])
    nodes = [
        GossipNode(
            rank=rank,
            topology=graph,
            vector=vectors[rank],
            transport=FakeTransport(network, rank),
            identity=identity(wire=3),
            wire=wire_format("float64", 2),
            mixer=mixer_of(graph, vectors[rank]),
        )
        for rank in range(3)
    ]
    order = torch.randint(0, 3, (2000,), generator=torch.Generator().manual_seed(2)).tolist()
    for k, rank in enumerate(order):
        nodes[rank].publish(update=k, step=0)
        nodes[rank].mix()
    torch.testing.assert_close(vectors, torch.full((3, 1), 5.0), atol=1e-3, rtol=0)


def lock_step_rounds(nodes: list[GossipNode], updates: range) -> None:
    for k in updates:
        for node in nodes:
            node.publish(update=k, step=k)
        for node in nodes:
            node.mix()


def newcomer(network: Network, vector: torch.Tensor, rank: int, topology: str) -> GossipNode:
    network.states[rank] = PeerState.ACTIVE
    return GossipNode(
        rank=rank,
        topology=load_topology(topology, network.agents),
        vector=vector,
        transport=FakeTransport(network, rank),
        identity=identity(),
        max_staleness=0,
        timeout_s=0.05,
        incarnation=1,
    )


@pytest.mark.parametrize("topology", ["ring", "directed-ring", "one-peer-exponential"])
def test_a_newcomer_in_lock_step_speaks_at_the_place_that_it_takes(topology: str) -> None:
    network, nodes, vectors = local_group(topology, 4, max_staleness=0, timeout_s=0.05)
    lock_step_rounds(nodes, range(1, 5))
    others = [nodes[0], nodes[2], nodes[3]]
    for state, updates in ((PeerState.DOWN, range(5, 9)), (PeerState.JOINING, range(9, 12))):
        network.states[1] = state
        lock_step_rounds(others, updates)
    assert all(node.patience.waited_s < 0.05 for node in others), "it has not said a word"
    nodes[1] = newcomer(network, vectors[1], 1, topology)
    header = nodes[1].adopt()
    assert header is not None and (header.version, header.update) == (11, 11)
    assert network.messages[1][0].version == 11 and network.messages[1][0].incarnation == 1
    lock_step_rounds(nodes, range(12, 30))
    assert all(node.patience.waited_s < 0.05 for node in nodes)
    states = [node.state_dict() for node in nodes]
    assert all(state["version"] == state["round"] == 29 for state in states)
    nodes[0].publish(update=30, step=30)
    nodes[0].publish(update=31, step=31)
    assert nodes[0].patience.waited_s >= 0.05, "who spoke is waited for"


def test_who_joins_anew_in_rounds_of_several_updates_has_left_out_all_of_them() -> None:
    network, nodes, _ = local_group("ring", 3, max_staleness=0, timeout_s=0.05, every=4)
    lock_step_rounds(nodes, range(4, 20, 4))
    lock_step_rounds([nodes[0], nodes[2]], range(20, 80, 4))
    nodes[1].publish(update=20, step=20)
    assert nodes[1].mix() and nodes[1].jumped == 4 * 14
    assert network.messages[1][0].update == network.messages[0][0].update == 76


def test_who_was_given_up_is_not_waited_for_and_joins_anew() -> None:
    network, nodes, vectors = local_group("ring", 3, max_staleness=0, timeout_s=0.05)
    lock_step_rounds(nodes, range(1, 5))
    others = [nodes[0], nodes[2]]
    lock_step_rounds(others, range(5, 20))
    assert all(0.05 <= node.patience.waited_s < 0.7 for node in others), "once, not 15 times"
    assert ("suspect", "agent 1 was waited for in vain, until its next word") in nodes[0].events
    nodes[1].publish(update=5, step=5)
    assert nodes[1].mix() and nodes[1].jumped == 14
    assert nodes[1].state_dict()["version"] == 19
    published = [network.messages[j][1].view(torch.float32) for j in (0, 2)]
    assert any(torch.equal(vectors[1], other) for other in published)
    lock_step_rounds(nodes, range(20, 30))
    assert nodes[1].jumped == 0
    assert {node.state_dict()["version"] for node in nodes} == {29}


def test_words_that_no_message_bears_out_move_nobody() -> None:
    network, nodes, _ = local_group("ring", 3, max_staleness=0, timeout_s=0.05)
    lock_step_rounds(nodes, range(1, 5))
    network.taken[0, 1] = 2**50
    lock_step_rounds(nodes, range(5, 9))
    assert nodes[0].state_dict()["version"] == 8 and nodes[0].counters.mixes == 8


class Raw(FakeTransport):
    """Carries packed bytes, as sockets and files do, and lets a test damage them."""

    def __init__(
        self, network: Network, rank: int, files: dict[int, tuple[bytearray, Any]]
    ) -> None:
        super().__init__(network, rank)
        self.files = files

    def publish(self, header: Header, payload: torch.Tensor, to: object = None) -> None:
        self.files[self.rank] = (bytearray(header.pack()), payload.clone())
        self.network.messages[self.rank] = (header, payload)

    def latest(self, peer: int) -> tuple[Header, torch.Tensor] | None:
        head, payload = self.files[peer]
        header = message.unpack(bytes(head), identity=identity(), rank=peer)
        message.verify(header, payload)
        return header, payload


@pytest.mark.slow
@given(st.data())
@settings(max_examples=300, deadline=None)
def test_damaged_messages_never_reach_the_parameters(data: st.DataObject) -> None:
    network, files = Network(2), {}
    vectors = torch.tensor([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]])
    nodes = [
        GossipNode(
            rank=rank,
            topology=load_topology("directed-ring", 2),
            vector=vectors[rank],
            transport=Raw(network, rank, files),
            identity=identity(),
        )
        for rank in range(2)
    ]
    poison = data.draw(st.sampled_from([None, float("nan"), float("inf"), -float("inf")]))
    if poison is not None:
        vectors[1, data.draw(st.integers(0, 2))] = poison
    for node in (nodes[1], nodes[0]):
        node.publish(update=1, step=1)
    head, payload = files[1]
    if poison is None:
        target = data.draw(st.sampled_from([head, payload]))
        limit = message._BODY.size + 3 if target is head else len(payload) - 1
        target[data.draw(st.integers(0, limit))] ^= data.draw(st.integers(1, 255))
    assert not nodes[0].mix()
    assert vectors[0].tolist() == [1.0, 2.0, 3.0] and sum(nodes[0].refused.values()) == 1
