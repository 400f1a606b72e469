"""The object that training asks: rows, neighbours, matrices, hash, JSON, drawing."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gala.topology import Topology, load_topology

NAMES = [
    "ring",
    "directed-ring",
    "line",
    "star",
    "complete",
    "torus",
    "hypercube",
    "exponential",
    "one-peer-exponential",
]


@pytest.mark.parametrize("name", NAMES)
def test_one_agent_keeps_its_own_parameters(name: str) -> None:
    alone = load_topology(name, 1)
    assert alone.row(0, 0) == (1.0, {})
    assert alone.row(0, 12345) == (1.0, {})
    assert alone.in_neighbours(0) == alone.out_neighbours(0) == ()
    assert alone.doubly_stochastic
    assert alone.draw() == "0"


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=20, deadline=None)
@given(power=st.integers(1, 5), round=st.integers(0, 10**9))
def test_rows_are_the_rows_of_the_matrix(name: str, power: int, round: int) -> None:
    topology = load_topology(name, 2**power)
    matrix = topology.matrix(round)
    assert matrix.shape == (2**power, 2**power) and matrix.dtype == np.float64
    for rank in range(topology.agents):
        own, others = topology.row(rank, round)
        row = np.zeros(topology.agents)
        row[rank] = own
        for j, weight in others.items():
            row[j] = weight
        np.testing.assert_array_equal(row, matrix[rank])
        assert set(others) <= set(topology.in_neighbours(rank))
        assert topology.out_neighbours(rank, round) == tuple(
            j for j in range(topology.agents) if rank in topology.row(j, round)[1]
        )
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-12)
    np.testing.assert_allclose(matrix.sum(axis=0), 1, atol=1e-12)


def test_an_edge_points_from_the_publisher_to_the_one_that_averages() -> None:
    ring = load_topology("directed-ring", 4)
    assert ring.row(1, 0) == (0.5, {0: 0.5})
    assert ring.in_neighbours(1) == (0,)
    assert ring.out_neighbours(1) == (2,)


def test_rounds_repeat_after_the_period() -> None:
    topology = load_topology("one-peer-exponential", 8)
    assert topology.period == 3
    assert [topology.row(0, r)[1] for r in range(4)] == [{7: 0.5}, {6: 0.5}, {4: 0.5}, {7: 0.5}]
    assert topology.in_neighbours(0) == (4, 6, 7)  # of all rounds
    assert topology.out_neighbours(0) == (1, 2, 4)
    assert topology.out_neighbours(0, 1) == (2,)


def test_the_hash_is_of_what_it_does() -> None:
    ring = load_topology("ring", 4)
    assert len(ring.hash) == 16 and int(ring.hash, 16) >= 0
    assert ring.hash == load_topology("ring", 4).hash
    others = [
        load_topology(name, 4) for name in NAMES if name not in ("ring", "torus", "hypercube")
    ]
    assert len({ring.hash, *(other.hash for other in others)}) == len(others) + 1
    assert ring.hash != load_topology("ring", 5).hash
    # a torus and a hypercube of four are the same square
    assert load_topology("torus", 4) == load_topology("hypercube", 4)
    assert hash(load_topology("torus", 4)) == hash(load_topology("hypercube", 4))


def test_the_hash_is_the_same_in_every_process_and_version() -> None:
    """Agents on different hosts compare it: a change here breaks mixed crowds."""
    assert load_topology("directed-ring", 4).hash == "c6c8e14dbf9690e3"


def test_pickles_and_is_frozen() -> None:
    topology = load_topology("exponential", 8)
    again = pickle.loads(pickle.dumps(topology))
    assert again == topology and again.row(3, 0) == topology.row(3, 0)
    with pytest.raises(AttributeError):
        topology.agents = 9  # type: ignore[misc]


def test_json_holds_matrices_up_to_256_agents() -> None:
    data = json.loads(json.dumps(load_topology("one-peer-exponential", 4).to_json()))
    assert data["name"] == "one-peer-exponential" and data["agents"] == 4
    assert data["period"] == 2 and data["schedule"] == "one-peer" and data["weights"] == "uniform"
    np.testing.assert_array_equal(
        np.array(data["matrices"][1]), load_topology("one-peer-exponential", 4).matrix(1)
    )
    assert {(e["source"], e["target"], e["round"]) for e in data["edges"]} == {
        (i, (i + 2**r) % 4, r) for i in range(4) for r in range(2)
    }
    assert "matrices" in load_topology("ring", 256).to_json()
    assert "matrices" not in load_topology("ring", 257).to_json()


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=20, deadline=None)
@given(power=st.integers(1, 3))
def test_drawings_are_small(name: str, power: int) -> None:
    lines = load_topology(name, 2**power).draw().splitlines()
    assert 1 <= len(lines) <= 8
    assert max(map(len, lines)) <= 76


def test_drawings() -> None:
    assert load_topology("ring", 4).draw() == "0 ↔ 1 ↔ 2 ↔ 3 ↔ 0"
    assert load_topology("directed-ring", 3).draw() == "0 → 1 → 2 → 0"
    assert load_topology("line", 3).draw() == "0 ↔ 1 ↔ 2"
    assert load_topology("one-peer-exponential", 4).draw() == (
        "round 0: i ← i-1   (modulo 4)\nround 1: i ← i-2"
    )
    assert load_topology("star", 3).draw() == "0 ← 1 2   ■ □ □\n1 ← 0     □ ■ ·\n2 ← 0     □ · ■"
    long = load_topology("ring", 100).draw()
    assert len(long) <= 76 and "…" in long and long.startswith("0 ↔ 1 ")


def test_large_drawings_are_one_screen() -> None:
    for name in NAMES:
        assert len(load_topology(name, 1024).draw().splitlines()) <= 16


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 40))
def test_neighbours_are_mutual(agents: int) -> None:
    topology: Topology = load_topology("exponential", agents)
    for i in range(agents):
        assert all(i in topology.in_neighbours(j) for j in topology.out_neighbours(i))
        assert all(i in topology.out_neighbours(j) for j in topology.in_neighbours(i))


def test_topologies_need_no_torch() -> None:
    """Dashboards and laptops draw graphs too."""
    code = "import sys, gala.topology, gala.topology.command; print('torch' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "False"
