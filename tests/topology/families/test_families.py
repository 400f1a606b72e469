"""Every family: its structure, where it exists, its spectrum where that is known."""

from __future__ import annotations

import inspect
import math
import re
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gala.topology import Topology, load_topology
from gala.topology.analysis import spectrum
from gala.topology.building import build
from gala.topology.description import Description, Place
from gala.topology.families.table import FAMILIES

EVERY_SIZE = [name for name in FAMILIES if name not in ("hypercube", "bipartite-exponential")]


def family(name: str, agents: int, **options: object) -> Topology:
    return build(Description(name=name, place=Place(), family=name, options=options), agents)


@pytest.mark.parametrize("name", EVERY_SIZE)
@settings(max_examples=12, deadline=None)
@given(agents=st.integers(1, 40))
def test_every_family_is_connected_and_keeps_the_mean_at_every_size(name: str, agents: int) -> None:
    topology = family(name, agents)
    assert topology.agents == agents and topology.family == name
    assert topology.doubly_stochastic
    assert all(0 not in (edge[0] - edge[1],) for edge in topology.edges.tolist())
    beta, factor = spectrum.beta(topology), spectrum.factor(topology)
    assert beta is not None and 0 <= beta < 1
    assert factor is not None and math.isfinite(factor)


@pytest.mark.parametrize("agents", [2, 4, 8, 16, 32])
def test_hypercube(agents: int) -> None:
    topology = family("hypercube", agents)
    bits = agents.bit_length() - 1
    assert {bin(i ^ j).count("1") for i, j in topology.edges.tolist()} == {1}
    assert len(topology.edges) == agents * bits
    assert spectrum.beta(topology) == pytest.approx(1 - 2 / (1 + bits), abs=1e-12)
    assert spectrum.diameter(topology.edges, agents) == bits


@pytest.mark.parametrize("agents", [3, 4, 5, 8, 17, 64])
def test_rings(agents: int) -> None:
    both, one = family("ring", agents), family("ring", agents, directed=True)
    assert both.in_neighbours(0) == (1, agents - 1)
    assert one.in_neighbours(0) == (agents - 1,)
    assert spectrum.beta(one) == pytest.approx(math.cos(math.pi / agents))
    waves = [(1 + 2 * math.cos(2 * math.pi * k / agents)) / 3 for k in range(1, agents)]
    assert spectrum.beta(both) == pytest.approx(max(map(abs, waves)), abs=1e-12)


@pytest.mark.parametrize("agents", [2, 3, 6, 20])
def test_line_star_and_complete(agents: int) -> None:
    assert spectrum.beta(family("line", agents)) == pytest.approx(
        1 / 3 + 2 / 3 * math.cos(math.pi / agents) if agents > 2 else 0.0, abs=1e-12
    )
    star = family("star", agents, hub=1)
    assert star.in_neighbours(1) == (0, *range(2, agents)) and star.in_neighbours(0) == (1,)
    assert star.weights == ("uniform" if agents == 2 else "metropolis")
    assert spectrum.beta(star) == pytest.approx(1 - 1 / agents if agents > 2 else 0.0, abs=1e-12)
    assert spectrum.beta(family("complete", agents)) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("agents", [4, 6, 8, 10, 16, 24, 32, 100])
def test_exponential_with_an_even_number(agents: int) -> None:
    expected = 1 - 2 / (1 + math.ceil(math.log2(agents)))
    assert spectrum.beta(family("exponential", agents)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("agents", [5, 7, 9, 15, 33])
def test_exponential_with_an_odd_number_is_better(agents: int) -> None:
    beta = spectrum.beta(family("exponential", agents))
    assert beta is not None and beta < 1 - 2 / (1 + math.ceil(math.log2(agents)))


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5])
def test_one_peer_exponential_is_the_mean_after_one_period(bits: int) -> None:
    topology = family("one-peer-exponential", 2**bits)
    product = np.eye(2**bits)
    for round in range(bits):
        product = topology.matrix(round) @ product
    np.testing.assert_allclose(product, 2.0**-bits, atol=1e-15)
    assert topology.period == bits and spectrum.beta(topology) == 0.0
    assert spectrum.rounds_to_consensus(topology) == bits


@settings(max_examples=40, deadline=None)
@given(agents=st.integers(1, 60), peers=st.integers(1, 4))
def test_base_is_the_mean_after_one_period_for_every_number(agents: int, peers: int) -> None:
    topology = family("base", agents, peers=peers)
    product = np.eye(agents)
    for round in range(topology.period or 1):
        matrix = topology.matrix(round)
        product = matrix @ product
        np.testing.assert_allclose(matrix, matrix.T, atol=1e-15)
        assert max(len(topology.row(i, round)[1]) for i in range(agents)) <= peers
    np.testing.assert_allclose(product, 1 / agents, atol=1e-12)
    assert spectrum.beta(topology) == 0.0
    digits = math.log(agents, peers + 1) if agents > 1 else 0
    assert len(topology.rounds) <= 2 * digits + 2


