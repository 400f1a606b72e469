"""docs/evidence.md and its pictures, from the runs that are kept."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from recording import RESULTS, ROOT, table
from scipy.stats import binomtest

from gala.evaluation.statistics import (
    Interval,
    bootstrap,
    curve_band,
    holm,
    iqm,
    probability_of_improvement,
    rank_sum_p,
)
from gala.files.pictures import new_figure, save_figure

PAGE = ROOT / "docs" / "evidence.md"
FEWEST = 5
"""Seeds, below which nothing is compared."""
SURE = 0.05

QUESTIONS = {
    "tuning": "Which rate does each arm get?",
    "minatar": "Is gossip better at equal steps?",
    "growth": "Who still learns when environments are many?",
    "graphs": "Does it matter who talks to whom, and how late?",
    "family": "Does it hold for PPO and V-trace?",
}
BEST = "independent, best agent"
COLOURS = {
    "gossip": "#0072B2", "lock-step": "#56B4E9", "allreduce": "#D55E00", "one": "#000000",
    "independent": "#009E73", }  # fmt: skip
OTHERS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")

Row = Mapping[str, Any]
Tree = Mapping[str, Any]
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Arm:
    """Runs that differ in their seeds alone.

    Attributes:
        scores: Float[R], see the plan.
        curves: Float[R, K], NaN before there are enough games.
    """

    game: str
    vary: str
    name: str
    scores: Floats
    curves: Floats

    @property
    def area(self) -> Interval:
        """IQM of the mean of the curve."""
        return bootstrap(iqm, np.nanmean(self.curves, 1)[:, None])


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """An arm against the one that it is held against.

    Attributes:
        better: probability that a run of the first beats one of the other.
        p: of the rank-sum test, after Holm over the stage.
    """

    first: Arm
    other: Arm
    better: Interval
    p: float

    @property
    def verdict(self) -> str:
        """In a word or two."""
        if self.p > SURE:
            return "undecided"
        return "better" if self.better.value > 0.5 else "worse"


def arms_of(rows: Iterable[Row]) -> list[Arm]:
    """The arms of a stage; the best agent of those that are not averaged is one of its own.

    Where a stage has a single arm, what it varies are the arms.
    """
    rows = list(rows)
    single = len({row["arm"] for row in rows}) == 1
    found: dict[tuple[str, str, str], list[tuple[float, list[float]]]] = {}
    for row in rows:
        curve = row["curve"]
        key = (row["game"], "", row["vary"]) if single else (row["game"], row["vary"], row["arm"])
        means = {agent: float(np.mean(games)) for agent, games in row["evaluation"].items()}
        score = means.get("mean", float(np.mean(list(means.values()))))
        found.setdefault(key, []).append((score, curve))
        if row["arm"] == "independent":
            best = (*key[:2], BEST)
            found.setdefault(best, []).append((max(means.values()), curve))
    return [
        Arm(
            game=game,
            vary=vary,
            name=name,
            scores=np.array([score for score, _ in runs]),
            curves=np.array([curve for _, curve in runs], dtype=np.float64),
        )
        for (game, vary, name), runs in found.items()
    ]


def compared(arms: Sequence[Arm], subject: str) -> list[Comparison]:
    """One arm against every other of the same game and variation, where there are seeds enough."""
    pairs = [
        (first, other)
        for first, other in itertools.permutations(arms, 2)
        if first.name == subject
        and (first.game, first.vary) == (other.game, other.vary)
        and min(len(first.scores), len(other.scores)) >= FEWEST
    ]
    if not pairs:
        return []
    adjusted = holm([rank_sum_p(first.scores, other.scores) for first, other in pairs])
    return [
        Comparison(
            first=first,
            other=other,
            better=bootstrap(
                probability_of_improvement, first.scores[:, None], other.scores[:, None]
            ),
            p=float(p),
        )
        for (first, other), p in zip(pairs, adjusted, strict=True)
    ]


def spread(interval: Interval, digits: int = 1) -> str:
    """Value and interval."""
    value, low, high = (f"{float(each):.{digits}f}" for each in interval)
    return f"{value} ({low} to {high})"


def stage_table(arms: Sequence[Arm], comparisons: Sequence[Comparison]) -> str:
    """A row for each arm."""
    held = {(c.other.game, c.other.vary, c.other.name): c for c in comparisons}
    rows = []
    for arm in sorted(arms, key=lambda arm: (arm.game, arm.vary)):
        found = held.get((arm.game, arm.vary, arm.name))
        rows.append(
            [
                arm.game,
                arm.vary or "-",
                arm.name,
                str(len(arm.scores)),
                spread(bootstrap(iqm, arm.scores[:, None])),
                spread(arm.area),
                "-" if found is None else spread(found.better, 2),
                "-" if found is None else f"{found.p:.3f}",
                "-" if found is None else f"{found.first.name} is {found.verdict}",
            ]
        )
    header = [
        "game", "varied", "arm", "seeds", "score: IQM (95 % interval)", "mean of the curve",
        "P(is beaten)", "p, after Holm", "so",
    ]  # fmt: skip
    return table(header, rows)


def tuning_table(means: Mapping[tuple[str, str], float]) -> str:
    """Each arm's mean score by rate, the one that goes on in bold."""
    arms = list(dict.fromkeys(arm for arm, _ in means))
    rates = list(dict.fromkeys(rate for _, rate in means))
    rows = []
    for arm in arms:
        values = [means[arm, rate] for rate in rates]
        cells = [f"**{v:.3f}**" if v == max(values) else f"{v:.3f}" for v in values]
        rows.append([arm, *cells])
    return table(["arm", *(rate.removeprefix("rate-") for rate in rates)], rows)


