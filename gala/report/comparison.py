"""Two sets of runs against one another: what can be said of few seeds, and what cannot.

On each environment both sets are seeds of one configuration each, with equal budgets; whatever
breaks this is refused, never averaged over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from gala.evaluation.kept import POLICIES, kept_results
from gala.evaluation.statistics import (
    bootstrap,
    coverage,
    holm,
    iqm,
    performance_profile,
    probability_of_improvement,
    rank_sum_p,
    smallest_p,
)
from gala.report.curves import area
from gala.report.figures import Entry
from gala.report.pairing import SET, Pair, Sides, environments, tasks_of
from gala.report.run_data import Array, number
from gala.report.summary import Estimate, estimate_of, score_of
from gala.telemetry.arms import GRAPH, differing, legend

THRESHOLDS = 101
"""Of a performance profile."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of the two sets.

    Attributes:
        asked: where its runs were looked for.
        label: the method in words, with the options that differ.
        runs: names.
    """

    asked: str
    label: str
    runs: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Share of the runs of each set above each threshold; low and high None for one run.

    Attributes:
        thresholds: scores, ascending.
        a: value, low and high of each threshold.
        b: likewise.
    """

    thresholds: tuple[float, ...]
    a: tuple[Estimate, ...]
    b: tuple[Estimate, ...]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One measure on one environment, or over all of them.

    Attributes:
        environment: its id, and what else tells it from others; None: over all.
        runs: of A and of B; of each environment.
        a: IQM and its 95 % interval, by the stratified bootstrap; over all environments of scores
            as in :class:`gala.report.summary.Method`, None where one has no scale.
        b: likewise.
        improvement: P(A > B), the probability that a run of A is better than one of B, with its
            95 % interval.
        p: of the exact rank-sum test, two-sided; None over all.
        p_holm: the same as it counts among the tests of all environments.
        p_smallest: that so few runs can give at all.
        profile: of the scores; None over all.
    """

    environment: str | None
    runs: tuple[int, int]
    a: Estimate | None
    b: Estimate | None
    improvement: Estimate
    p: float | None = None
    p_holm: float | None = None
    p_smallest: float | None = None
    profile: Profile | None = None


@dataclass(frozen=True, kw_only=True)
class Measure:
    """What of the runs is compared.

    Attributes:
        name: ``final_return``, ``mean_return`` (area under the curve over steps, over their
            number) or ``evaluation_POLICY`` (mean return of the averaged agents' newest one).
        tasks: a verdict for each environment.
        overall: over several environments; None where runs of them are not equally many.
    """

    name: str
    tasks: tuple[Verdict, ...]
    overall: Verdict | None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A against B.

    Attributes:
        a: the first set.
        b: the second one.
        differs: of A and of B, the options in which they differ and their values; several of one
            set, which differ by environment, are joined by "/".
        coverage: how often a nominal 95 % interval of the smallest set holds the true value, see
            :func:`gala.evaluation.statistics.coverage`.
        steps: of all agents, after which runs are compared; None: at the end of their budgets.
        measures: final return, mean return, and evaluations where every run has one.
        unevaluated: runs without the evaluation that others have.
    """

    a: Side
    b: Side
    differs: tuple[Mapping[str, str], Mapping[str, str]]
    coverage: float | None
    steps: float | None
    measures: tuple[Measure, ...]
    unevaluated: tuple[str, ...]


Score = Callable[[Entry, float], float | None]
"""Of a run, whose curve is looked at from a step on."""


def compare_sets(pair: Pair, entries: Sequence[Entry], steps: float | None = None) -> Comparison:
    """Compare two sets of runs.

    Args:
        pair: which is of which.
        entries: the runs.
        steps: at which all curves end; None: at the end of a budget, which must be the same.

    Raises:
        UserError: the sets are not of the same environments, the runs of one environment are not
            seeds of one configuration, budgets differ or are not used up, or a run has no return.
    """
    sides = (entries[: pair.first], entries[pair.first :])
    tasks = tasks_of(sides, budgets=steps is None)
    names = environments([task[0][0] for task in tasks])
    measures = [
        _measure("final_return", names, tasks, _final_return),
        _measure("mean_return", names, tasks, _mean_return),
    ]
    every = [entry for side in sides for entry in side]
    known = {entry.run.name: evaluations_of(entry.run.path) for entry in every}
    for policy in POLICIES:
        if all(policy in each for each in known.values()):
            scores = {name: each[policy] for name, each in known.items()}
            measures.append(_measure(f"evaluation_{policy}", names, tasks, _looked_up(scores)))
    missing = [name for name, each in known.items() if not each]
    smallest = min(len(side) for task in tasks for side in task)
    differs = _differs(sides, tasks)
    a, b = (
        Side(
            asked=where,
            label=replace(side[0].summary, differs=values).label,
            runs=tuple(entry.run.name for entry in side),
        )
        for where, side, values in zip(pair.asked, sides, differs, strict=True)
    )
    return Comparison(
        a=a,
        b=b,
        differs=differs,
        coverage=coverage(smallest),
        steps=steps,
        measures=tuple(measures),
        unevaluated=tuple(missing) if len(missing) < len(every) else (),
    )


def evaluations_of(run: Path) -> dict[str, float]:
    """Mean return of the averaged agents in the newest ``gala eval`` of ``run``, by policy."""
    found: dict[str, float] = {}
    for _, each in kept_results(run):
        value = number(each.get("mean_return"))
        if each.get("agent") == "mean" and each.get("policy") in POLICIES and np.isfinite(value):
            found[each["policy"]] = value
    return found


# -- what is said


def _measure(
    name: str,
    names: Sequence[str],
    tasks: Iterable[Sides],
    value: Score,
) -> Measure:
    """One measure; curves are looked at from where all those of an environment have begun."""
    scores: list[tuple[Array, Array]] = []
    scaled: list[tuple[Array, Array] | None] = []
    for task in tasks:
        begin = max(_begin(entry) for side in task for entry in side)
        raw = [[value(entry, begin) for entry in side] for side in task]
        own = [
            [score_of(entry.summary, x) for entry, x in zip(side, values, strict=True)]
            for side, values in zip(task, raw, strict=True)
        ]
        a, b = (np.array(values, dtype=np.float64)[:, None] for values in raw)
        scores.append((a, b))
        known = all(each is not None for values in own for each in values)
        a, b = (np.array(values, dtype=np.float64)[:, None] for values in own)
        scaled.append((a, b) if known else None)
    ps = [rank_sum_p(a[:, 0], b[:, 0]) for a, b in scores]
    found = [
        replace(_verdict(environment, a, b), p=p, p_holm=float(p_holm), profile=_profile(a, b),
                p_smallest=smallest_p(len(a), len(b)))
        for environment, (a, b), p, p_holm in zip(names, scores, ps, holm(ps), strict=True)
    ]  # fmt: skip
    return Measure(name=name, tasks=tuple(found), overall=_overall(scores, scaled))


def _verdict(environment: str | None, a: Array, b: Array) -> Verdict:
    return Verdict(
        environment=environment,
        runs=(len(a), len(b)),
        a=estimate_of(iqm, a),
        b=estimate_of(iqm, b),
        improvement=estimate_of(probability_of_improvement, a, b),
    )


def _overall(
    scores: Sequence[tuple[Array, Array]], scaled: Sequence[tuple[Array, Array] | None]
) -> Verdict | None:
    """Over several environments; they count equally, so that each needs equally many runs."""
    if len(scores) < 2 or len({(len(a), len(b)) for a, b in scores}) > 1:
        return None
    a, b = (np.concatenate(side, axis=1) for side in zip(*scores, strict=True))
    verdict = _verdict(None, a, b)
    known = [each for each in scaled if each is not None]
    if len(known) < len(scaled):
        return replace(verdict, a=None, b=None)
    a, b = (np.concatenate(side, axis=1) for side in zip(*known, strict=True))
    return replace(verdict, a=estimate_of(iqm, a), b=estimate_of(iqm, b))


def _profile(a: Array, b: Array) -> Profile:
    every = np.concatenate([a, b])
    thresholds = np.linspace(every.min(), every.max(), THRESHOLDS)

    def of(scores: Array) -> tuple[Estimate, ...]:
        if len(scores) < 2:
            values = performance_profile(scores, thresholds)
            return tuple(Estimate(float(each), None, None) for each in values)
        band = bootstrap(lambda each: performance_profile(each, thresholds), scores)
        return tuple(Estimate(*map(float, each)) for each in zip(*band, strict=True))

    return Profile(thresholds=tuple(thresholds.tolist()), a=of(a), b=of(b))


def _begin(entry: Entry) -> float:
    assert entry.curve is not None
    return float(entry.curve.steps[entry.curve.complete][0])


def _final_return(entry: Entry, begin: float) -> float | None:
    return entry.summary.final_return


def _looked_up(scores: Mapping[str, float]) -> Score:
    return lambda entry, begin: scores[entry.run.name]


def _mean_return(entry: Entry, begin: float) -> float:
    assert entry.curve is not None
    return area(entry.curve, begin)


# -- what tells the sets apart


def _differs(sides: Sides, tasks: Sequence[Sides]) -> tuple[dict[str, str], dict[str, str]]:
    found = [differing([side[0].run.options for side in task]) for task in tasks]
    names = [name for name in dict.fromkeys(n for each in found for n in each) if name != SET]
    if names != [GRAPH]:  # a number to people
        names = [name for name in names if name != GRAPH]

    def values(side: Sequence[Entry]) -> dict[str, str]:
        every = [legend(entry.run.options, names) for entry in side]
        told = {name: {each[name]: 0 for each in every if name in each} for name in names}
        return {name: "/".join(texts) for name, texts in told.items() if texts}

    return values(sides[0]), values(sides[1])
