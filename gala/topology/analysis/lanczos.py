"""Largest singular value of an operator that is only known by its products.

Golub-Kahan-Lanczos without reorthogonalisation: copies of converged values appear, which does no
harm to the largest one (Paige 1971), and memory stays at a few vectors. That matters for graphs
that mix badly: a line of 10,000 agents has a gap of 1e-7 and needs thousands of steps.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Operator = Callable[[NDArray[np.float64]], NDArray[np.float64]]

MAX_STEPS = 32_768


def norm(
    apply: Operator,
    size: int,
    *,
    fixed: NDArray[np.float64] | None = None,
    tolerance: float = 1e-8,
    first: int = 32,
) -> float:
    """``max |sqrt(lambda)|`` of the positive semidefinite operator ``apply`` off one vector.

    Args:
        apply: x -> M^T M x for Float64[size].
        size: dimension.
        fixed: Float64[size] of norm one that is left out; None: the vector of equal entries.
        tolerance: stop when doubling the number of steps moves the eigenvalue by less than this
            share of it and of its distance from one, which is what bounds are made of; a share of
            1e-12 of it is always enough.
        first: steps before the first look.

    Returns:
        The largest singular value of M on vectors orthogonal to ``fixed``.
    """
    if size < 2:
        return 0.0
    vector = np.random.default_rng(0).standard_normal(size)
    _take_off(fixed, vector)
    vector /= np.sqrt(dot(vector, vector))
    previous = np.zeros(size)
    diagonal: list[float] = []
    beside: list[float] = []
    last, check = -1.0, first
    while True:
        image = apply(vector)
        _take_off(fixed, image)  # rounding leaks it back in, and it does not contract
        diagonal.append(dot(vector, image))
        image -= diagonal[-1] * vector + (beside[-1] * previous if beside else 0.0)
        length = float(np.sqrt(dot(image, image)))
        done = length <= 1e-15 * abs(diagonal[0]) or len(diagonal) >= min(4 * size + 64, MAX_STEPS)
        if done or len(diagonal) == check:
            value = largest(np.array(diagonal), np.array(beside))
            near = max(tolerance * abs(1 - value), 1e-12) * abs(value)
            if done or abs(value - last) <= near:
                return float(np.sqrt(max(value, 0.0)))
            last, check = value, 2 * check
        beside.append(length)
        previous, vector = vector, image / length


def _take_off(fixed: NDArray[np.float64] | None, vector: NDArray[np.float64]) -> None:
    vector -= vector.mean() if fixed is None else dot(fixed, vector) * fixed


def dot(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Without BLAS, whose threads wait for each other longer than such short sums take."""
    return float(np.einsum("i,i->", a, b))


def largest(diagonal: NDArray[np.float64], beside: NDArray[np.float64]) -> float:
    """Largest eigenvalue of the symmetric tridiagonal matrix, by bisection on Sturm sequences.

    Args:
        diagonal: Float64[K].
        beside: Float64[K - 1], the entries next to the diagonal.
    """
    if len(diagonal) <= 512:
        matrix = np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1)
        return float(np.linalg.eigvalsh(matrix)[-1])
    reach = np.zeros(len(diagonal))
    reach[:-1] += np.abs(beside)
    reach[1:] += np.abs(beside)
    low, high = float(diagonal.max()), float((diagonal + reach).max())
    first, squares = diagonal.tolist(), [0.0, *(beside**2).tolist()]
    probes = 64
    while high - low > 1e-15 * max(abs(high), 1.0):
        at = np.linspace(low, high, probes + 2)[1:-1]
        above = np.zeros(probes, dtype=np.bool_)  # whether some eigenvalue is above the probe
        pivot = np.ones(probes)
        for entry, square in zip(first, squares, strict=True):
            pivot = entry - at - square / pivot
            pivot = np.where(pivot == 0, -1e-300, pivot)
            above |= pivot > 0
        count = int(above.sum())
        narrowed = (at[count - 1] if count else low), (at[count] if count < probes else high)
        if narrowed == (low, high):
            break
        low, high = float(narrowed[0]), float(narrowed[1])
    return (low + high) / 2
