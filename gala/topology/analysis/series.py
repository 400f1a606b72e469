"""Sums of norms of growing products of mixing matrices, the numbers behind every bound.

See :mod:`gala.divergence.bound` for the model with delays. The products are followed backwards in
time from the moment after a mix, for all rounds of the period at once. Matrices that share an
orthonormal basis of eigenvectors (circulant topologies, symmetric ones with equal self weights) are
followed as vectors of eigenvalues, which makes them cost next to nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Floats = NDArray[np.float64]

CHUNK = 32
"""Terms that are looked at together."""
MAX_STEPS = 65_536
MAX_WORK = 1_000_000_000
"""Multiplications that one series may cost; its tail is then extrapolated, with a margin."""
PRECISION = 1e-3
"""A series ends when its estimated tail is below this share of the total ..."""
ENOUGH = 2_048
"""... or when this many terms were added and its decay has become steady."""
AFFORDABLE = 2_000_000
"""N^3 times the number of terms whose singular values are computed one by one."""
ZERO = 1e-13


@dataclass(frozen=True, kw_only=True)
class Rounds:
    """The mixing matrices of one period, as matrices or as eigenvalues off the mean.

    Attributes:
        full: Float64[p, N, N], P of each round, or Complex128[p, N - 1], its eigenvalues.
        own: Float64[p, 1, N], the diagonal of P, or Complex128[p, 1].
        matrices: whether ``full`` holds matrices.
        column_stochastic: whether the mean is preserved.
        skew: root of the largest column sum that a matrix can have whose rows come partly from I,
            partly from P.
    """

    full: Array
    own: Array
    matrices: bool
    column_stochastic: bool
    skew: float

    @staticmethod
    def dense(full: Floats, *, delay: int) -> Rounds:
        """From Float64[p, N, N] whose rows sum to one."""
        own = np.einsum("pii->pi", full)
        sums = full.sum(axis=1)
        skew = float(np.sqrt(1 + (sums - own).max()))
        balanced = bool(np.abs(sums - 1).max() < 1e-9)
        alike = delay == 0 or bool(np.ptp(own) < 1e-12)  # the diagonal counts with delays only
        if balanced and alike and len(full) == 1 and np.allclose(full[0], full[0].T, atol=1e-12):
            values = np.linalg.eigvalsh(full[0] - 1 / full.shape[1])
            values = np.delete(
                values, np.abs(values).argmin()
            )  # the zero in place of the mean's one
            return Rounds.diagonal(values[None].astype(np.complex128), own[:, 0], skew=skew)
        return Rounds(
            full=full, own=own[:, None, :], matrices=True, column_stochastic=balanced, skew=skew
        )

    @staticmethod
    def diagonal(spectra: NDArray[np.complex128], own: Floats, *, skew: float) -> Rounds:
        """From eigenvalues Complex128[p, N - 1], without that of the mean, and self weights [p]."""
        return Rounds(
            full=spectra,
            own=own[:, None].astype(np.complex128),
            matrices=False,
            column_stochastic=True,
            skew=skew,
        )

    def discounted(self, factor: float) -> Rounds:
        """What agents give each other times ``factor``; what that leaves goes to themselves."""
        if factor == 1.0:
            return self
        own = 1 - factor * (1 - self.own)
        eye = np.eye(self.full.shape[-1]) if self.matrices else 1.0
        return replace(self, full=factor * self.others + own * eye, own=own)

    @property
    def others(self) -> Array:
        """P without its diagonal, in the shape of ``full``."""
        eye = np.eye(self.full.shape[-1]) if self.matrices else 1.0
        return np.asarray(self.full - self.own * eye)

    def norms(self, products: Array) -> Floats:
        """Float64[K, p]: ``||(I - J) C||_2`` of K terms."""
        if not self.matrices:
            return np.asarray(np.abs(products).max(axis=-1), dtype=np.float64)
        return _spectral(products - products.mean(axis=-2, keepdims=True))

    def frobenius(self, products: Array) -> Floats:
        """Float64[K, p]: Frobenius norms of the same, which are never smaller."""
        centred = products - products.mean(axis=-2, keepdims=True)
        return np.asarray(np.sqrt(np.einsum("kpij,kpij->kp", centred, centred)))


def _spectral(matrices: Array) -> Floats:
    gram = matrices @ matrices.swapaxes(-1, -2)
    return np.sqrt(np.maximum(np.linalg.eigvalsh(gram)[..., -1], 0.0))


@dataclass(frozen=True, kw_only=True)
class Series:
    """What the terms add up to.

    Attributes:
        total: their sum, for the worst round.
        squares: the sum of their squares, for the worst round.
        rate: their decay per update in the long run.
    """

    total: float
    squares: float
    rate: float


def sum_of_norms(rounds: Rounds, *, delay: int, mix_every: int) -> Series | None:
    """``sup over rounds of sum_{a>=0} ||(I - J) C_a||_2`` right after a mix.

    Args:
        rounds: of one period.
        delay: tau, age of mixed messages in updates.
        mix_every: s, updates from one mix to the next.

    Returns:
        None when the terms do not vanish: no disagreement is ever resolved.
    """
    period, size = len(rounds.full), rounds.full[0].size
    chunk = max(2, min(CHUNK, 2**22 // (period * size)))
    terms = _terms(rounds, delay, mix_every)
    window = -(-max(4 * (delay + 1), mix_every * period, CHUNK) // chunk)
    exact = radius(rounds, delay=delay, mix_every=mix_every)
    tail = _Tail(window=window, floor=0.0 if exact is None else exact ** (window * chunk))
    norms_of = _Norms(rounds)
    total = squares = np.zeros(period)
    work = period * rounds.full.shape[-1] ** (3 if rounds.matrices else 1)
    steps = max(min(MAX_STEPS, MAX_WORK // work), 4 * window * chunk)
    for step in range(0, steps, chunk):
        products = np.array([next(terms) for _ in range(chunk)])
        norms = norms_of(products, step)
        total, squares = total + norms.sum(axis=0), squares + (norms**2).sum(axis=0)
        if tail.closed(norms.sum(axis=0), total, step + chunk):
            rest = tail.rest()
            break
    else:
        if tail.decay >= 1 - 1e-9:
            return None
        rest = 1.25 * tail.rest()
    rate = tail.decay ** (1 / (tail.window * chunk))
    # as if geometric from here on: first term rest * (1 - rate), its squares decay with rate^2
    rest_squares = rest**2 * (1 - rate) / (1 + rate)
    return Series(
        total=float((total + rest).max()),
        squares=float((squares + rest_squares).max()),
        rate=rate if exact is None else exact,
    )


class _Norms:
    """``||(I - J) C||_2`` of the terms, or slightly more of late ones: singular values are dear.

    When enough were computed, Frobenius norms stand for them, times the ratio of the two, which is
    looked up afresh whenever the number of terms has grown by a twentieth.
    """

    def __init__(self, rounds: Rounds) -> None:
        self._rounds = rounds
        size = rounds.full.shape[-1] if rounds.matrices else 0
        self._dear = AFFORDABLE // (len(rounds.full) * size**3) if size else MAX_STEPS
        self._ratio, self._next = np.ones(len(rounds.full)), 0

    def __call__(self, products: Array, step: int) -> Floats:
        """Float64[K, p] for terms from number ``step`` on."""
        if step < self._dear:
            return self._rounds.norms(products)
        frobenius = self._rounds.frobenius(products)
        if step >= self._next:
            some = np.linspace(0, len(products) - 1, 4).astype(int)
            exact = self._rounds.norms(products[some])
            ratio = np.divide(exact, frobenius[some], out=np.zeros_like(exact), where=exact > 0)
            self._ratio = np.minimum(1.01 * ratio.max(axis=0), 1.0)
            self._next = step + step // 20
        return np.asarray(frobenius * self._ratio)


def radius(rounds: Rounds, *, delay: int, mix_every: int) -> float | None:
    """Decay of disagreement per update in the long run.

    Largest modulus of an eigenvalue, that of consensus left out, of the product over one period of
    the augmented matrices, to the power 1/period. These have a block for every age of a message, 0
    to ``delay``. None where they are too large to be worth it.
    """
    period, agents = len(rounds.full), rounds.full.shape[-1]
    size = agents * (delay + 1)
    if (size > 128) if rounds.matrices else (delay > 32 or period * mix_every > 256):
        return None
    eye = np.eye(agents) if rounds.matrices else np.ones(agents)
    product: Array | None = None
    for tick in range(period * mix_every):
        step = np.zeros((delay + 1, delay + 1, *eye.shape), dtype=rounds.full.dtype)
        for age in range(delay):
            step[age + 1, age] = eye
        if tick % mix_every:
            step[0, 0] = eye
        else:
            step[0, 0] = rounds.own[tick // mix_every] * eye
            step[0, delay] += rounds.others[tick // mix_every]
        blocks = (
            step.transpose(0, 2, 1, 3).reshape(size, size)
            if rounds.matrices
            else step.transpose(2, 0, 1)
        )
        product = blocks if product is None else blocks @ product
    assert product is not None
    moduli = np.sort(np.abs(np.linalg.eigvals(product)).ravel())
    largest = moduli[-2] if rounds.matrices else moduli[-1]  # the mean's own is one
    return float(largest ** (1 / (period * mix_every)))


def _terms(rounds: Rounds, delay: int, mix_every: int) -> Iterator[Array]:
    """C_0, C_1, ... right after a mix, each for all rounds of that mix.

    The parameters are kept as ``sum_j B_j Y(t - j)``; putting in ``Y(t) = X(t - 1) + U(t)`` shows
    the coefficient of U(t), which is B_0, and leads one update further back.
    """
    full, own, others = rounds.full, rounds.own, rounds.others
    nothing = np.zeros_like(full)
    blocks: deque[Array] = deque([nothing] * (delay + 1))
    blocks[0] = full - others
    blocks[delay] = blocks[delay] + others
    order = np.arange(len(full)) - 1  # the round of the next older mix, for each round of the last
    age = 0
    while True:
        yield blocks[0]
        age += 1
        first = blocks.popleft()
        blocks.append(nothing)
        if age % mix_every:
            blocks[0] = blocks[0] + first
            continue
        before = np.roll(others, -order[0], axis=0) if len(full) > 1 else others
        heard = first @ before if rounds.matrices else first * before
        kept = first * (np.roll(own, -order[0], axis=0) if len(full) > 1 else own)
        blocks[0] = blocks[0] + kept
        blocks[delay] = blocks[delay] + heard
        order = order - 1


class _Tail:
    """How the terms decay: sums over windows of several chunks; by ``floor`` per window at best."""

    def __init__(self, *, window: int, floor: float) -> None:
        self.window, self._floor = window, floor
        self.decay = 1.0
        self._filled: list[Floats] = []
        self._last: Floats | None = None
        self._rest: Floats | None = None
        self._checkpoint, self._decay_then = 0, 1.0

    def rest(self) -> Floats:
        """Estimated sum of the terms to come, Float64[p]."""
        assert self._rest is not None
        return self._rest

    def closed(self, chunk: Floats, total: Floats, count: int) -> bool:
        """Take the sum of one more chunk; whether the terms to come are known well enough."""
        if chunk.max() <= ZERO * total.max():
            self.decay = 0.0 if self._last is None else min(self.decay, 1.0)
            self._rest = np.zeros_like(chunk)
            return True
        self._filled.append(chunk)
        if len(self._filled) < self.window:
            return False
        now, before = np.sum(self._filled, axis=0), self._last
        self._filled, self._last = [], now
        if before is None:
            return False
        self.decay = max(float(np.max(now / before)), self._floor)
        if self.decay >= 1:
            return False
        self._rest = now * self.decay / (1 - self.decay)
        if bool((self._rest <= PRECISION * total).all()):
            # Complex eigenvalues make terms oscillate within a window: the little that is left is
            # rounded up, so that the bound stays one.
            self._rest = 1.5 * self._rest
            return True
        if count < max(ENOUGH, 2 * self._checkpoint):
            return False
        steady = abs(self.decay - self._decay_then) <= 2e-3 * (1 - self.decay)
        self._checkpoint, self._decay_then = count, self.decay
        return steady
