"""Messages under way, by hand."""

import numpy as np
import pytest

from gala.errors import UserError
from gala.simulation.links import Links, Wiring, expand, unroll
from gala.simulation.scenario import Scenario
from gala.topology import load_topology


def links(name: str = "star", agents: int = 4, **conditions) -> tuple[Wiring, Links]:
    wiring = Wiring.of(load_topology(name, agents))
    scenario = Scenario(updates=1, dimension=1, parameters=250_000, **conditions)
    generator = np.random.default_rng(0)
    return wiring, Links(wiring, scenario, shortest_s=1.0, generator=generator)


def publish(found: Links, agent: int, time: float, value: float, until: float | None = None):
    found.publish(
        np.array([agent]),
        np.array([time]),
        np.array([[value]]),
        updates=np.array([1]),
        rounds=np.array([0]),
        until=None if until is None else np.array([until]),
    )


def edge(wiring: Wiring, source: int, target: int) -> np.ndarray:
    return np.flatnonzero((wiring.source == source) & (wiring.target == target))


def test_tables_of_uneven_rows() -> None:
    starts = np.array([0, 2, 2, 5])
    entries, owner = expand(starts, np.array([2, 1, 0, 2]))
    assert entries.tolist() == [2, 3, 4, 0, 1, 2, 3, 4]
    assert owner.tolist() == [0, 0, 0, 2, 2, 3, 3, 3]
    entries, owner = unroll(np.array([2, 0, 3]))
    assert entries.tolist() == [0, 1, 0, 1, 2] and owner.tolist() == [0, 0, 2, 2, 2]


@pytest.mark.parametrize("name", ["star", "one-peer-exponential", "hierarchical"])
def test_the_wiring_is_the_topology(name: str) -> None:
    topology = load_topology(name, 8)
    wiring = Wiring.of(topology)
    for round in range(len(topology.rounds) + 1):
        matrix = np.zeros((8, 8))
        edges, entries, owner = wiring.rows(np.arange(8), np.full(8, round))
        assert (wiring.target[edges] == owner).all()
        matrix[owner, wiring.source[edges]] = wiring.row_weights[entries]
        expected = topology.matrix(round)
        np.fill_diagonal(expected, 0.0)
        np.testing.assert_array_equal(matrix, expected)
    for agent in range(8):
        received = wiring.in_edges[wiring.in_starts[agent] : wiring.in_starts[agent + 1]]
        assert sorted(wiring.source[received]) == list(topology.in_neighbours(agent))


def test_the_newest_message_that_has_arrived() -> None:
    wiring, found = links(latency_s=2.5)
    one = edge(wiring, 0, 1)
    for k in range(4):
        publish(found, 0, float(k), 10.0 * k)

    def newest(time: float) -> int:
        return int(found.fresh(one, np.array([time]))[0])

    assert [newest(t) for t in (2.4, 2.5, 3.4, 3.5, 9.0)] == [0, 1, 1, 2, 4]
    assert found.payload(one, np.array([2])).item() == 10.0
    assert found.published_at(one, np.array([3])).item() == 2.0
    assert found.first_arrival(one).item() == 2.5
    found.used[one] = 2
    assert newest(3.5) == 0 and newest(5.0) == 3 and found.first_arrival(one).item() == 4.5


@pytest.mark.parametrize("told", [False, True])
def test_a_slow_link_serves_its_out_neighbours_in_turns(told: bool) -> None:
    """The hub of a star with 3 out-neighbours; one message takes 1 s of its link."""
    wiring, found = links(bandwidth_mbit=8.0)
    publish(found, 0, 0.0, 1.0, until=1.5 if told else None)  # to 1 from 0 s, to 2 from 1 s
    publish(found, 0, 1.5, 2.0, until=9.0 if told else None)  # to 3 from 2 s, to 1, to 2
    edges = np.concatenate([edge(wiring, 0, j) for j in (1, 2, 3)])

    def newest(time: float) -> list[int]:
        return found.fresh(edges, np.full(3, time)).tolist()

    assert newest(0.9) == [0, 0, 0] and newest(1.0) == [1, 0, 0] and newest(2.0) == [1, 1, 0]
    # version 1 was never sent to 3; with `until` a version is known by its first message
    assert newest(3.0) == [1, 1, 2] and newest(4.0) == [2, 1, 2] and newest(5.0) == [2, 2, 2]
    found.settle(3.5)
    assert found.sends[0] == 4  # the one to 1 has begun at 3 s


def test_the_dead_finish_what_they_began_and_no_more() -> None:
    wiring, found = links(bandwidth_mbit=8.0)
    publish(found, 0, 0.0, 1.0)
    found.die(np.array([0]), np.array([1.5]))
    edges = np.concatenate([edge(wiring, 0, j) for j in (1, 2, 3)])
    assert found.fresh(edges, np.full(3, 99.0)).tolist() == [1, 1, 0]
    found.settle(99.0)
    assert found.sends[0] == 2


def test_lost_messages_do_not_arrive() -> None:
    wiring, found = links("directed-ring", 2000, loss=0.25)
    everybody = np.arange(2000)
    found.publish(
        everybody, np.zeros(2000), np.zeros((2000, 1)), updates=everybody, rounds=everybody
    )
    arrived = found.fresh(everybody, np.full(2000, 1.0)) > 0
    assert arrived.mean() == pytest.approx(0.75, abs=0.04)
    assert found.sends.sum() == 2000  # sent they were


def test_jitter_spreads_arrivals() -> None:
    _, found = links("directed-ring", 2000, latency_s=1.0, jitter_s=2.0)
    everybody = np.arange(2000)
    found.publish(
        everybody, np.zeros(2000), np.zeros((2000, 1)), updates=everybody, rounds=everybody
    )
    arrival = found.first_arrival(everybody)
    assert 1.0 <= arrival.min() < 1.1 and 2.9 < arrival.max() <= 3.0


def test_links_that_are_far_too_slow_are_refused() -> None:
    with pytest.raises(UserError, match="far too slow"):
        links("complete", 300, bandwidth_mbit=0.01, max_staleness=1)
