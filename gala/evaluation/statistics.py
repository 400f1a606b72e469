"""Statistics of few runs: interquartile mean, stratified bootstrap, performance profiles, tests.

After Agarwal et al. 2021, "Deep reinforcement learning at the edge of the statistical precipice"
(arXiv 2108.13264). Scores are Float[..., R, T]: R independent runs (seeds) of each of T tasks; the
statistics reduce the last two axes, leading axes are a batch. With one task T is 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Statistic = Callable[[Array], Array]


class Interval(NamedTuple):
    """A point estimate with its confidence interval; scalars or arrays of one shape."""

    value: Array
    low: Array
    high: Array


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Returns of a set of episodes."""

    count: int
    mean: float
    standard_error: float | None
    smallest: float
    largest: float


def summarize(returns: ArrayLike) -> Summary:
    """Mean, standard error, smallest and largest of episode returns, Float[N] with N >= 1."""
    values = _finite(returns)
    if values.ndim != 1 or not values.size:
        raise ValueError(f"returns must be a non-empty list, got shape {values.shape}")
    return Summary(
        count=values.size,
        mean=float(values.mean()),
        standard_error=standard_error(values),
        smallest=float(values.min()),
        largest=float(values.max()),
    )


def standard_error(values: ArrayLike) -> float | None:
    """Standard error of the mean, ``s / sqrt(N)`` with N - 1 in s; None for fewer than two."""
    array = _finite(values)
    if array.size < 2:
        return None
    return float(array.std(ddof=1) / math.sqrt(array.size))


# -- statistics of a score matrix


def mean(scores: ArrayLike) -> Array:
    """Mean of all scores, Float[..., R, T] -> Float[...]."""
    return np.asarray(_matrix(scores).mean(axis=(-2, -1)))


def median(scores: ArrayLike) -> Array:
    """Median over tasks of the mean over runs, as benchmarks used to report it."""
    return np.asarray(np.median(_matrix(scores).mean(axis=-2), axis=-1))


def iqm(scores: ArrayLike) -> Array:
    """Interquartile mean: the mean of the middle half of all R x T scores.

    A quarter of the scores, rounded down, is left out at each end: less noisy than the median,
    less ruled by outliers than the mean (Agarwal et al. 2021, section 4.3).
    """
    matrix = _matrix(scores)
    flat = np.sort(matrix.reshape(*matrix.shape[:-2], -1), axis=-1)
    cut = flat.shape[-1] // 4
    return np.asarray(flat[..., cut : flat.shape[-1] - cut].mean(axis=-1))


def optimality_gap(scores: ArrayLike, target: float = 1.0) -> Array:
    """How far scores fall short of ``target`` on average; what is above it counts as it."""
    return np.asarray(target - np.minimum(_matrix(scores), target).mean(axis=(-2, -1)))


def performance_profile(scores: ArrayLike, thresholds: ArrayLike) -> Array:
    """Share of runs, averaged over tasks, with a score above each threshold.

    ``F(tau) = 1/T sum_t 1/R sum_r [x_rt > tau]`` (Agarwal et al. 2021, equation 4.1).

    Args:
        scores: Float[..., R, T].
        thresholds: Float[K].

    Returns:
        Float[..., K], falling from 1 to 0 along ascending thresholds.
    """
    matrix, taus = _matrix(scores), _finite(thresholds)
    flat = np.sort(matrix.reshape(-1, matrix.shape[-2] * matrix.shape[-1]), axis=-1)
    at_most = np.stack([np.searchsorted(row, taus, side="right") for row in flat])
    profile = 1.0 - at_most / flat.shape[-1]
    return np.asarray(profile.reshape(*matrix.shape[:-2], taus.size))


def probability_of_improvement(x: ArrayLike, y: ArrayLike) -> Array:
    """Probability that a run of X beats a run of Y on a random task; a tie counts one half.

    ``P(X > Y) = 1/T sum_t 1/(R R') sum_r sum_r' S(x_rt, y_r't)`` (Agarwal et al. 2021, section
    4.3), the Mann-Whitney statistic averaged over tasks.

    Args:
        x: Float[..., R, T].
        y: Float[..., R', T], the same tasks in the same order.
    """
    left, right = _matrix(x), _matrix(y)
    if left.shape[-1] != right.shape[-1]:
        raise ValueError(f"x has {left.shape[-1]} tasks, y has {right.shape[-1]}")
    difference = left[..., :, None, :] - right[..., None, :, :]
    return np.asarray((np.sign(difference) * 0.5 + 0.5).mean(axis=(-3, -2, -1)))


# -- tests


