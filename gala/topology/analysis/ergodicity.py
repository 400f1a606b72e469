"""How fast products of row-stochastic matrices forget where they started, in any order.

The bound in :mod:`gala.divergence.bound` follows the rounds in their order. These coefficients need
no order: they hold for agents that use the rounds as they come.

References
----------
Dobrushin 1956, "Central limit theorem for non-stationary Markov chains" (the coefficient).
Seneta 1981, "Non-negative matrices and Markov chains" (products of stochastic matrices).
Jungers 2009, "The joint spectral radius" (bounds from products of bounded length).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from gala.topology.topology import Topology

Floats = NDArray[np.float64]

MAX_PRODUCTS = 20_000
MAX_WORK = 2**28
"""Multiplications up to which products are made for :func:`drift`."""


@dataclass(frozen=True, kw_only=True)
class Drift:
    """Where agents agree whose mixing does not keep the mean, and how fast.

    Attributes:
        stationary: Float64[N], how much each agent counts in what they agree on; of a schedule,
            for parameters at the start of a period.
        any_order: (lower, upper) bound on the decay of disagreement per mix in whatever order
            rounds are used, or None where there are too many rounds.
    """

    stationary: Floats
    any_order: tuple[float, float] | None


def drift(topology: Topology) -> Drift | None:
    """The coefficients of this module for a topology that is not doubly stochastic.

    None where they say nothing or cost too much: the mean is kept (also by push-sum), or a single
    product of the matrices of one period is beyond :data:`MAX_WORK`.
    """
    agents, rounds = topology.agents, len(topology.rounds)
    if topology.doubly_stochastic or topology.push_sum or rounds * agents**3 > MAX_WORK:
        return None
    matrices = [mixing.dense() for mixing in topology.rounds]
    period = np.eye(agents)
    for matrix in matrices:
        period = matrix @ period
    length = 1
    most = min(MAX_WORK // 16 // agents**3, 1000)  # products
    while length < 16 and rounds ** (length + 1) <= most:
        length += 1
    bounds = joint_spectral_radius(matrices, length=length)
    rate = dobrushin_rate(matrices, length=length)
    if bounds is not None and rate is not None:
        bounds = bounds[0], max(bounds[0], min(bounds[1], rate))
    return Drift(stationary=stationary(period), any_order=bounds)


def dobrushin(matrix: Floats) -> float:
    """``1 - min over rows i, j of sum_k min(P_ik, P_jk)``: the largest factor of any spread.

    ``max_i y_i - min_i y_i <= dobrushin(P) (max_i x_i - min_i x_i)`` for ``y = P x``, and the
    coefficient of a product is at most the product of the coefficients.

    Args:
        matrix: Float64[N, N], rows sum to one.
    """
    overlap = 1.0
    for i in range(len(matrix) - 1):
        shared = np.minimum(matrix[i], matrix[i + 1 :]).sum(axis=1)
        overlap = min(overlap, float(shared.min()))
    return max(0.0, 1.0 - overlap)


def dobrushin_rate(matrices: Sequence[Floats], *, length: int) -> float | None:
    """Per-round decay of the spread under *any* order of the ``matrices``.

    The largest coefficient of a product of ``length`` of them, to the power 1/length: after k
    rounds the spread is at most ``rate^(k - length + 1)`` of what it was. None when there are more
    than :data:`MAX_PRODUCTS` such products.

    Args:
        matrices: Float64[N, N] each, rows sum to one.
        length: rounds; longer products give smaller rates.
    """
    if len(matrices) ** length > MAX_PRODUCTS:
        return None
    worst = max(dobrushin(product) for product in _products(matrices, length))
    return float(worst ** (1 / length))


def joint_spectral_radius(matrices: Sequence[Floats], *, length: int) -> tuple[float, float] | None:
    """Bounds on the decay of disagreement per round under the worst order of the ``matrices``.

    Every product S of k of them, restricted to differences between agents, gives
    ``rho(S)^(1/k) <= radius``, and ``radius <= max over products of ||S||_2^(1/k)``. The best
    bounds over k up to ``length`` are returned; None when there are more than
    :data:`MAX_PRODUCTS` products.

    Args:
        matrices: Float64[N, N] each, rows sum to one.
        length: of the longest products.

    Returns:
        (lower, upper) bound.
    """
    if len(matrices) ** length > MAX_PRODUCTS:
        return None
    basis = _differences(len(matrices[0]))
    small = [basis.T @ matrix @ basis for matrix in matrices]
    lower, upper = 0.0, np.inf
    for k in range(1, length + 1):
        products = np.array(_products(small, k))
        radii = np.abs(np.linalg.eigvals(products)).max(axis=1)
        lower = max(lower, float(radii.max()) ** (1 / k))
        upper = min(upper, float(np.linalg.norm(products, 2, axis=(1, 2)).max()) ** (1 / k))
    return lower, upper


def stationary(matrix: Floats) -> Floats:
    """Float64[N], the weights pi with ``pi P = pi``: how much each agent counts in the limit.

    ``1/N`` each if P is doubly stochastic.

    Args:
        matrix: Float64[N, N], rows sum to one, one class of agents that hear each other.
    """
    agents = len(matrix)
    system = np.vstack([matrix.T - np.eye(agents), np.ones(agents)])
    weights = np.linalg.lstsq(system, np.append(np.zeros(agents), 1.0), rcond=None)[0]
    weights = np.maximum(weights, 0.0)  # rounding
    return np.asarray(weights / weights.sum())


def _products(matrices: Sequence[Floats], length: int) -> list[Floats]:
    products = list(matrices)
    for _ in range(length - 1):
        products = [matrix @ product for matrix in matrices for product in products]
    return products


def _differences(agents: int) -> Floats:
    """Float64[N, N - 1]: an orthonormal basis of the vectors that sum to zero."""
    return np.linalg.qr(np.eye(agents)[:, : agents - 1] - 1 / agents)[0]
