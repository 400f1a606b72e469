"""Coefficients that hold under any order of rounds."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gala.topology import load_topology
from gala.topology.analysis.ergodicity import (
    dobrushin,
    dobrushin_rate,
    drift,
    joint_spectral_radius,
    stationary,
)

Floats = NDArray[np.float64]


def drawn(agents: int, generator: np.random.Generator) -> Floats:
    matrix = generator.random((agents, agents)) ** 3 + np.eye(agents) * 0.1
    return np.asarray(matrix / matrix.sum(axis=1, keepdims=True))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), agents=st.integers(2, 8))
def test_dobrushin_bounds_spreads_and_multiplies(seed: int, agents: int) -> None:
    generator = np.random.default_rng(seed)
    first, second = drawn(agents, generator), drawn(agents, generator)
    x = generator.standard_normal(agents)
    assert np.ptp(first @ x) <= dobrushin(first) * np.ptp(x) + 1e-12
    assert dobrushin(second @ first) <= dobrushin(second) * dobrushin(first) + 1e-12
    # the definition: half the largest L1 distance of two rows
    rows = [np.abs(a - b).sum() / 2 for a in first for b in first]
    assert dobrushin(first) == pytest.approx(max(rows), abs=1e-12)


def test_dobrushin_extremes() -> None:
    assert dobrushin(np.eye(3)) == 1.0
    assert dobrushin(np.full((4, 4), 0.25)) == pytest.approx(0.0)
    assert dobrushin(np.ones((1, 1))) == 0.0


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_any_order_decays_by_the_rate(seed: int) -> None:
    generator = np.random.default_rng(seed)
    matrices = [drawn(4, generator) for _ in range(2)]
    rate = dobrushin_rate(matrices, length=3)
    assert rate is not None
    x = generator.standard_normal(4)
    start = np.ptp(x)
    for k in range(1, 15):
        x = matrices[int(generator.integers(2))] @ x
        assert np.ptp(x) <= rate ** (k - 2) * start + 1e-12


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32), agents=st.integers(2, 5))
def test_the_joint_spectral_radius_lies_between_its_bounds(seed: int, agents: int) -> None:
    generator = np.random.default_rng(seed)
    matrices = [drawn(agents, generator) for _ in range(2)]
    short, long = (joint_spectral_radius(matrices, length=k) for k in (2, 5))
    assert short is not None and long is not None
    assert 0 <= short[0] <= long[0] + 1e-12 <= long[1] + 2e-12 <= short[1] + 3e-12
    # a periodic order is an order: its rate is below the upper bound
    product = matrices[0] @ matrices[1]
    second = np.sort(np.abs(np.linalg.eigvals(product)))[-2]
    assert math.sqrt(second) <= long[1] + 1e-9


def test_one_symmetric_matrix_has_its_second_eigenvalue() -> None:
    bounds = joint_spectral_radius([load_topology("ring", 6).matrix(0)], length=3)
    assert bounds == pytest.approx((2 / 3, 2 / 3))


def test_one_peer_exponential_in_the_worst_order_never_agrees() -> None:
    """Only its own order reaches the mean: always the same hop of two keeps even and odd apart."""
    topology = load_topology("one-peer-exponential", 4)
    bounds = joint_spectral_radius([topology.matrix(r) for r in range(2)], length=4)
    assert bounds == pytest.approx((1.0, 1.0))


def test_the_drift_of_a_schedule(tmp_path: Path) -> None:
    """All agree on the mean by stationary weights of the parameters at the start."""
    path = tmp_path / "mine.yaml"
    path.write_text(
        "edges:\n  - {source: 0, target: 1, weight: 0.3, round: 0}\n"
        "  - {source: 1, target: 2, weight: 0.6, round: 1}\n"
        "  - {source: 2, target: 0, weight: 0.5, round: 1}\n"
    )
    topology = load_topology(path, 3)
    found = drift(topology)
    assert found is not None and found.any_order is not None
    x = np.array([1.0, 10.0, 100.0])
    expected = found.stationary @ x
    for number in range(400):
        x = topology.matrix(number) @ x
    np.testing.assert_allclose(x, expected, rtol=1e-6)
    assert 0 < found.any_order[0] <= found.any_order[1] <= 1
    assert drift(load_topology("exponential", 8)) is None


def test_too_many_products() -> None:
    matrices = [np.eye(2)] * 10
    assert dobrushin_rate(matrices, length=6) is None
    assert joint_spectral_radius(matrices, length=6) is None


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), agents=st.integers(1, 8))
def test_stationary_weights(seed: int, agents: int) -> None:
    matrix = drawn(agents, np.random.default_rng(seed))
    weights = stationary(matrix)
    np.testing.assert_allclose(weights @ matrix, weights, atol=1e-9)
    np.testing.assert_allclose(np.linalg.matrix_power(matrix, 2**30)[0], weights, atol=1e-6)
    np.testing.assert_allclose(stationary(load_topology("torus", 9).matrix(0)), 1 / 9, atol=1e-12)
