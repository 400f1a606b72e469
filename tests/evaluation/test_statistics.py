"""Statistics against numbers computed by hand, against scipy, and by their properties."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from gala.evaluation import statistics
from gala.evaluation.statistics import (
    COVERAGE,
    bootstrap,
    coverage,
    curve_band,
    holm,
    iqm,
    mean,
    median,
    optimality_gap,
    performance_profile,
    probability_of_improvement,
    rank_sum_p,
    smallest_p,
    standard_error,
    summarize,
)

values = st.floats(-1e3, 1e3).map(lambda value: round(value, 3))
score_matrices = arrays(
    np.float64, array_shapes(min_dims=2, max_dims=2, max_side=6), elements=values
)


# -- by hand


def test_summary_by_hand() -> None:
    summary = summarize([2.0, 4.0, 4.0, 6.0])
    assert (summary.count, summary.mean, summary.smallest, summary.largest) == (4, 4.0, 2.0, 6.0)
    assert summary.standard_error == pytest.approx(np.sqrt(8 / 3) / 2)  # s^2 = (4 + 0 + 0 + 4) / 3


def test_one_episode_has_no_standard_error() -> None:
    assert standard_error([3.0]) is None
    assert summarize([3.0]).standard_error is None


def test_interquartile_mean_by_hand() -> None:
    # 8 scores: two fall away at each end, the mean of 3, 4, 5, 6 stays
    assert iqm([[1, 2, 3, 4], [5, 6, 7, 1000]]) == 4.5
    # 5 scores: 5 // 4 = 1 at each end
    assert iqm([[10.0], [0.0], [1.0], [2.0], [-50.0]]) == 1.0
    # 3 scores: nothing falls away
    assert iqm([[0.0], [3.0], [9.0]]) == 4.0


def test_mean_median_and_gap_by_hand() -> None:
    scores = [[0.0, 1.0, 8.0], [2.0, 3.0, 0.0]]  # task means 1, 2, 4
    assert mean(scores) == pytest.approx(14 / 6)
    assert median(scores) == 2.0
    # short of 1: 1, 0, 0 and 0, 0, 1
    assert optimality_gap(scores) == pytest.approx(2 / 6)
    assert optimality_gap(scores, target=2.0) == pytest.approx((2 + 1 + 0 + 0 + 0 + 2) / 6)


def test_performance_profile_by_hand() -> None:
    scores = [[0.0, 1.0], [2.0, 3.0]]
    profile = performance_profile(scores, [-1, 0, 0.5, 1, 2.5, 3])
    assert profile.tolist() == [1.0, 0.75, 0.75, 0.5, 0.25, 0.0]  # strictly above the threshold


def test_probability_of_improvement_by_hand() -> None:
    x, y = [[1.0, 5.0], [3.0, 5.0]], [[2.0, 5.0], [0.0, 5.0], [3.0, 9.0]]
    # task 1: 1 beats 0; 3 beats 2 and 0, ties with 3: (1 + 2.5) / 6
    # task 2: ties with 5 and 5, loses to 9, twice: 2 / 6
    assert probability_of_improvement(x, y) == pytest.approx((3.5 / 6 + 2 / 6) / 2)


# -- against scipy


@given(score_matrices)
def test_interquartile_mean_is_scipys_trimmed_mean(scores: np.ndarray) -> None:
    assert iqm(scores) == pytest.approx(scipy.stats.trim_mean(scores, 0.25, axis=None), abs=1e-9)


@given(arrays(np.float64, st.integers(2, 20), elements=values))
def test_standard_error_is_scipys(sample: np.ndarray) -> None:
    assert standard_error(sample) == pytest.approx(scipy.stats.sem(sample), abs=1e-9)


@given(
    arrays(np.float64, st.integers(1, 8), elements=values),
    arrays(np.float64, st.integers(1, 8), elements=values),
)
def test_probability_of_improvement_is_the_mann_whitney_statistic(
    x: np.ndarray, y: np.ndarray
) -> None:
    expected = scipy.stats.mannwhitneyu(x, y, method="asymptotic").statistic / (x.size * y.size)
    assert probability_of_improvement(x[:, None], y[:, None]) == pytest.approx(expected)


# -- properties


@given(score_matrices, st.randoms(use_true_random=False))
def test_the_order_of_runs_does_not_matter(scores: np.ndarray, random: object) -> None:
    order = list(range(scores.shape[0]))
    random.shuffle(order)  # type: ignore[attr-defined]
    for statistic in (mean, median, iqm, optimality_gap):
        assert statistic(scores[order]) == pytest.approx(statistic(scores), abs=1e-9)


@given(score_matrices)
def test_statistics_lie_within_the_scores_and_follow_shift_and_scale(scores: np.ndarray) -> None:
    for statistic in (mean, median, iqm):
        value = statistic(scores)
        assert scores.min() - 1e-9 <= value <= scores.max() + 1e-9
        assert statistic(2 * scores + 3) == pytest.approx(2 * value + 3, abs=1e-6)


@given(score_matrices)
def test_a_profile_falls_from_one_to_zero_and_its_area_is_the_mean(scores: np.ndarray) -> None:
    thresholds = np.concatenate([[-2000], np.unique(scores), [2000]])
    profile = performance_profile(scores, thresholds)
    assert (np.diff(profile) <= 0).all()
    assert profile[0] == 1 and profile[-1] == 0
    # between two thresholds the profile is constant: the area under it above -2000 is mean + 2000
    assert np.sum(profile[:-1] * np.diff(thresholds)) == pytest.approx(mean(scores) + 2000)


@given(score_matrices)
def test_nobody_improves_on_himself(scores: np.ndarray) -> None:
    assert probability_of_improvement(scores, scores) == pytest.approx(0.5)
    assert probability_of_improvement(scores + 1, scores - 2000) == 1.0
    other = scores[::-1] * 0.5
    both = probability_of_improvement(scores, other) + probability_of_improvement(other, scores)
    assert both == pytest.approx(1.0)


@pytest.mark.parametrize("statistic", [mean, median, iqm, optimality_gap])
def test_leading_axes_are_a_batch(statistic: statistics.Statistic) -> None:
    scores = np.random.default_rng(0).normal(size=(3, 2, 5, 4))
    batched = statistic(scores)
    assert batched.shape == (3, 2)
    assert batched[1, 1] == pytest.approx(statistic(scores[1, 1]))
    profile = performance_profile(scores, [0.0, 1.0])
    assert profile.shape == (3, 2, 2)
    assert profile[2, 0].tolist() == performance_profile(scores[2, 0], [0.0, 1.0]).tolist()


# -- bootstrap


def test_resampling_keeps_every_score_in_its_task() -> None:
    scores = np.arange(12.0).reshape(4, 3)

    def check(sample: np.ndarray) -> np.ndarray:
        assert sample.shape == (4, 3)
        for task in range(3):
            assert set(sample[:, task]) <= set(scores[:, task])
        return mean(sample)

    bootstrap(check, scores, resamples=100)


def test_tasks_are_resampled_independently_and_curves_as_wholes() -> None:
    scores = np.repeat(np.arange(6.0)[:, None], 2, axis=1)  # both tasks have the same scores
    mixed: list[bool] = []

    def watch(sample: np.ndarray) -> np.ndarray:
        mixed.append(bool((sample[..., 0] != sample[..., 1]).any()))
        return mean(sample)

    bootstrap(watch, scores, resamples=50)
    assert any(mixed[1:])

    whole: list[bool] = []

    def watch_curves(sample: np.ndarray) -> np.ndarray:
        whole.append(bool((sample[0] == sample[1]).all()))
        return mean(sample)

    bootstrap(watch_curves, np.stack([scores, scores]), resamples=50)
    assert all(whole)


def test_the_interval_of_a_mean_is_the_normal_one() -> None:
    sample = np.random.default_rng(1).normal(10, 2, size=(400, 1))
    interval = bootstrap(mean, sample, resamples=3000, seed=5)
    error = standard_error(sample[:, 0])
    assert error is not None
    assert interval.value == pytest.approx(sample.mean())
    assert interval.low == pytest.approx(sample.mean() - 1.96 * error, abs=0.15 * error)
    assert interval.high == pytest.approx(sample.mean() + 1.96 * error, abs=0.15 * error)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    generator = np.random.default_rng(2)
    hits = 0
    for trial in range(200):
        sample = generator.normal(0, 1, size=(10, 4))
        interval = bootstrap(iqm, sample, confidence=0.9, resamples=200, seed=trial)
        hits += bool(interval.low <= 0 <= interval.high)
    assert 160 <= hits <= 196  # 180 expected; percentile intervals are a little narrow


def test_a_seed_fixes_the_interval_and_confidence_widens_it() -> None:
    scores = np.random.default_rng(3).normal(size=(5, 3))
    assert bootstrap(iqm, scores, seed=7) == bootstrap(iqm, scores, seed=7)
    narrow = bootstrap(iqm, scores, confidence=0.5)
    wide = bootstrap(iqm, scores, confidence=0.99)
    assert wide.low < narrow.low < narrow.value < narrow.high < wide.high


def test_identical_runs_have_no_uncertainty() -> None:
    interval = bootstrap(iqm, np.full((3, 2), 7.0), resamples=20)
    assert interval.low == interval.value == interval.high == 7.0


def test_two_sets_of_runs_are_resampled_apart() -> None:
    generator = np.random.default_rng(4)
    better, worse = generator.normal(1, 1, (12, 3)), generator.normal(0, 1, (9, 3))
    interval = bootstrap(probability_of_improvement, better, worse, resamples=300)
    assert 0.5 < interval.low < interval.value < interval.high < 1.0
    assert interval.value == probability_of_improvement(better, worse)


@settings(deadline=None, max_examples=20)
@given(arrays(np.float64, st.tuples(st.integers(1, 5), st.integers(1, 6)), elements=values))
def test_bands_of_curves_hold_point_by_point(curves: np.ndarray) -> None:
    band = curve_band(curves, mean, resamples=50)
    assert band.value.shape == band.low.shape == band.high.shape == curves.shape[1:]
    assert band.value == pytest.approx(curves.mean(axis=0))
    assert (band.low <= band.high + 1e-9).all()
    assert (band.low >= curves.min(axis=0) - 1e-9).all()
    assert (band.high <= curves.max(axis=0) + 1e-9).all()


# -- bad input


@pytest.mark.parametrize("scores", [[], [1.0, 2.0], np.empty((0, 3)), [[np.nan]], [[np.inf, 1.0]]])
def test_scores_that_are_no_matrix_of_numbers(scores: object) -> None:
    with pytest.raises(ValueError, match="scores must be"):
        iqm(scores)  # type: ignore[arg-type]


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="x has 2 tasks, y has 1"):
        probability_of_improvement([[1.0, 2.0]], [[1.0]])
    with pytest.raises(ValueError, match="runs x steps"):
        curve_band(np.zeros((2, 2, 2)))
    with pytest.raises(ValueError, match="non-empty list"):
        summarize([])


# -- what intervals of few runs are worth


@pytest.mark.parametrize("runs", [2, 3, 5, 9, 10])
def test_intervals_of_few_runs_cover_what_is_said(runs: int) -> None:
    scores = np.random.default_rng(runs).standard_normal((3000, runs, 1))
    found = bootstrap(iqm, scores, resamples=1000)
    share = float(((found.low <= 0) & (found.high >= 0)).mean())
    assert share == pytest.approx(coverage(runs) or 0.94, abs=0.02)


def test_coverage_of_one_and_of_many_is_not_told() -> None:
    assert coverage(1) is None and coverage(10) is None
    assert sorted(COVERAGE.values()) == list(COVERAGE.values())


# -- tests of hypotheses


@pytest.mark.parametrize(("m", "n"), [(1, 1), (3, 3), (5, 5), (4, 7), (10, 10)])
def test_the_rank_sum_test_is_scipys(m: int, n: int) -> None:
    generator = np.random.default_rng(m)
    for _ in range(5):
        x, y = generator.normal(0.7, size=m), generator.normal(size=n)
        expected = scipy.stats.mannwhitneyu(x, y, method="exact").pvalue
        assert rank_sum_p(x, y) == pytest.approx(expected)


def test_tied_runs_share_their_ranks() -> None:
    x, y = np.array([1.0, 2.0, 2.0, 5.0]), np.array([2.0, 2.0, 3.0])

    def statistic(a: np.ndarray, b: np.ndarray) -> float:
        ranks = scipy.stats.rankdata(np.concatenate([a, b]))
        return float(abs(ranks[: len(a)].sum() - ranks.sum() * len(a) / len(ranks)))

    found = scipy.stats.permutation_test(
        (x, y), statistic, n_resamples=np.inf, alternative="greater"
    )
    assert rank_sum_p(x, y) == pytest.approx(found.pvalue) and 0.1 < found.pvalue < 1.0
    assert rank_sum_p([3.0, 3.0], [3.0]) == 1.0


def test_no_p_is_smaller_than_the_smallest() -> None:
    assert rank_sum_p([4, 5, 6], [1, 2, 3]) == pytest.approx(smallest_p(3, 3)) == 0.1
    assert smallest_p(1, 1) == 1.0 and smallest_p(5, 5) == pytest.approx(2 / 252)


def test_holm_by_hand() -> None:
    # 3 x 0.01, 2 x 0.03 and 1 x 0.04, which must not fall below the one before
    np.testing.assert_allclose(holm([0.04, 0.01, 0.03]), [0.06, 0.03, 0.06])
    assert holm([0.9, 0.8]).tolist() == [1.0, 1.0] and holm([0.2]).tolist() == [0.2]


def test_a_test_needs_lists_of_runs() -> None:
    with pytest.raises(ValueError, match="lists of runs"):
        rank_sum_p([], [1.0])
