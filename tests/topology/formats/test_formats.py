"""Files of other programs: what networkx writes loads unchanged, what gala writes comes back."""

from __future__ import annotations

import json
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gala.errors import UserError
from gala.topology import Topology, load_topology
from gala.topology.formats.writing import to_networkx, write
from gala.topology.mixing import Mixing
from gala.topology.weights import Weights, weigh

FULL = [".yaml", ".json", ".graphml", ".edgelist", ".npy", ".csv"]


@st.composite
def topologies(draw: st.DrawFn) -> Topology:
    """Strongly connected schedules with arbitrary weights."""
    agents = draw(st.integers(2, 6))
    rounds = []
    for number in range(draw(st.integers(1, 3))):
        edges = {
            (s, t)
            for s, t in draw(
                st.lists(
                    st.tuples(st.integers(0, agents - 1), st.integers(0, agents - 1)), max_size=9
                )
            )
            if s != t
        }
        if number == 0:  # a circle, so that everybody is reached
            edges |= {(i, (i + 1) % agents) for i in range(agents)}
        listed = sorted(edges, key=lambda edge: edge[::-1])
        raw = np.array([draw(st.floats(0.01, 1)) for _ in listed] or np.zeros(0))
        source = np.array([s for s, _ in listed], dtype=np.int64)
        target = np.array([t for _, t in listed], dtype=np.int64)
        share = draw(st.floats(0.1, 0.95))
        weight = share * raw / np.maximum(np.bincount(target, raw, minlength=agents), 1e-9)[target]
        own = 1 - np.bincount(target, weight, minlength=agents)
        rounds.append(Mixing.of(agents, source, target, weight, own))
    return Topology(name=draw(st.text(max_size=12)), agents=agents, rounds=tuple(rounds))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(topology=topologies(), suffix=st.sampled_from(FULL))
def test_round_trips_change_nothing(
    tmp_path_factory: pytest.TempPathFactory, topology: Topology, suffix: str
) -> None:
    path = tmp_path_factory.mktemp("trip") / f"mine{suffix}"
    assert write(topology, path) == path
    again = load_topology(path, topology.agents)
    assert again == topology and again.hash == topology.hash
    assert again.doubly_stochastic == topology.doubly_stochastic
    for round in range(len(topology.rounds)):
        np.testing.assert_allclose(again.matrix(round), topology.matrix(round), atol=1e-12)


@pytest.mark.parametrize("name", ["ring", "star", "exponential", "one-peer-exponential", "base"])
@pytest.mark.parametrize("suffix", FULL)
def test_families_convert(tmp_path: Path, name: str, suffix: str) -> None:
    topology = load_topology(name, 6)
    write(topology, tmp_path / f"mine{suffix}")
    again = load_topology(tmp_path / f"mine{suffix}")
    assert again == topology
    assert again.schedule == topology.schedule
    if suffix not in (".npy", ".csv"):
        assert again.name == name


def test_one_agent_and_push_sum_convert(tmp_path: Path) -> None:
    alone = load_topology("ring", 1)
    for suffix in (".yaml", ".json", ".graphml", ".npy", ".csv", ".adjlist"):
        write(alone, tmp_path / f"one{suffix}")
        assert load_topology(tmp_path / f"one{suffix}", 1) == alone
    path = tmp_path / "sum.yaml"
    path.write_text("edges: [[0, 1], [1, 0], [1, 2], [2, 0]]\nweights: push-sum\n")
    topology = load_topology(path, 3)
    for suffix in (".yaml", ".json", ".graphml", ".edgelist", ".adjlist"):
        write(topology, tmp_path / f"sum{suffix}")
        again = load_topology(tmp_path / f"sum{suffix}")
        assert again == topology and again.push_sum
    with pytest.raises(UserError, match=r"\.npy cannot hold it: row 0: sums to"):
        write(topology, tmp_path / "sum.npy")
    assert not (tmp_path / "sum.npy").exists()


def test_formats_that_cannot_hold_it(tmp_path: Path) -> None:
    weighted = load_topology("shortcut-ring")
    with pytest.raises(UserError, match="cannot hold the weights and rounds of shortcut-ring"):
        write(weighted, tmp_path / "mine.adjlist")
    with pytest.raises(UserError, match=r"\.txt is no topology format"):
        write(weighted, tmp_path / "mine.txt")
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write(weighted, blocked / "mine.yaml")


graphs = st.integers(0, 2**32).map(
    lambda seed: nx.connected_watts_strogatz_graph(3 + seed % 7, 2, 0.4, seed=seed)
)


