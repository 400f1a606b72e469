"""Spectra against brute force, and the report that other programs read."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gala.topology import Topology, load_topology
from gala.topology.analysis import lanczos, spectrum
from gala.topology.building import build
from gala.topology.description import Description, Place
from gala.topology.mixing import Mixing

FIELDS = [
    "name",
    "agents",
    "edges",
    "in_degree",
    "out_degree",
    "strongly_connected",
    "row_stochastic",
    "doubly_stochastic",
    "period",
    "beta",
    "gap",
    "factor",
    "diameter",
    "messages_per_update",
    "warnings",
]


def random_doubly_stochastic(agents: int, rounds: int, seed: int) -> Topology:
    generator = np.random.default_rng(seed)
    mixings = []
    for _ in range(rounds):
        shares = generator.dirichlet(np.ones(3))
        matrix = shares[0] * np.eye(agents)
        for share in shares[1:]:
            matrix = matrix + share * np.eye(agents)[generator.permutation(agents)]
        target, source = np.nonzero(matrix - np.diag(np.diag(matrix)))
        mixings.append(
            Mixing.of(agents, source, target, matrix[target, source], np.diag(matrix).copy())
        )
    return Topology(name="drawn", agents=agents, rounds=tuple(mixings))


def test_the_report_has_the_fixed_names() -> None:
    report = spectrum.report(load_topology("ring", 4))
    assert list(report)[: len(FIELDS)] == FIELDS
    assert json.loads(json.dumps(report)) == report
    assert report["edges"] == 8 and report["in_degree"] == report["out_degree"] == [2, 2, 2, 2]
    assert report["strongly_connected"] and report["row_stochastic"] and report["doubly_stochastic"]
    assert report["period"] == 1 and report["diameter"] == 2 and report["messages_per_update"] == 2
    assert report["beta"] == pytest.approx(1 / 3) and report["gap"] == pytest.approx(2 / 3)
    assert report["factor"] == pytest.approx(0.5)
    assert report["warnings"] == []


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), agents=st.integers(2, 9), rounds=st.integers(1, 4))
def test_beta_is_that_of_the_product(seed: int, agents: int, rounds: int) -> None:
    topology = random_doubly_stochastic(agents, rounds, seed)
    product = np.eye(agents)
    for round in range(rounds):
        product = topology.matrix(round) @ product
    values = np.linalg.svd(product, compute_uv=False)
    assert spectrum.sigma_2(topology) == pytest.approx(values[1], abs=1e-9)
    assert spectrum.beta(topology) == pytest.approx(values[1] ** (1 / rounds), abs=1e-6)
    factor = spectrum.factor(topology)
    if values[1] ** (1 / rounds) > 0.95:
        return  # adding up would take long
    total, worst = 0.0, 0.0
    for last in range(rounds):
        residue, total = np.eye(agents) - 1 / agents, 0.0
        for k in range(1000):
            residue = residue @ topology.matrix((last - k) % rounds)
            size = float(np.linalg.norm(residue, 2))
            total += size
            if size < 1e-10:
                break
        worst = max(worst, total)
    assert factor is not None
    if rounds > 1:
        assert factor == pytest.approx(worst, rel=0.02, abs=1e-9)
    assert factor >= worst * (1 - 2e-3) - 1e-9  # beta / (1 - beta) bounds the series of one matrix


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), agents=st.integers(2, 40))
def test_lanczos_finds_the_largest_singular_value(seed: int, agents: int) -> None:
    topology = random_doubly_stochastic(agents, 1, seed)
    mixing = topology.rounds[0]
    found = lanczos.norm(lambda x: mixing.apply_transposed(mixing.apply(x)), agents)
    expected = np.linalg.norm(mixing.dense() - 1 / agents, 2)
    assert found == pytest.approx(expected, abs=1e-7)


def test_lanczos_on_a_graph_that_hardly_mixes() -> None:
    """A gap of 3e-6 needs more steps than fit a dense tridiagonal matrix: bisection is used."""
    agents = 1000
    mixing = load_topology("line", agents).rounds[0]
    found = lanczos.norm(lambda x: mixing.apply_transposed(mixing.apply(x)), agents)
    assert 1 - found == pytest.approx(2 / 3 * (1 - math.cos(math.pi / agents)), rel=1e-4)


@given(st.integers(0, 2**32), st.integers(513, 700))
@settings(max_examples=2, deadline=None)
def test_bisection_agrees_with_eigenvalues(seed: int, size: int) -> None:
    generator = np.random.default_rng(seed)
    diagonal, beside = generator.random(size), generator.random(size - 1)
    matrix = np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1)
    assert lanczos.largest(diagonal, beside) == pytest.approx(np.linalg.eigvalsh(matrix)[-1])


@pytest.mark.parametrize("name", ["ring", "exponential", "one-peer-exponential", "torus"])
def test_ten_thousand_agents(name: str) -> None:
    topology = load_topology(name, 10_000)
    beta, factor = spectrum.beta(topology), spectrum.factor(topology)
    expected = {
        "ring": (1 + 2 * math.cos(2 * math.pi / 10_000)) / 3,
        "exponential": 1 - 2 / 15,
        "torus": (3 + 2 * math.cos(2 * math.pi / 100)) / 5,
    }
    assert beta is not None and 0.8 < beta < 1
    assert factor is not None and factor > 0
    if name in expected:
        assert 1 - beta == pytest.approx(1 - expected[name], rel=1e-5)
        assert factor == pytest.approx(beta / (1 - beta))


def family(name: str, agents: int, **options: int) -> Topology:
    return build(Description(name=name, place=Place(), family=name, options=options), agents)


@pytest.mark.parametrize("peers", [1, 2, 3])
@pytest.mark.parametrize("agents", [513, 600, 1000, 3000])
def test_the_base_graph_reaches_the_exact_mean_for_every_size(agents: int, peers: int) -> None:
    """Lanczos must not take what rounding leaves of it for a contraction."""
    topology = family("base", agents, peers=peers)
    assert spectrum.beta(topology) == 0.0
    assert spectrum.rounds_to_consensus(topology) == topology.period


@pytest.mark.parametrize(
    ("name", "agents", "options"),
    [
        ("random-peer", 40, {"period": 8}),
        ("random-peer", 40, {"period": 64}),
        ("random-peer", 40, {"period": 1100}),  # shrinks to 1e-170
        ("random-regular", 60, {}),
        ("line", 60, {}),
        ("star", 60, {}),
        ("base", 60, {}),
    ],
)
def test_sparse_and_dense_agree(
    monkeypatch: pytest.MonkeyPatch, name: str, agents: int, options: dict[str, int]
) -> None:
    dense = spectrum.beta(family(name, agents, **options))
    monkeypatch.setattr(spectrum, "DENSE", 10)
    spectrum._log_sigma_2.cache_clear()
    sparse = spectrum.beta.__wrapped__(family(name, agents, **options))
    spectrum._log_sigma_2.cache_clear()
    assert dense is not None and sparse is not None
    assert sparse == pytest.approx(dense, rel=1e-9)
    assert 1 - sparse == pytest.approx(1 - dense, rel=1e-6)


def test_large_and_not_doubly_stochastic_is_not_known(tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "mine.yaml"
    path.write_text("family: star\nweights: uniform\n")
    small, large = load_topology(path, 20), load_topology(path, 600)
    assert spectrum.beta(small) is not None and spectrum.factor(small) is None
    assert spectrum.beta(large) is None
    report = spectrum.report(large)
    assert report["beta"] is report["gap"] is report["factor"] is None
    assert any("not doubly stochastic" in warning for warning in report["warnings"])


def test_a_schedule_that_shrinks_a_lot_is_not_exact() -> None:
    """64 rounds by 0.65 leave 1e-12: rounding alone cannot tell that from the exact mean."""
    drawn = family("random-peer", 12, period=64, seed=5)
    beta = spectrum.beta(drawn)
    assert beta is not None and 0.5 < beta < 0.8
    rounds = spectrum.rounds_to_consensus(drawn)
    assert rounds is not None and 10 < rounds < 40


def test_diameters() -> None:
    assert spectrum.diameter(load_topology("directed-ring", 9).edges, 9) == 8
    assert spectrum.diameter(load_topology("complete", 9).edges, 9) == 1
    assert spectrum.diameter(load_topology("ring", 1).edges, 1) == 0
    assert spectrum.diameter(np.array([[0, 1]]), 2) is None
    large = load_topology("line", 3000)
    assert spectrum.diameter(large.edges, 3000) == 2999


def test_products_with_vectors_and_matrices_agree() -> None:
    mixing = random_doubly_stochastic(7, 1, 3).rounds[0]
    x = np.random.default_rng(0).standard_normal((7, 3))
    np.testing.assert_allclose(mixing.apply(x), mixing.dense() @ x)
    np.testing.assert_allclose(mixing.apply_transposed(x[:, 0]), mixing.dense().T @ x[:, 0])
