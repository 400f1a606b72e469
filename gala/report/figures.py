"""The figures of a report: vector drawings that survive print and colour blindness.

Colours are those of Okabe and Ito (2008), "Color universal design", without the yellow, which is
lost on white; beyond them lines are dashed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gala.evaluation.statistics import bootstrap, performance_profile
from gala.files.pictures import new_figure
from gala.report.curves import Curve, band_over_agents, band_over_runs, over_steps
from gala.report.run_data import RunData
from gala.report.summary import Summary
from gala.report.tables import few

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1, 2)))
DARK, GREY, BAR = "#22303a", "#8a949c", "#aab4bb"

MANY_AGENTS = 16
"""More lines than that are a cloud."""

THIN = 1000
"""Points of a line in the background."""

MAX_PANELS = 6

PHASES = (
    ("collect", "time/collect_ms"),
    ("learn", "time/learn_ms"),
    ("gossip", "time/gossip_ms"),
    ("wait", "gossip/wait_ms"),
    ("log", "time/log_ms"),
    ("other", "time/other_ms"),
)


@dataclass(frozen=True, eq=False)
class Entry:
    """One run with all that is known of it."""

    run: RunData
    summary: Summary
    curve: Curve | None


@dataclass(frozen=True, eq=False)
class Drawing:
    """A figure.

    Attributes:
        name: of its file.
        title: what it shows.
        caption: how to read it.
        figure: itself.
    """

    name: str
    title: str
    caption: str
    figure: Figure


Group = Sequence[Entry]


def draw(groups: Sequence[Group]) -> Iterator[Drawing]:
    """All figures for which there are records.

    Args:
        groups: the runs of each set; they differ in their seeds.

    Raises:
        UserError: matplotlib is not installed.
    """
    for make in (_learning, _ratio, _distance, _throughput, _profile):
        drawing = make(groups)
        if drawing is not None:
            yield drawing


# -- learning


def _learning(groups: Sequence[Group]) -> Drawing | None:
    shown = [group for group in groups if any(entry.curve for entry in group)]
    if not shown:
        return None
    figure, axes = _panels([_env(group) for group in shown])
    for number, group in enumerate(shown):
        _learn_one(axes[_env(group)], group, number, alone=len(shown) == 1)
    for env, ax in axes.items():
        levels = {e.summary.threshold for g in shown if _env(g) == env for e in g} - {None}
        for level in levels:
            ax.axhline(float(level or 0.0), color=GREY, linewidth=0.9, linestyle=(0, (1, 2)))
        _dress(ax, env, "environment steps of all agents", "return")
        _in_thousands(ax)
        ax.legend(frameon=False, fontsize=8)
    return Drawing(
        "learning",
        "Learning curves",
        "Line: mean return over the agents of a run, or, of several seeds, the interquartile mean "
        "of their runs; band: 95 % bootstrap interval over the seeds, or, of one run, over its "
        "agents, which share what they learn: it says nothing of other seeds. Dotted: threshold."
        + few(len(group) for group in shown),
        figure,
    )


def _learn_one(ax: Axes, group: Group, number: int, *, alone: bool) -> None:
    curves = [entry.curve for entry in group if entry.curve is not None]
    line, label = _line(number), group[0].summary.label
    if len(group) > 1:
        label += f" ({len(curves)} runs)"
    found = band_over_runs(curves) if len(curves) > 1 else band_over_agents(curves[0])
    for curve in curves if len(curves) > 1 else ():
        ax.plot(curve.steps, curve.mean, color=line["color"], linewidth=0.5, alpha=0.45)
    if alone and len(curves) == 1 and 1 < len(curves[0].returns) <= MANY_AGENTS:
        for row in curves[0].returns:
            ax.plot(curves[0].steps, row, color=GREY, linewidth=0.5, alpha=0.7)
    if found is None:
        ax.plot(curves[0].steps, curves[0].mean, label=label, **line)
        return
    grid, band = found
    ax.plot(grid, band.value, label=label, **line)
    if len(curves) > 1 or len(curves[0].returns) > 1:
        ax.fill_between(grid, band.low, band.high, color=line["color"], alpha=0.2, linewidth=0)


# -- the ball


def _ratio(groups: Sequence[Group]) -> Drawing | None:
    shown = [(n, e) for n, group in enumerate(groups) for e in group
             if e.run.pooled("divergence/epsilon_ratio").size]  # fmt: skip
    if not shown:
        return None
    figure = new_figure(7.2, 3.8)
    ax = figure.subplots()
    named: set[int] = set()
    for number, entry in shown:
        steps, ratio = over_steps(entry.run, "divergence/epsilon_ratio")
        label = None if number in named else _name(groups[number], groups)
        named.add(number)
        line = _line(number) | {"linewidth": 1.0}
        ax.step(steps, np.where(ratio > 0, ratio, np.nan), where="post", label=label, **line)
    ax.axhline(1.0, color=DARK, linewidth=1.0, linestyle=(0, (5, 2)), label="bound")
    ax.set_yscale("log")
    _dress(ax, "", "environment steps of all agents", "divergence / bound")
    _in_thousands(ax)
    ax.legend(frameon=False, fontsize=8, loc="best")
    return Drawing(
        "ratio",
        "Share of the epsilon-ball",
        "Divergence of the agents over its certificate, computed from the updates and mixes that "
        "happened (a model's bound where records are missing): below 1 they are within the ball.",
        figure,
    )


def _distance(groups: Sequence[Group]) -> Drawing | None:
    # of seeds one is enough: their distances look alike
    first = [next((e for e in group if _apart(e.run)), None) for group in groups]
    shown = [entry for entry in first if entry is not None]
    if not shown:
        return None
    figure, axes = _panels([entry.run.name for entry in shown[:MAX_PANELS]], share_y=True)
    for entry in shown[:MAX_PANELS]:
        ax = axes[entry.run.name]
        if len(entry.run.agents) <= MANY_AGENTS:
            for number, agent in enumerate(entry.run.agents):
                thin = slice(None, None, -(-agent.t.size // THIN) or 1)
                distance = agent.values["divergence/to_mean"][thin]
                ax.plot(agent.step[thin] * len(entry.run.agents),
                        np.where(distance > 0, distance, np.nan), color=GREY, linewidth=0.5,
                        alpha=0.6, label=None if number else "each agent to the mean")  # fmt: skip
        for number, (metric, label) in enumerate((
            ("divergence/total", "all agents"),
            ("divergence/epsilon", "certificate"),
            ("divergence/expected", "expected of unrelated updates"),
        )):  # fmt: skip
            steps, values = over_steps(entry.run, metric)
            if (values > 0).any():
                drawn = np.where(values > 0, values, np.nan)
                ax.plot(steps, drawn, label=label, linewidth=1.3, color=COLOURS[number],
                        linestyle=STYLES[number])  # fmt: skip
        ax.set_yscale("log")
        _dress(ax, entry.run.name, "environment steps of all agents", "L2 distance")
        _in_thousands(ax)
        if ax is not next(iter(axes.values())):
            ax.set_ylabel("")
    found: dict[str, Any] = {}
    for ax in axes.values():
        found |= dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
    handles, labels = list(found.values()), list(found)
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    seeds = " Of several seeds the first is shown." if max(map(len, groups)) > 1 else ""
    hidden = len(shown) - MAX_PANELS
    more = f" {hidden} more runs are not shown." if hidden > 0 else ""
    return Drawing(
        "distance",
        "Distance and bound",
        "Distance of the agents' parameters from their mean (from sketches, ± 4 % unless set "
        "otherwise), its certificate (a model's bound where records are missing) and what "
        f"unrelated updates of the same size would make expect.{seeds}{more}",
        figure,
    )


def _apart(run: RunData) -> bool:
    return bool((run.pooled("divergence/total") > 0).any())


# -- speed


def _throughput(groups: Sequence[Group]) -> Drawing | None:
    figure = new_figure(10.0, 1.6 + 0.4 * len(groups))
    speed, split, reach = figure.subplots(1, 3, sharey=True)
    slowest = max((e.summary.seconds_to_threshold or 0.0) for group in groups for e in group)
    unit, unit_name = (60.0, "minutes") if slowest > 120 else (1.0, "seconds")
    labels = [_name(group, groups) for number, group in enumerate(groups)]
    for number, group in enumerate(groups):
        rates = [entry.summary.steps_per_s for entry in group]
        speed.barh(number, np.mean(rates), color=BAR, height=0.6)
        left = 0.0
        for order, (_, metric) in enumerate(PHASES):
            spent = np.mean([_spent(entry.run, metric) for entry in group])
            split.barh(number, spent, left=left, color=COLOURS[order], height=0.6)
            left += float(spent)
        times = [entry.summary.seconds_to_threshold for entry in group]
        known = [seconds / unit for seconds in times if seconds is not None]
        if known:
            reach.barh(number, np.mean(known), color=BAR, height=0.6)
        if len(group) > 1:
            speed.plot(rates, [number] * len(rates), ".", color=DARK, markersize=4)
            reach.plot(known, [number] * len(known), ".", color=DARK, markersize=4)
        if len(known) < len(times):
            text = f"{len(known)} of {len(times)} reached it" if known else "not reached"
            if group[0].summary.threshold is None:
                text = "no threshold is known"
            reach.annotate(text, (0, number), (4, 0), textcoords="offset points", fontsize=8,
                           va="center", color=DARK)  # fmt: skip
    speed.set_yticks(range(len(groups)), labels)
    speed.set_ylim(len(groups) - 0.4, -0.6)
    handles = [_patch(COLOURS[order], name) for order, (name, _) in enumerate(PHASES)]
    figure.legend(handles=handles, loc="outside lower center", ncols=6, frameon=False, fontsize=8)
    for ax, title in (
        (speed, "steps/s of all agents"),
        (split, "ms per update"),
        (reach, f"{unit_name} to threshold"),
    ):
        _dress(ax, title, "", "")
        ax.grid(visible=False, axis="y")
        ax.tick_params(axis="y", length=0)
        if not ax.patches:  # nothing to measure by the ticks
            ax.set_xlim(0, 1)
            ax.set_xticks([])
    return Drawing(
        "throughput",
        "Speed",
        "Steps per second, where the time of an update goes, and time to the threshold; bars are "
        "means of runs, dots the runs.",
        figure,
    )


def _spent(run: RunData, metric: str) -> float:
    """Mean milliseconds; gossip without the part of it that is waiting."""
    values = run.pooled(metric)
    spent = float(values.mean()) if values.size else 0.0
    return max(spent - _spent(run, "gossip/wait_ms"), 0.0) if metric == "time/gossip_ms" else spent


# -- profiles


def _profile(groups: Sequence[Group]) -> Drawing | None:
    shown = [
        (number, [e.summary.final_return for e in group if e.summary.final_return is not None])
        for number, group in enumerate(groups)
    ]
    shown = [(number, scores) for number, scores in shown if len(scores) > 1]
    if not shown:  # of one run the share above a value is a single step
        return None
    figure, axes = _panels([_env(groups[number]) for number, _ in shown])
    for env, ax in axes.items():
        mine = [(number, scores) for number, scores in shown if _env(groups[number]) == env]
        every = np.array([score for _, scores in mine for score in scores], dtype=np.float64)
        margin = max(0.08 * float(np.ptp(every)), 0.02 * float(np.abs(every).max()), 1e-6)
        taus = np.linspace(every.min() - margin, every.max() + margin, 400)
        for number, scores in mine:
            column = np.array(scores, dtype=np.float64)[:, None]
            profile = performance_profile(column, taus)
            ax.step(taus, profile, where="post", label=groups[number][0].summary.label,
                    **_line(number))  # fmt: skip
            if len(scores) > 2:
                band = bootstrap(lambda each, taus=taus: performance_profile(each, taus), column)
                ax.fill_between(taus, band.low, band.high, step="post", alpha=0.15, linewidth=0,
                                color=_line(number)["color"])  # fmt: skip
        ax.set_ylim(-0.03, 1.03)
        _dress(ax, env, "final return", "share of runs above it")
        ax.legend(frameon=False, fontsize=8)
    return Drawing(
        "profile",
        "Performance profiles",
        "Share of runs whose final return is above the value below, of sets of at least two; band: "
        "95 % bootstrap interval, from three runs on." + few(len(scores) for _, scores in shown),
        figure,
    )


# -- style


def _env(group: Group) -> str:
    return group[0].summary.env_id or "unknown environment"


def _name(group: Group, groups: Sequence[Group]) -> str:
    """What tells a set from the others: method, and environment where there are several."""
    label = group[0].summary.label
    if len({_env(each) for each in groups}) > 1:
        label = f"{_env(group)}: {label}"
    return label + (f" ({len(group)} runs)" if len(group) > 1 else "")


def _line(number: int) -> dict[str, Any]:
    style = STYLES[number // len(COLOURS) % len(STYLES)]
    return {"color": COLOURS[number % len(COLOURS)], "linestyle": style, "linewidth": 1.5}


def _panels(names: Sequence[str], *, share_y: bool = False) -> tuple[Figure, dict[str, Axes]]:
    """A figure with a panel for each different name."""
    names = list(dict.fromkeys(names))
    columns = min(len(names), 3)
    rows = -(-len(names) // columns)
    figure = new_figure(7.2 if columns == 1 else 4.0 * columns, 3.6 * rows + 0.2)
    axes = figure.subplots(rows, columns, squeeze=False, sharey=share_y).flat
    found = dict(zip(names, axes, strict=False))
    for ax in list(axes)[len(names) :]:
        ax.axis("off")
    return figure, found


def _dress(ax: Axes, title: str, x: str, y: str) -> None:
    ax.set_title(title, fontsize=10, color=DARK)
    ax.set_xlabel(x, fontsize=9, color=DARK)
    ax.set_ylabel(y, fontsize=9, color=DARK)
    ax.grid(alpha=0.25, linewidth=0.6)
    ax.set_axisbelow(True)
    ax.tick_params(labelsize=8, colors=DARK)
    ax.spines[["top", "right"]].set_visible(False)


def _in_thousands(ax: Axes) -> None:
    """Steps as 500 k and 4 M."""
    from matplotlib.ticker import EngFormatter

    ax.xaxis.set_major_formatter(EngFormatter(sep=" "))


def _patch(colour: str, label: str) -> Any:
    from matplotlib.patches import Patch

    return Patch(color=colour, label=label)
