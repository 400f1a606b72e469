"""Windows of virtual time give what the real nodes do, event by event."""

import numpy as np
import pytest
from event_by_event import run_nodes
from hypothesis import given, settings
from hypothesis import strategies as st
from script import Script

from gala.simulation.asynchronous import Asynchronous
from gala.simulation.links import Links, Wiring
from gala.simulation.scenario import Scenario
from gala.simulation.tally import Tally
from gala.topology import load_topology

FAMILIES = ["ring", "directed-ring", "exponential", "one-peer-exponential", "star", "random-peer"]


def simulated(topology, durations, updates, scenario):
    generator = np.random.default_rng(0)
    wiring = Wiring.of(topology)
    links = Links(wiring, scenario, shortest_s=durations.min(), generator=generator)
    run = Asynchronous(
        topology,
        scenario,
        wiring=wiring,
        durations=Script(durations),
        steps=Script(updates),
        links=links,
        tally=Tally(1.0),
        generator=generator,
    )
    return run, links, run.run()


def compare(name: str, agents: int, seed: int, each: int = 25, **conditions) -> None:
    topology = load_topology(name, agents)
    dice = np.random.default_rng(seed)
    speeds = dice.uniform(0.5, 2.0, (agents, 1))
    durations = speeds * dice.uniform(0.5, 1.5, (agents, 12 * each))
    updates = dice.standard_normal((agents, 12 * each, 3))
    send_s = conditions.pop("send_s", 0.0)
    scenario = Scenario(
        updates=each,
        dimension=3,
        parameters=250_000,  # 8 Mbit
        bandwidth_mbit=8 / send_s if send_s else None,
        **conditions,
    )
    run, links, end = simulated(topology, durations, updates, scenario)
    x, staleness, sends, end_of_nodes = run_nodes(
        topology, durations, updates, total=agents * each, latency_s=scenario.latency_s,
        send_s=scenario.send_s, max_staleness=scenario.max_staleness, policy=scenario.policy,
    )  # fmt: skip
    assert end == pytest.approx(end_of_nodes)
    np.testing.assert_allclose(run.agents.x, x, rtol=1e-9, atol=1e-9)
    seen = run._tally.seen
    assert seen.total == len(staleness)
    np.testing.assert_allclose(
        seen.shares(), np.bincount(staleness, minlength=1) / len(staleness), atol=1e-12
    )
    # what is begun at the very end may count on one side only
    np.testing.assert_allclose(links.sends, sends, atol=1)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("latency_s", [0.0, 0.3, 4.0])
def test_identical_to_the_nodes(name: str, latency_s: float) -> None:
    compare(name, 6, 1, latency_s=latency_s)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("send_s", [0.05, 0.4, 3.0])
def test_identical_with_slow_links(name: str, send_s: float) -> None:
    compare(name, 6, 2, latency_s=0.2, send_s=send_s)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("max_staleness", [1, 2, 5])
def test_identical_when_agents_wait(name: str, max_staleness: int) -> None:
    compare(name, 6, 3, latency_s=0.2, max_staleness=max_staleness)


@pytest.mark.parametrize("max_staleness", [1, 3])
def test_identical_when_agents_skip_the_missing(max_staleness: int) -> None:
    compare("ring", 7, 4, latency_s=0.7, max_staleness=max_staleness, policy="skip")


@given(
    name=st.sampled_from(FAMILIES),
    agents=st.integers(2, 9),
    seed=st.integers(0, 2**31),
    latency_s=st.floats(0.0, 3.0),
    send_s=st.sampled_from([0.0, 0.11, 0.9]),
    max_staleness=st.sampled_from([None, 1, 4]),
)
@settings(max_examples=60, deadline=None)
def test_identical_under_any_conditions(
    name: str,
    agents: int,
    seed: int,
    latency_s: float,
    send_s: float,
    max_staleness: int | None,
) -> None:
    compare(
        name, agents, seed, each=12, latency_s=latency_s, send_s=send_s,
        max_staleness=max_staleness,
    )  # fmt: skip


def test_by_hand_two_agents_of_different_speed() -> None:
    """Agent 0 needs 1 s, agent 1 needs 2.5 s; each update adds 1 to agent 0 and 10 to agent 1."""
    topology = load_topology("directed-ring", 2)
    durations = np.array([[1.0] * 9, [2.5] * 9])
    updates = np.array([[[1.0]] * 9, [[10.0]] * 9])
    scenario = Scenario(updates=3, dimension=1)
    run, _, end = simulated(topology, durations, updates, scenario)
    # t=1: 1, t=2: 2 (nothing arrived)   t=2.5: 10 mixes with 2 -> 6
    # t=3: 3 mixes with 10 -> 6.5 (the message is from before the mix)   t=4: 7.5
    # t=5 (both, publish first): agent 0: 8.5 with 16, agent 1: 16 with 8.5, both 12.25
    assert end == 5.0
    assert run.agents.x.ravel().tolist() == [12.25, 12.25]
    shares = run._tally.seen.shares()  # 1, 2, [0], [0], 1, [0], [0]
    np.testing.assert_allclose(shares, [4 / 7, 2 / 7, 1 / 7])


def test_old_messages_count_less_with_a_discount(tmp_path) -> None:
    path = tmp_path / "graph.yaml"
    path.write_text(
        "version: 1\nname: old\nagents: 2\nfamily: {kind: ring, directed: true}\n"
        "weights: {kind: uniform, discount: 0.5}\n"
    )
    topology = load_topology(path, 2)
    durations = np.array([[1.0] * 9, [2.5] * 9])
    updates = np.array([[[1.0]] * 9, [[10.0]] * 9])
    run, _, _ = simulated(topology, durations, updates, Scenario(updates=2, dimension=1))
    # t=2.5: agent 1 knows no gap of its own yet (age 1): 3/4 10 + 1/4 2 = 8
    # t=3: agent 0, gaps of 1 s, message 0.5 s old: age 1, weight 1/4: 3/4 3 + 1/4 10 = 4.75
    assert run.agents.x.ravel().tolist() == [4.75, 8.0]