@settings(max_examples=25, deadline=None)
@given(graph=graphs, edges=st.sampled_from(["links", "edges"]))
def test_undirected_networkx_graphs_are_heard_both_ways(
    tmp_path_factory: pytest.TempPathFactory, graph: nx.Graph[int], edges: str
) -> None:
    folder = tmp_path_factory.mktemp("nx")
    (folder / "g.json").write_text(json.dumps(nx.node_link_data(graph, edges=edges)))
    nx.write_graphml(graph, folder / "g.graphml")
    nx.write_edgelist(graph, folder / "g.edgelist")
    nx.write_edgelist(graph, folder / "bare.edgelist", data=False)
    nx.write_adjlist(graph, folder / "g.adjlist")
    expected = {(s, t) for pair in graph.edges for s, t in (pair, pair[::-1])}
    for path in sorted(folder.iterdir()):
        topology = load_topology(path, graph.number_of_nodes())
        assert set(map(tuple, topology.edges.tolist())) == expected, path
        assert topology.doubly_stochastic


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), agents=st.integers(3, 8))
def test_directed_networkx_graphs_keep_their_direction(
    tmp_path_factory: pytest.TempPathFactory, seed: int, agents: int
) -> None:
    graph = nx.gnp_random_graph(agents, 0.3, seed=seed, directed=True)
    graph.add_edges_from((i, (i + 1) % agents) for i in range(agents))
    for s, t in graph.edges:
        graph.edges[s, t]["weight"] = 0.9 / graph.in_degree(t)
    folder = tmp_path_factory.mktemp("nx")
    (folder / "g.json").write_text(json.dumps(nx.node_link_data(graph)))
    nx.write_graphml(graph, folder / "g.graphml")
    nx.write_edgelist(graph, folder / "g.edgelist")
    nx.write_weighted_edgelist(graph, folder / "weighted.edgelist")
    for path in sorted(folder.iterdir()):
        topology = load_topology(path, agents)
        for s, t in graph.edges:
            assert topology.row(t, 0)[1][s] == pytest.approx(graph.edges[s, t]["weight"]), path
        assert topology.row(0, 0)[0] == pytest.approx(0.1)
    nx.write_adjlist(graph, folder / "g.adjlist")
    bare = load_topology(folder / "g.adjlist", agents)
    assert set(map(tuple, bare.edges.tolist())) == set(graph.edges)


def test_names_and_gaps_among_the_nodes(tmp_path: Path) -> None:
    graph = nx.relabel_nodes(nx.cycle_graph(3), {0: "ann", 1: "bob", 2: "eve"})
    (tmp_path / "g.json").write_text(json.dumps(nx.node_link_data(graph)))
    nx.write_graphml(graph, tmp_path / "g.graphml")
    for path in sorted(tmp_path.iterdir()):
        assert load_topology(path) == load_topology("ring", 3)
    grid = tmp_path / "grid.json"
    grid.write_text(json.dumps(nx.node_link_data(nx.grid_2d_graph(2, 3, periodic=True))))
    assert load_topology(grid).agents == 6
    counted = tmp_path / "one.edgelist"
    counted.write_text("# from one\n1 2\n2 3\n3 1\n")
    assert load_topology(counted) == load_topology("directed-ring", 3)


def test_names_of_grids_and_multiline_lists(tmp_path: Path) -> None:
    grid = nx.grid_2d_graph(3, 3)
    (tmp_path / "g.json").write_text(json.dumps(nx.node_link_data(grid)))
    nx.write_edgelist(grid, tmp_path / "g.edgelist")
    nx.write_adjlist(grid, tmp_path / "g.adjlist")
    nx.write_multiline_adjlist(grid, tmp_path / "m.adjlist")
    for path in sorted(tmp_path.iterdir()):
        assert len(load_topology(path, 9).edges) == 24, path
    shares = nx.DiGraph([(0, 1), (1, 2), (2, 0), (0, 2)])
    nx.set_edge_attributes(shares, 0.25, "weight")
    nx.write_multiline_adjlist(shares, tmp_path / "w.adjlist")
    assert load_topology(tmp_path / "w.adjlist").row(2, 0) == (0.5, {0: 0.25, 1: 0.25})
    (tmp_path / "w.adjlist").write_text("0 1\n1 {}\n1 0 2\n")
    with pytest.raises(UserError, match=r"w.adjlist:3: a node of a multiline .* \(write it with"):
        load_topology(tmp_path / "w.adjlist")


def test_weights_that_are_lengths(tmp_path: Path) -> None:
    """The karate club counts meetings: the message says how to leave them out, and that works."""
    club = nx.karate_club_graph()
    nx.write_edgelist(club, tmp_path / "g.edgelist")
    (tmp_path / "g.json").write_text(json.dumps(nx.node_link_data(club)))
    for path, fix in (
        ("g.edgelist", "a comment line '# weights uniform' ignores them"),
        ("g.json", "the graph attribute weights: uniform ignores them"),
    ):
        with pytest.raises(UserError) as caught:
            load_topology(tmp_path / path)
        assert fix in str(caught.value)
    lines = (tmp_path / "g.edgelist").read_text()
    (tmp_path / "g.edgelist").write_text("# weights uniform\n" + lines)
    club.graph["weights"] = "uniform"
    (tmp_path / "g.json").write_text(json.dumps(nx.node_link_data(club)))
    assert load_topology(tmp_path / "g.edgelist") == load_topology(tmp_path / "g.json", 34)


