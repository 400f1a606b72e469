"""Bounds from a few long products, against brute-force products of augmented matrices."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gala.topology import load_topology
from gala.topology.analysis import windows
from gala.topology.mixing import Mixing

Floats = NDArray[np.float64]


def mixing_of(matrix: Floats) -> Mixing:
    target, source = np.nonzero(matrix - np.diag(np.diag(matrix)))
    return Mixing.of(len(matrix), source, target, matrix[target, source], np.diag(matrix).copy())


def doubly_stochastic(agents: int, generator: np.random.Generator) -> Floats:
    shares = generator.dirichlet(np.ones(4))
    matrix = shares[0] * np.eye(agents)
    for share in shares[1:]:
        matrix = matrix + share * np.eye(agents)[generator.permutation(agents)]
    return np.asarray(matrix)


def brute_force(matrices: list[Floats], delay: int, mix_every: int) -> tuple[float, float]:
    """Sums over all updates of ``||(I - J) C||_2`` and its square right after the worst mix.

    Products of the matrices on [Y(t), Y(t-1), ..., Y(t-tau)], one per update.
    """
    agents, period = len(matrices[0]), len(matrices)
    size = agents * (delay + 1)
    steps = []
    for tick in range(period * mix_every):
        step = np.zeros((size, size))
        step[agents:, :-agents] = np.eye(size - agents)
        matrix = np.eye(agents) if tick % mix_every else matrices[tick // mix_every]
        step[:agents, :agents] = np.diag(np.diag(matrix))
        step[:agents, size - agents :] += matrix - np.diag(np.diag(matrix))
        steps.append(step)
    worst = worst_squares = 0.0
    for last in range(period):
        tick = last * mix_every
        row, total, squares = steps[tick][:agents], 0.0, 0.0
        while np.abs(row - row.mean(axis=0)).max() > 1e-9:
            norm = float(np.linalg.norm(row[:, :agents] - row[:, :agents].mean(axis=0), 2))
            total, squares = total + norm, squares + norm**2
            tick -= 1
            row = row @ steps[tick % len(steps)]
        worst, worst_squares = max(worst, total), max(worst_squares, squares)
    return worst, worst_squares


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    agents=st.integers(2, 5),
    period=st.integers(1, 3),
    delay=st.integers(0, 4),
    mix_every=st.integers(1, 3),
)
def test_never_less_than_the_sum_of_all_norms(
    seed: int, agents: int, period: int, delay: int, mix_every: int
) -> None:
    generator = np.random.default_rng(seed)
    matrices = [doubly_stochastic(agents, generator) for _ in range(period)]
    rounds = [mixing_of(matrix) for matrix in matrices]
    found = windows.sum_of_norms(rounds, delay=delay, mix_every=mix_every)
    if found is None or found.rate > 0.98:
        return  # adding up would take long
    total, squares = brute_force(matrices, delay, mix_every)
    assert found.total >= total * (1 - 1e-6)
    assert found.squares >= squares * (1 - 1e-6)


@pytest.mark.parametrize("name", ["ring", "star", "line", "torus", "exponential"])
def test_without_delay_it_is_the_series_of_a_symmetric_matrix(name: str) -> None:
    matrix = load_topology(name, 12).matrix(0)
    beta = float(np.linalg.norm(matrix - 1 / 12, 2))
    found = windows.sum_of_norms([mixing_of(matrix)], delay=0, mix_every=1)
    assert found is not None
    assert beta / (1 - beta) <= found.total <= 1.05 * beta / (1 - beta)
    assert beta**2 / (1 - beta**2) <= found.squares <= 1.05 * beta**2 / (1 - beta**2)
    assert beta <= found.rate <= beta + 0.05 * (1 - beta)


@pytest.mark.parametrize(("delay", "mix_every"), [(1, 1), (2, 1), (2, 2), (3, 2)])
def test_with_delay_it_is_not_far_from_the_sum(delay: int, mix_every: int) -> None:
    matrix = load_topology("directed-ring", 6).matrix(0)
    total, squares = brute_force([matrix], delay, mix_every)
    found = windows.sum_of_norms([mixing_of(matrix)], delay=delay, mix_every=mix_every)
    assert found is not None
    assert total <= found.total <= 2 * total
    assert squares <= found.squares <= 3 * squares


def test_nothing_is_said_where_nothing_contracts(monkeypatch: pytest.MonkeyPatch) -> None:
    swap = mixing_of(np.array([[0.0, 1.0], [1.0, 0.0]]))
    monkeypatch.setattr(windows, "MAX_WORK", 1_000_000)
    assert windows.sum_of_norms([swap], delay=0, mix_every=1) is None
    assert windows.sum_of_norms([swap], delay=2, mix_every=1) is None