def converged_table(arms: Sequence[Arm], thresholds: Mapping[str, float]) -> str:
    """How many runs reach the threshold of their game, with Wilson's intervals."""
    rows = []
    for arm in arms:
        goal, count = thresholds[arm.game], len(arm.scores)
        reached = int((arm.scores >= goal).sum())
        share = binomtest(reached, count).proportion_ci(method="wilson")
        cells = [arm.game, arm.vary, arm.name, f"{reached} of {count}"]
        rows.append([*cells, f"{share.low:.2f} to {share.high:.2f}", f"{goal:.1f}"])
    header = ["game", "varied", "arm", "converged", "95 % interval of the share", "score to reach"]
    return table(header, rows)


def answer(comparisons: Sequence[Comparison]) -> str:
    """What a stage says, in sentences; nothing that the numbers do not say."""
    if not comparisons:
        return f"Not yet: no two arms have {FEWEST} seeds."
    sentences = []
    for name in dict.fromkeys(c.other.name for c in comparisons):
        mine = [c for c in comparisons if c.other.name == name]
        count = {word: sum(c.verdict == word for c in mine) for word in ("better", "worse")}
        where = f"{len(mine)} comparison{'s' if len(mine) > 1 else ''}"
        sentences.append(
            f"Against `{name}`, `{mine[0].first.name}` is better in {count['better']}, "
            f"worse in {count['worse']} and undecided in {len(mine) - sum(count.values())} "
            f"of {where}."
        )
    return " ".join(sentences)


def draw(arms: Sequence[Arm], steps: int, path: Path) -> None:
    """Curves of training: IQM of the seeds and its 95 % band, a panel for each game."""
    panels = list(dict.fromkeys((arm.game, arm.vary) for arm in arms))
    figure = new_figure(3.6 * len(panels), 3.2)
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axis, (game, vary) in zip(axes, panels, strict=True):
        for arm in arms:
            if (arm.game, arm.vary) != (game, vary) or arm.name == BEST:
                continue  # of the best agent no curve is kept
            whole = ~np.isnan(arm.curves).any(0)
            x = np.linspace(0, steps / 1e6, arm.curves.shape[1] + 1)[1:][whole]
            colour = COLOURS.get(arm.name) or OTHERS[len(axis.lines) % len(OTHERS)]
            if len(arm.scores) > 1:
                band = curve_band(arm.curves[:, whole], resamples=500)
                axis.fill_between(x, band.low, band.high, color=colour, alpha=0.15, lw=0)
                middle = band.value
            else:
                middle = arm.curves[0, whole]
            label = f"{arm.name}, {len(arm.scores)} seeds"
            axis.plot(x, middle, color=colour, lw=1.4, label=label)
        axis.set_title(" ".join(word for word in (game, vary) if word), fontsize=10)
        axis.set_xlabel("million steps of all agents")
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("return, last 100 games")
    axes[0].legend(frameon=False, fontsize=7)
    save_figure(figure, path)


