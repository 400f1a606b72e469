"""Two sets of runs against one another, as tables."""

from __future__ import annotations

from gala.report.comparison import Comparison, Measure
from gala.report.tables import Table, cell, estimate, few

MEASURES = {
    "final_return": "Final return",
    "mean_return": "Mean return over steps",
    "evaluation_greedy": "Evaluation, greedy",
    "evaluation_stochastic": "Evaluation, stochastic",
}


def tables_of_comparison(found: Comparison) -> list[Table]:
    """What is compared, and a table for each measure."""
    return [_compared(found), *(_measure(each) for each in found.measures)]


def _compared(found: Comparison) -> Table:
    lacking = ", ".join(found.unevaluated)
    return Table(
        "A against B",
        ("set", "runs of", "method", "runs"),
        tuple(
            (letter, side.asked, side.label, str(len(side.runs)))
            for letter, side in (("A", found.a), ("B", found.b))
        ),
        words=3,
        note=(
            "The method names what tells them apart."
            if any(found.differs)
            else "No option tells them apart."
        )
        + (f" Returns are those after {found.steps:,.0f} steps." if found.steps else "")
        + (f" Not compared by evaluation: {lacking} has none (gala eval)." if lacking else ""),
    )


def _measure(measure: Measure) -> Table:
    verdicts = [*measure.tasks, *([measure.overall] if measure.overall else [])]
    least = max(each.p_smallest or 0.0 for each in measure.tasks)
    return Table(
        MEASURES[measure.name],
        ("environment", "A", "B", "P(A > B)", "p", "p of all", "runs"),
        tuple(
            (v.environment or "all", *(
                estimate(each, ("{:.2f}" if v.environment else "{:.3f}").format)
                for each in (v.a, v.b)
             ), estimate(v.improvement, "{:.2f}".format), cell(v.p, ".3g"), cell(v.p_holm, ".3g"),
             f"{v.runs[0]} and {v.runs[1]}")
            for v in verdicts
        ),
        note="A and B: interquartile means over runs; P(A > B): probability that a run of A is "
        "better than one of B; with 95 % stratified bootstrap intervals. p: exact rank-sum test, "
        f"two-sided, of which so few runs can give no less than {least:.2g}; p of all: after "
        "Holm, for as many tests as environments."
        + (" All: of scores, as over environments." if measure.overall else "")
        + few(count for each in measure.tasks for count in each.runs),
    )  # fmt: skip
