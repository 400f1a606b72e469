"""Lock-step under virtual time: parameters of the real nodes, times by hand."""

import numpy as np
import pytest
import torch
from script import Script

from gala.gossip.in_process import InProcessTransport, LocalGroup
from gala.gossip.message import Identity
from gala.gossip.node import GossipNode
from gala.gossip.wire import Exact
from gala.simulation.links import Wiring
from gala.simulation.lock_step import LockStep
from gala.simulation.scenario import Scenario
from gala.simulation.tally import Tally
from gala.topology import load_topology


def run(topology, durations: np.ndarray, updates: np.ndarray, **conditions):
    scenario = Scenario(
        updates=updates.shape[1], dimension=updates.shape[2], max_staleness=0,
        parameters=250_000, **conditions,
    )  # fmt: skip
    found = LockStep(
        topology,
        scenario,
        wiring=Wiring.of(topology),
        durations=Script(durations),
        steps=Script(updates),
        tally=Tally(0.0),
        generator=np.random.default_rng(0),
    )
    return found, found.run()


@pytest.mark.parametrize("name", ["ring", "star", "one-peer-exponential", "exponential"])
@pytest.mark.parametrize("agents", [2, 5, 8])
def test_identical_to_the_nodes(name: str, agents: int) -> None:
    topology = load_topology(name, agents)
    dice = np.random.default_rng(agents)
    durations = dice.uniform(0.5, 2.0, (agents, 12))
    updates = dice.standard_normal((agents, 12, 3))
    local_group = LocalGroup(range(agents))
    identity = Identity(run="00" * 8, topology=topology.hash, layout="22" * 8, wire=3)
    vectors = torch.zeros(agents, 3, dtype=torch.float64)
    nodes = [
        GossipNode(
            rank=rank,
            topology=topology,
            vector=vectors[rank],
            transport=InProcessTransport(rank=rank, local_group=local_group, identity=identity),
            identity=identity,
            wire=Exact(3, torch.float64),
            max_staleness=0,
        )
        for rank in range(agents)
    ]
    for k in range(12):
        vectors += torch.from_numpy(updates[:, k])
        for node in nodes:
            node.publish(update=k + 1, step=0)
        for node in nodes:
            node.mix()
    found, _ = run(topology, durations, updates, latency_s=0.1, bandwidth_mbit=100)
    np.testing.assert_allclose(found.x, vectors.numpy(), rtol=1e-12, atol=1e-12)


def test_the_slowest_sets_the_pace() -> None:
    topology = load_topology("complete", 3)
    durations = np.array([[1.0, 3.0, 1.0], [2.0, 1.0, 1.0], [1.0, 1.0, 4.0]])
    _, end = run(topology, durations, np.zeros((3, 3, 1)))
    assert end == 2.0 + 3.0 + 4.0


def test_messages_and_answers_take_their_time() -> None:
    topology = load_topology("directed-ring", 2)
    _, end = run(topology, np.ones((2, 3)), np.zeros((2, 3, 1)), latency_s=0.25)
    # done at 1, mixed at 1.25; done at 2.25 (the answer came at 1.5), mixed at 2.5; 3.75
    assert end == pytest.approx(3.75)
    _, end = run(topology, np.ones((2, 3)), np.zeros((2, 3, 1)), bandwidth_mbit=16)
    assert end == pytest.approx(3 * 1.5)  # 8 Mbit take half a second


def test_a_slow_hub_is_waited_for_by_all() -> None:
    topology = load_topology("star", 4)
    found, end = run(topology, np.ones((4, 1)), np.zeros((4, 1, 1)), bandwidth_mbit=8)
    assert end == pytest.approx(4.0)  # the hub sends 3 messages of 1 s, one after the other
    assert found.sends == 6


def test_a_lost_message_costs_the_timeout_twice() -> None:
    topology = load_topology("directed-ring", 2)
    found, end = run(topology, np.ones((2, 2)), np.ones((2, 2, 1)), loss=1 - 1e-12, timeout_s=7.0)
    # done 1, gives up 8; done 9, its own message was never taken: published 16, gives up 23
    assert end == pytest.approx(23.0)
    assert found.x.ravel().tolist() == [2.0, 2.0] and found._tally.between.total == 0


def test_the_dead_come_back_as_copies() -> None:
    topology = load_topology("ring", 30)
    dice = np.random.default_rng(1)
    found, _ = run(
        topology, np.ones((30, 80)), dice.standard_normal((30, 80, 2)), churn=0.02, restart_s=2.5
    )
    assert 20 < found._tally.deaths < 90
    assert np.isfinite(found.x).all() and max(found._tally.divergence) < 100


def test_divergence_is_what_linear_algebra_says() -> None:
    """Independent updates of norm 1: ``E||X - Xbar||^2 = sum_a ||(I - J) P^a||_F^2``."""
    topology = load_topology("directed-ring", 8)
    dice = np.random.default_rng(2)
    updates = dice.standard_normal((8, 4000, 16))
    updates /= np.linalg.norm(updates, axis=2, keepdims=True)
    found, _ = run(topology, np.ones((8, 4000)), updates)
    matrix, power, total = topology.matrix(0) - 1 / 8, np.eye(8) - 1 / 8, 0.0
    for _ in range(400):
        power = matrix @ power
        total += np.linalg.norm(power) ** 2
    measured = np.mean(np.square(found._tally.divergence[200:]))
    assert measured == pytest.approx(total, rel=0.1)