def rank_sum_p(x: ArrayLike, y: ArrayLike) -> float:
    """Two-sided p-value of the exact Wilcoxon-Mann-Whitney test that X and Y are of one kind.

    The share of all ways to split the R + R' runs in which the sum of the ranks of the first R is
    at least as far from its mean as it is; tied runs share their mean rank (Hollander, Wolfe and
    Chicken 2014, "Nonparametric statistical methods", section 4.1). No share is smaller than
    :func:`smallest_p`.

    Args:
        x: Float[R], one task.
        y: Float[R'].
    """
    left, right = _finite(x), _finite(y)
    every = np.concatenate([left, right])
    if left.ndim != 1 or right.ndim != 1 or not left.size or not right.size:
        raise ValueError(f"x and y must be lists of runs, got {left.shape} and {right.shape}")
    ordered = np.sort(every)
    # doubled, so that mean ranks are whole numbers
    ranks = np.searchsorted(ordered, every, "left") + np.searchsorted(ordered, every, "right") + 1
    ways = np.zeros((left.size + 1, int(ranks.sum()) + 1))  # by runs taken and sum of their ranks
    ways[0, 0] = 1.0
    for rank in ranks:
        for taken in range(left.size, 0, -1):
            ways[taken, rank:] += ways[taken - 1, : ways.shape[1] - rank]
    # both times R + R', so that the mean is a whole number, too
    distance = np.abs(np.arange(ways.shape[1]) * every.size - ranks.sum() * left.size)
    measured = abs(int(ranks[: left.size].sum()) * every.size - ranks.sum() * left.size)
    return float(ways[-1][distance >= measured].sum() / ways[-1].sum())


def smallest_p(x: int, y: int) -> float:
    """The smallest p-value that so many runs can give, where none are tied."""
    return min(1.0, 2.0 / math.comb(x + y, x))


def holm(p: ArrayLike) -> Array:
    """P-values, Float[T], as they count where T tests are made at once (Holm 1979).

    Whoever calls those at most 0.05 findings makes a mistake with probability 0.05 at most.
    """
    values = _finite(p)
    order = np.argsort(values, kind="stable")
    weighed = values[order] * (values.size - np.arange(values.size))
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(np.maximum.accumulate(weighed), 1.0)
    return adjusted


# -- confidence

COVERAGE = {2: 0.49, 3: 0.75, 4: 0.87, 5: 0.90, 6: 0.90, 7: 0.91, 8: 0.93, 9: 0.93}
"""How often a 95 % interval of :func:`bootstrap` for the :func:`iqm` of so few runs holds the true
one, measured: experiments/results/coverage.md, normal scores. Of two and three runs the
interval goes from the smallest to the largest."""


def coverage(runs: int) -> float | None:
    """What a nominal 95 % interval of ``runs`` runs really covers.

    None for one run, which has none, and from ten on, where it is within 2 points of what it says.
    """
    return COVERAGE.get(runs)


def bootstrap(
    statistic: Callable[..., Array],
    *scores: ArrayLike,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Percentile confidence interval of a statistic by the stratified bootstrap.

    Runs are drawn with replacement within each task, independently of the other tasks (Agarwal et
    al. 2021, section 4.2), so that a task never loses its weight. Leading axes share the draws:
    in Float[K, R, T] a run is drawn with all its K values.

    Args:
        statistic: reduces the last two axes of as many score matrices as are given, e.g.
            :func:`iqm` of one or :func:`probability_of_improvement` of two.
        scores: Float[..., R, T] each, resampled independently of one another.
        confidence: of the interval, above 0 and below 1.
        resamples: bootstrap samples.
        seed: of the draws; the same seed gives the same interval.
    """
    assert 0 < confidence < 1 and resamples > 0, (confidence, resamples)
    matrices = [_matrix(each) for each in scores]
    generator = np.random.default_rng(seed)
    value = np.asarray(statistic(*matrices))
    samples = np.empty((resamples, *value.shape))
    for index in range(resamples):
        samples[index] = statistic(*(_resample(matrix, generator) for matrix in matrices))
    tail = (1 - confidence) / 2
    low, high = np.quantile(samples, [tail, 1 - tail], axis=0)
    return Interval(value, np.asarray(low), np.asarray(high))


def _resample(scores: Array, generator: np.random.Generator) -> Array:
    runs, tasks = scores.shape[-2:]
    drawn = generator.integers(0, runs, size=(runs, tasks))
    return scores[..., drawn, np.arange(tasks)]


def curve_band(
    curves: ArrayLike,
    statistic: Statistic = iqm,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Point-wise confidence band of learning curves of one task.

    Args:
        curves: Float[R, K], the curve of each run at K common steps.
        statistic: as in :func:`bootstrap`.
        confidence: as in :func:`bootstrap`.
        resamples: as in :func:`bootstrap`.
        seed: as in :func:`bootstrap`.

    Returns:
        Value, low and high, each Float[K].
    """
    matrix = _matrix(curves)
    if matrix.ndim != 2:
        raise ValueError(f"curves must be runs x steps, got shape {matrix.shape}")
    return bootstrap(
        statistic,
        matrix.T[:, :, None],
        confidence=confidence,
        resamples=resamples,
        seed=seed,
    )


def _matrix(scores: ArrayLike) -> Array:
    array = _finite(scores)
    if array.ndim < 2 or 0 in array.shape:
        raise ValueError(f"scores must be runs x tasks and not empty, got shape {array.shape}")
    return array


def _finite(values: ArrayLike) -> Array:
    array = np.asarray(values, dtype=np.float64)
    if not np.isfinite(array).all():
        raise ValueError("scores must be finite numbers")
    return array