def test_names_with_spaces_and_parallel_edges_are_explained(tmp_path: Path) -> None:
    path = tmp_path / "g.edgelist"
    nx.write_edgelist(nx.path_graph(["New York", "San Jose"]), path)
    with pytest.raises(UserError, match=r"names with spaces need .json or .graphml"):
        load_topology(path)
    nx.write_edgelist(nx.MultiGraph([(0, 1), (0, 1)]), path)
    with pytest.raises(UserError, match=r"networkx.Graph\(g\) keeps one of parallel edges"):
        load_topology(path)


def test_graph_attributes(tmp_path: Path) -> None:
    graph = nx.path_graph(4)
    graph.graph.update(weights="metropolis", name="my path")
    for s, t in graph.edges:
        graph.edges[s, t]["weight"] = 17.0  # a length, say
    (tmp_path / "g.json").write_text(json.dumps(nx.node_link_data(graph)))
    nx.write_graphml(graph, tmp_path / "g.graphml")
    for path in sorted(tmp_path.iterdir()):
        topology = load_topology(path, 4)
        assert topology.name == "my path" and topology == load_topology("line", 4)


def test_graphml_of_editors(tmp_path: Path) -> None:
    """Defaults of attributes hold for edges that do not say; mixed directions are refused."""
    path = tmp_path / "g.graphml"
    head = '<graphml><key id="w" for="edge" attr.name="weight" attr.type="double"><default>0.25'
    head += '</default></key><graph edgedefault="directed"><node id="b"/><node id="a"/>'
    edges = '<edge source="a" target="b"/><edge source="b" target="a"%s><data key="w">0.5</data>'
    path.write_text(head + edges % "" + "</edge></graph></graphml>")
    topology = load_topology(path)
    assert topology.row(0, 0) == (0.75, {1: 0.25}) and topology.row(1, 0) == (0.5, {0: 0.5})
    path.write_text(head + edges % ' directed="false"' + "</edge></graph></graphml>")
    with pytest.raises(UserError, match="directed=false edge found in directed graph"):
        load_topology(path)


def test_our_json_is_networkx_json(tmp_path: Path) -> None:
    topology = load_topology("one-peer-exponential", 4)
    graph = nx.node_link_graph(topology.to_json())
    assert isinstance(graph, nx.MultiDiGraph) and graph.number_of_edges() == 8
    path = tmp_path / "topology.json"
    path.write_text(json.dumps(topology.to_json()))
    assert load_topology(path, 4) == topology
    static = to_networkx(load_topology("star", 4))
    assert isinstance(static, nx.DiGraph) and static.edges[0, 1]["weight"] == 0.25


def test_yaml_fields_in_json(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text('{"version": 1, "family": {"kind": "ring", "directed": true}}')
    assert load_topology(path, 5) == load_topology("directed-ring", 5)


def test_matrices(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("# half and half\n0.5, 0.5\n0.25, 0.75\n")
    np.testing.assert_allclose(load_topology(path, 2).matrix(0), [[0.5, 0.5], [0.25, 0.75]])
    swap = np.array([[0.25, 0.75], [0.75, 0.25]], dtype=np.float32)
    np.save(tmp_path / "two.npy", np.stack([swap, swap[::-1]]))
    two = load_topology(tmp_path / "two.npy", 2)
    assert two.period == 2
    np.testing.assert_allclose(two.matrix(1), swap[::-1])
    np.save(tmp_path / "int.npy", np.eye(1, dtype=np.int64))
    assert load_topology(tmp_path / "int.npy", 1).row(0, 0) == (1.0, {})


def test_large_edge_lists_load(tmp_path: Path) -> None:
    topology = load_topology("exponential", 2000)
    write(topology, tmp_path / "large.edgelist")
    assert load_topology(tmp_path / "large.edgelist", 2000) == topology
    with pytest.raises(UserError, match="limit for .yaml"):
        write(load_topology("exponential", 6000), tmp_path / "large.yaml")


def test_symmetric_weights_survive_weighing() -> None:
    """The remainder that a file leaves to self is what the family computes directly."""
    ring = load_topology("ring", 7).rounds[0]
    edges = np.stack([ring.source, ring.target], axis=1)
    np.testing.assert_allclose(
        weigh(edges, 7, Weights(kind="uniform")).dense(), ring.dense(), atol=1e-15
    )
