"""Which edges a round uses, and with which weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gala.divergence.bound import Contraction, contraction
from gala.errors import UserError
from gala.topology import Topology, load_topology
from gala.topology.analysis import spectrum
from gala.topology.formats.writing import write
from gala.topology.graph import (
    Graph,
    colour_edges,
    degrees,
    edge_array,
    reached,
    strongly_connected,
    symmetric,
)
from gala.topology.schedules import Schedule, rounds_of
from gala.topology.weights import WeightError, Weights, discount_by_age, weigh


def written(tmp_path: Path, text: str, agents: int) -> Topology:
    path = tmp_path / "mine.yaml"
    path.write_text(f"version: 1\n{text}\n")
    return load_topology(path, agents)


edge_sets = st.integers(2, 9).flatmap(
    lambda agents: st.tuples(
        st.just(agents),
        st.lists(
            st.tuples(st.integers(0, agents - 1), st.integers(0, agents - 1)),
            min_size=1,
            max_size=30,
        ),
    )
)


@settings(max_examples=60, deadline=None)
@given(edge_sets, st.booleans())
def test_layers_are_matchings_and_hold_every_edge_once(
    drawn: tuple[int, list[tuple[int, int]]], both: bool
) -> None:
    agents, pairs = drawn
    edges = edge_array(pairs + [(t, s) for s, t in pairs] if both else pairs)
    layers = colour_edges(edges, agents)
    assert sorted(map(tuple, edges.tolist())) == sorted(
        tuple(edge) for layer in layers for edge in layer.tolist()
    )
    for layer in layers:
        heard, listeners = degrees(layer, agents)
        assert heard.max() <= 1 and listeners.max() <= 1
        assert symmetric(layer) or not symmetric(edges)


@settings(max_examples=60, deadline=None)
@given(edge_sets)
def test_strong_connection_is_that_of_networkx(drawn: tuple[int, list[tuple[int, int]]]) -> None:
    import networkx as nx

    agents, pairs = drawn
    graph = nx.DiGraph(pairs)
    graph.add_nodes_from(range(agents))
    edges = edge_array(pairs)
    assert strongly_connected(edges, agents) == nx.is_strongly_connected(graph)
    assert set(np.flatnonzero(reached(edges, agents, 0)).tolist()) == nx.descendants(graph, 0) | {0}


def test_rotating_through_the_hypercube_gives_the_mean(tmp_path: Path) -> None:
    topology = written(tmp_path, "family: hypercube\nschedule: rotate", 8)
    assert topology.period == 3 and topology.schedule == "rotate"
    assert topology.row(0, 1) == (0.5, {2: 0.5})
    assert spectrum.beta(topology) == 0.0


def test_rotating_and_one_peer_exponential_graphs_are_the_family(tmp_path: Path) -> None:
    expected = load_topology("one-peer-exponential", 16)
    assert written(tmp_path, "family: exponential\nschedule: rotate", 16) == expected
    assert written(tmp_path, "family: exponential\nschedule: one-peer", 16) == expected
    pairs = written(tmp_path, "family: exponential\nschedule: {kind: rotate, peers: 2}", 16)
    text = "family: {kind: n-peer-exponential, peers: 2}"
    assert pairs == written(tmp_path, text, 16)


@pytest.mark.parametrize("name", ["star", "line", "torus", "complete", "bipartite-exponential"])
def test_rotation_keeps_the_mean_and_uses_every_edge(tmp_path: Path, name: str) -> None:
    topology = written(tmp_path, f"family: {name}\nschedule: rotate", 12)
    assert topology.doubly_stochastic
    assert np.array_equal(topology.edges, load_topology(name, 12).edges)
    for round in range(topology.period or 0):
        assert max(len(topology.row(i, round)[1]) for i in range(12)) <= 1


def test_one_peer_hears_exactly_one_in_turns(tmp_path: Path) -> None:
    topology = written(tmp_path, "family: star\nschedule: one-peer", 5)
    assert topology.period == 4
    for round in range(8):
        rows = [topology.row(i, round)[1] for i in range(5)]
        assert all(len(row) == 1 for row in rows)
        assert list(rows[0]) == [1 + round % 4]
    assert not topology.doubly_stochastic  # all leaves hear the hub, which hears one of them


@pytest.mark.parametrize("name", ["ring", "star", "exponential", "complete", "torus"])
def test_random_rounds_follow_the_seed(tmp_path: Path, name: str) -> None:
    def drawn(options: str) -> Topology:
        return written(tmp_path, f"family: {name}\nschedule: {options}", 8)

    topology = drawn("{kind: random, seed: 3, period: 40}")
    assert topology == drawn("{kind: random, seed: 3, period: 40}")
    assert topology != drawn("{kind: random, seed: 4, period: 40}")
    assert topology.period == 40 and drawn("random").period == 64
    assert topology.doubly_stochastic
    allowed = set(map(tuple, load_topology(name, 8).edges.tolist()))
    assert {tuple(edge) for edge in topology.edges.tolist()} <= allowed
    for round in range(40):
        assert max(len(topology.row(i, round)[1]) for i in range(8)) <= 1


def test_random_one_way_graphs_draw_one_each(tmp_path: Path) -> None:
    edges = "edges: [[0, 1], [1, 2], [2, 3], [3, 0], [0, 2], [1, 3]]"
    topology = written(tmp_path, f"{edges}\nschedule: random", 4)
    for round in range(64):
        assert [len(topology.row(i, round)[1]) for i in range(4)] == [1, 1, 1, 1]
    assert topology.row_stochastic


def test_random_rounds_have_an_exact_bound(tmp_path: Path) -> None:
    topology = written(tmp_path, "family: complete\nschedule: random", 6)
    model = contraction(topology)
    assert isinstance(model, Contraction) and model.exact
    assert model.factor == pytest.approx(spectrum.factor(topology), rel=0.02)
    # at least the factor of one round, at most that of its worst 64
    assert 1 <= model.factor < 64


def test_edges_with_rounds(tmp_path: Path) -> None:
    text = (
        "edges:\n  - {source: 0, target: 1, round: 0}\n  - {source: 1, target: 2, round: [1, 2]}\n"
        "  - [2, 0]"
    )
    topology = written(tmp_path, text, 3)
    assert topology.period == 3 and topology.schedule == "one-peer"
    assert [sorted(topology.row(i, 0)[1]) for i in range(3)] == [[2], [0], []]
    assert [sorted(topology.row(i, 2)[1]) for i in range(3)] == [[2], [], [1]]
    assert topology.row(1, 1) == (1.0, {})


def test_a_graph_without_edges_has_one_quiet_round() -> None:
    alone = Graph(agents=1, layers=())
    for kind in ("static", "rotate", "one-peer", "random"):
        assert [len(edges) for edges in rounds_of(alone, Schedule(kind=kind))] == [0]  # type: ignore[arg-type]


# --- weights ----------------------------------------------------------------------------------


@settings(max_examples=80, deadline=None)
@given(edge_sets)
def test_weights_sum_to_one(drawn: tuple[int, list[tuple[int, int]]]) -> None:
    agents, pairs = drawn
    edges = edge_array(pairs)
    for kind in ("uniform", "lazy"):
        mixing = weigh(edges, agents, Weights(kind=kind))  # type: ignore[arg-type]
        assert mixing.row_stochastic and mixing.dense().min() >= 0
    shares = weigh(edges, agents, Weights(kind="push-sum"))
    assert shares.column_stochastic
    both = edge_array(np.concatenate([edges, edges[:, ::-1]]))
    balanced = weigh(both, agents, Weights(kind="metropolis"))
    assert balanced.doubly_stochastic and balanced.symmetric


@settings(max_examples=40, deadline=None)
@given(edge_sets)
def test_metropolis_never_leaves_the_mean(drawn: tuple[int, list[tuple[int, int]]]) -> None:
    agents, pairs = drawn
    try:
        mixing = weigh(edge_array(pairs), agents, Weights(kind="metropolis"))
    except WeightError as error:
        assert error.agent is not None
    else:
        assert mixing.doubly_stochastic


def test_lazy_keeps_its_share(tmp_path: Path) -> None:
    text = "family: ring\nweights: {kind: lazy, self_weight: 0.8}"
    own, others = written(tmp_path, text, 5).row(0, 0)
    assert own == 0.8 and list(others) == [1, 4]
    assert list(others.values()) == pytest.approx([0.1, 0.1])


def test_push_sum_splits_what_a_publisher_has(tmp_path: Path) -> None:
    text = "edges: [[0, 1], [0, 2], [1, 0], [2, 0], [1, 2]]\nweights: push-sum"
    topology = written(tmp_path, text, 3)
    assert topology.push_sum and not topology.row_stochastic
    np.testing.assert_allclose(topology.matrix(0).sum(axis=0), 1)
    assert topology.row(2, 0) == (0.5, {0: pytest.approx(1 / 3), 1: pytest.approx(1 / 3)})
    # the ratio of two runs, of values and of ones, finds the mean on any graph
    values, ones = np.array([3.0, 6.0, 0.0]), np.ones(3)
    for round in range(200):
        values, ones = topology.matrix(round) @ values, topology.matrix(round) @ ones
    np.testing.assert_allclose(values / ones, 3.0)


def test_the_default_keeps_the_mean_where_it_can(tmp_path: Path) -> None:
    assert load_topology("ring", 6).weights == "uniform"
    assert load_topology("line", 6).weights == "metropolis"
    one_way = written(tmp_path, "edges: [[0, 1], [1, 2], [2, 0], [0, 2]]", 3)
    assert one_way.weights == "uniform" and not one_way.doubly_stochastic
    given = written(tmp_path, "edges: [[0, 1, 0.25], [1, 0, 0.5]]", 2)
    assert given.weights == "explicit"
    np.testing.assert_array_equal(given.matrix(0), [[0.5, 0.5], [0.25, 0.75]])


# --- old messages -----------------------------------------------------------------------------


@given(
    discount=st.floats(0.01, 1.0),
    ages=st.dictionaries(st.integers(0, 5), st.integers(0, 40)),
    share=st.floats(0.05, 0.95),
)
def test_discounted_rows_sum_to_one(discount: float, ages: dict[int, int], share: float) -> None:
    others = {1: share / 2, 4: share / 2}
    own, kept = discount_by_age(1 - share, others, ages, discount)
    assert own + sum(kept.values()) == pytest.approx(1.0)
    for j, weight in kept.items():
        assert weight == pytest.approx(others[j] * discount ** ages.get(j, 0))


def test_a_discount_is_part_of_the_topology(tmp_path: Path) -> None:
    plain = load_topology("ring", 5)
    late = written(tmp_path, "family: ring\nweights: {kind: uniform, discount: 0.5}", 5)
    assert late.discount == 0.5 and plain.discount == 1.0
    assert late != plain and late.row(0, 0) == plain.row(0, 0)
    for suffix in (".yaml", ".json", ".graphml", ".edgelist"):
        assert load_topology(write(late, tmp_path / f"late{suffix}")) == late
    with pytest.raises(UserError, match="cannot hold"):
        write(late, tmp_path / "late.npy")
    with pytest.raises(UserError, match="mine.yaml:3: weights.discount: should be less than or"):
        written(tmp_path, "family: ring\nweights: {kind: uniform, discount: 1.5}", 5)


def test_discounts_show_in_the_bound(tmp_path: Path) -> None:
    """A message of age 2 at discount 1/2 counts a quarter: as a ring of those weights."""
    ring = "family: {kind: ring, directed: true}"
    late = written(tmp_path, f"{ring}\nweights: {{kind: uniform, discount: 0.5}}", 4)
    weak = written(tmp_path, f"{ring}\nweights: {{kind: lazy, self_weight: 0.875}}", 4)
    discounted, lazy = contraction(late, delay=2), contraction(weak, delay=2)
    assert isinstance(discounted, Contraction) and isinstance(lazy, Contraction)
    assert discounted.factor == pytest.approx(lazy.factor)
    fresh = contraction(late)
    assert isinstance(fresh, Contraction)
    assert fresh.factor == pytest.approx(spectrum.factor(load_topology("directed-ring", 4)))
