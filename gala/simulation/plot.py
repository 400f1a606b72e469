"""The picture of a prediction: divergence over time, and how stale agents are."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gala.files import pictures
from gala.simulation.prediction import Prediction
from gala.topology.analysis import plot
from gala.topology.limits import count

ORANGE = "#d1603d"


def save(prediction: Prediction, path: str | Path) -> Path:
    """Draw ``prediction`` into ``path`` (.png, .pdf, .svg).

    Raises:
        UserError: as :func:`gala.files.pictures.save_figure`.
    """
    figure = pictures.new_figure(10.5, 4.0)
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    tally, topology = prediction.tally, prediction.topology
    left.plot(tally.times, tally.divergence, color=plot.BLUE, linewidth=1.4, label="predicted")
    largest = max(tally.divergence)
    model = ", by a model" if not getattr(prediction.model, "exact", True) else ""
    for name, value, style in (
        ("expectation: independent updates", prediction.expected, (0, (4, 2))),
        (f"bound: worst case{model}", prediction.epsilon, "-"),
    ):
        if value is None:
            continue
        if value < 3 * largest:
            left.axhline(value, color=ORANGE, linewidth=1.1, linestyle=style, label=name)
        else:  # words alone: there is no line to look for
            left.plot([], [], " ", label=f"{name}: {value:.3g}, far above")
    left.set_ylim(0, None)
    left.set_xlabel("virtual seconds", fontsize=9, color=plot.DARK)
    left.set_title("distance from consensus, norms of one update", fontsize=10, color=plot.DARK)
    left.legend(frameon=False, fontsize=8)
    shares = np.array(tally.seen.shares())
    right.bar(np.arange(len(shares)), 100 * shares, width=1.0, color=plot.BLUE)
    half, most = tally.seen.percentile(50), tally.seen.percentile(99)
    right.axvline(most, color=ORANGE, linewidth=1.1)
    right.annotate(
        f"half within {half}\n99 % within {most} (line)\nmost {tally.seen.largest}",
        (0.97, 0.95), xycoords="axes fraction", ha="right", va="top", fontsize=8, color=plot.DARK,
    )  # fmt: skip
    right.set_xlim(-0.7, max(1.5 * most, 5))
    right.set_xlabel("updates since the last mix", fontsize=9, color=plot.DARK)
    right.set_title("staleness, % of exchanges", fontsize=10, color=plot.DARK)
    for ax in (left, right):
        ax.grid(alpha=0.25, linewidth=0.6)
        ax.tick_params(labelsize=8, colors=plot.DARK)
        ax.spines[["top", "right"]].set_visible(False)
    scenario = prediction.scenario
    facts = [f"{topology.name}: {count(topology.agents)}", f"speed {scenario.speed}"]
    facts += [f"latency {1e3 * scenario.latency_s:g} ms"] if scenario.latency_s else []
    facts += [f"{scenario.bandwidth_mbit:g} Mbit/s"] if scenario.bandwidth_mbit else []
    facts += [f"loss {scenario.loss:g}"] if scenario.loss else []
    facts += [f"churn {scenario.churn:g}"] if scenario.churn else []
    figure.suptitle(", ".join(facts), fontsize=11, color=plot.DARK)
    return pictures.save_figure(figure, path)