def section(stage: str, plan: Tree, results: Mapping[str, Sequence[Row]]) -> list[str]:
    """What the runs of a stage say."""
    wanted, arms = plan["stages"][stage], arms_of(results[stage])
    names = {arm.name for arm in arms}
    comparisons = compared(arms, "gossip" if "gossip" in names else arms[0].name)
    picture = RESULTS / f"evidence-{stage}.png"
    draw(arms, wanted["total_steps"], picture)
    parts = [
        answer(comparisons) + "\n",
        f"![{QUESTIONS[stage]}](../experiments/results/{picture.name})\n",
        stage_table(arms, comparisons) + "\n",
    ]
    if "converged" in wanted:
        goals = goals_of(results["minatar"], wanted["converged"])
        known = [arm for arm in arms if arm.game in goals and arm.name != BEST]
        parts.append(converged_table(known, goals) + "\n")
    return parts


def goals_of(rows: Sequence[Row], share: float) -> dict[str, float]:
    """A share of the median score of all runs of each game."""
    arms = [arm for arm in arms_of(rows) if arm.name != BEST]
    return {
        game: share * float(np.median(np.concatenate([a.scores for a in arms if a.game == game])))
        for game in {arm.game for arm in arms}
    }


def write_page(
    plan: Tree,
    results: Mapping[str, Sequence[Row]],
    means: Mapping[tuple[str, str], float] | None,
    missing: Mapping[str, int],
) -> None:
    """Write the page of what is there.

    Args:
        plan: the registered one.
        results: rows by stage.
        means: of the tuning stage, None while it is not whole.
        missing: runs that the plan names and that are not there, by stage.
    """
    parts = [HEAD]
    for stage, question in QUESTIONS.items():
        count, steps = len(results[stage]), plan["stages"][stage]["total_steps"]
        parts.append(f"## {question}\n")
        parts.append(
            f"Stage `{stage}`: {count} runs of {steps:,} steps; missing: {missing[stage]}.\n"
        )
        if stage == "tuning" and means is not None:
            parts.append("Mean score, the largest of each game being 1; bold goes on.\n")
            parts.append(tuning_table(means) + "\n")
        elif stage != "tuning" and count:
            parts += section(stage, plan, results)
    commits = sorted({row["commit"] for rows in results.values() for row in rows})
    parts.append(f"Runs of commits {', '.join(commits)}; {COMMANDS}\n")
    PAGE.write_text("\n".join(parts))
    print(f"wrote {PAGE}")


HEAD = """# Evidence

Is gossip better, when, and why? Arms, games, seeds, steps and statistics were
[registered](../experiments/evidence/plan.yaml) before the first run. Each arm has 64 environments
in all, if nothing else is said, and goes on with the rate that was best for itself. Every run is
kept, whatever it gave (`experiments/results/evidence/`). A program writes this page from them,
its sentences too.

*Arms*: `gossip`: four agents, a directed ring, nobody waits; `lock-step`: they wait for each
other's messages; `allreduce`: four agents average their gradients; `one`: one agent with all
environments; `independent`: four agents that do not talk. *Score*: mean return over 100 fresh
games of the averaged policy, actions drawn; mean over the agents where none is averaged. IQM with
95 % intervals of the stratified bootstrap; *P* is the probability that a run of gossip beats one
of the arm; p-values are of the exact rank-sum test, after Holm over the comparisons of a section.
*Undecided*: p is above 0.05, which does not mean that both are alike.
"""
COMMANDS = "`python experiments/evidence.py STAGE` runs a section, `... report` writes the page."