@pytest.mark.parametrize(
    ("agents", "peers", "rounds"),
    [(3, 1, 3), (4, 1, 2), (6, 1, 4), (8, 1, 3), (9, 2, 2), (7, 6, 1)],
)
def test_base_has_the_lengths_of_the_paper(agents: int, peers: int, rounds: int) -> None:
    assert family("base", agents, peers=peers).period == rounds


def test_torus() -> None:
    topology = family("torus", 12, rows=3)
    assert topology.in_neighbours(0) == (1, 3, 4, 8)
    square = family("torus", 25)
    expected = (3 + 2 * math.cos(2 * math.pi / 5)) / 5
    assert spectrum.beta(square) == pytest.approx(expected)
    assert family("torus", 7) == family("ring", 7)


@settings(max_examples=30, deadline=None)
@given(agents=st.integers(2, 30), degree=st.integers(1, 29), seed=st.integers(0, 99))
def test_random_regular(agents: int, degree: int, seed: int) -> None:
    if degree >= agents:
        return
    topology = family("random-regular", agents, degree=degree, seed=seed)
    assert {len(topology.in_neighbours(i)) for i in range(agents)} == {degree}
    assert {len(topology.out_neighbours(i)) for i in range(agents)} == {degree}
    assert topology == family("random-regular", agents, degree=degree, seed=seed)


def test_random_regular_graphs_have_a_gap() -> None:
    """Their beta stays near 2 sqrt(d) / (d + 1) where that of rings goes to one."""
    betas = [spectrum.beta(family("random-regular", 400, degree=6, seed=s)) for s in range(3)]
    assert max(b for b in betas if b is not None) < 1.12 * 2 * math.sqrt(6) / 7


@settings(max_examples=20, deadline=None)
@given(agents=st.integers(2, 30), seed=st.integers(0, 99))
def test_random_peer(agents: int, seed: int) -> None:
    topology = family("random-peer", agents, seed=seed, period=5)
    assert topology.period == 5
    for round in range(5):
        assert all(len(topology.row(i, round)[1]) == 1 for i in range(agents))
        assert all(len(topology.out_neighbours(i, round)) == 1 for i in range(agents))


def test_seeds_change_random_families() -> None:
    for name in ("random-peer", "random-regular", "small-world", "erdos-renyi"):
        assert family(name, 24, seed=1) != family(name, 24, seed=2)


def test_n_peer_exponential_lies_between_its_relatives() -> None:
    assert family("n-peer-exponential", 16, peers=1) == family("one-peer-exponential", 16)
    assert family("n-peer-exponential", 16, peers=4) == family("exponential", 16)
    two = family("n-peer-exponential", 16, peers=2)
    assert two.period == 2 and two.in_neighbours(0) == (8, 12, 14, 15)
    assert two.row(0, 0) == (1 / 3, {14: 1 / 3, 15: 1 / 3})


def test_bipartite_exponential_joins_even_and_odd() -> None:
    topology = family("bipartite-exponential", 12)
    assert {(i - j) % 2 for i, j in topology.edges.tolist()} == {1}
    assert nx.is_bipartite(nx.Graph(topology.edges.tolist()))
    assert topology.in_neighbours(0) == (1, 3, 7)
    assert topology.in_neighbours(3) == (0, 2, 8)


def test_hierarchical_is_complete_inside_and_sparse_between() -> None:
    topology = family("hierarchical", 32, per_host=4)
    for host in range(8):
        inside = range(4 * host, 4 * host + 4)
        for i in inside:
            assert set(inside) - {i} <= set(topology.in_neighbours(i))
        crossing = [(s, t) for s, t in topology.edges.tolist() if s in inside and t not in inside]
        assert len(crossing) == 3  # hops of 1, 2 and 4 hosts
        assert len({s for s, _ in crossing}) == 3  # carried by different agents


@pytest.mark.parametrize("agents", [64, 4096])
def test_small_world_and_erdos_renyi_degrees(agents: int) -> None:
    world = family("small-world", agents, neighbours=6, rewire=0.2)
    assert len(world.edges) == 6 * agents
    chance = 2 * math.log(agents) / agents
    drawn = family("erdos-renyi", agents)
    assert len(drawn.edges) == pytest.approx(chance * agents * (agents - 1), rel=0.3)


def test_every_family_has_its_paragraph_and_its_source() -> None:
    for function in FAMILIES.values():
        what, _, source = (inspect.getdoc(function) or "").rpartition("\n\nSource: ")
        assert len(what.split()) >= 15, function
        assert re.search(r"(made for this toolkit|[12][089][0-9]{2})", source), function


def test_every_shipped_file_loads() -> None:
    folder = Path(__file__).parents[3] / "topologies"
    files = sorted(folder.glob("*.yaml"))
    assert len(files) >= 10
    for path in files:
        assert load_topology(path, 4).doubly_stochastic, path
        assert load_topology(path.stem, 4) == load_topology(path, 4)
