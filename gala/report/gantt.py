"""All agents above one another: who did what when, and when they mixed."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gala.files.pictures import new_figure
from gala.report.figures import COLOURS, DARK, GREY
from gala.report.streams import Span, Stream
from gala.telemetry.phases import PHASES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOUR_OF = dict(zip(("collect", "learn", "gossip", "wait", "log", "other"), COLOURS, strict=False))
"""The colours that the figures of a report give to the phases."""

SHOWN_UPDATES = 12
"""Of a middling agent; with more of them nothing is seen."""

INCHES = 13.0
MIN_LABEL = 0.022
"""Share of the width from which on an update's number fits into its first phase."""


def common_window(streams: Sequence[Stream], seconds: float | None = None) -> tuple[float, float]:
    """Unix seconds between which all agents were looked at, or, if there is no such time, any.

    Args:
        streams: of the agents.
        seconds: the longest that is wanted; None: as long as some updates take.
    """
    begin, end = max(stream.begin for stream in streams), min(stream.end for stream in streams)
    if begin >= end:
        begin, end = min(stream.begin for stream in streams), max(stream.end for stream in streams)
    elif seconds is None:
        seconds = SHOWN_UPDATES * statistics.median(
            (stream.end - stream.begin) / stream.updates for stream in streams
        )
    return begin, end if seconds is None else min(end, begin + seconds)


def draw(streams: Sequence[Stream], title: str, seconds: float | None = None) -> Figure:
    """A stream an agent, agent 0 on top; time runs to the right.

    Args:
        streams: of the agents.
        title: of the figure.
        seconds: length of what is shown; None: some updates.

    Raises:
        UserError: matplotlib is not installed.
    """
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    begin, end = common_window(streams, seconds)
    figure = new_figure(INCHES, min(1.7 + 0.55 * len(streams), 30.0))
    ax = figure.subplots()
    for row, stream in enumerate(streams):
        shown = [span for span in stream.spans if span.end >= begin and span.begin <= end]
        _stream(ax, row, shown, begin, end)
    ax.set_xlim(0.0, 1e3 * (end - begin))
    ax.set_ylim(len(streams) - 0.45, -0.7)
    ax.set_yticks(range(len(streams)), [f"agent {stream.rank}" for stream in streams])
    ax.set_xlabel("ms", fontsize=9, color=DARK)
    ax.set_title(title, fontsize=11, color=DARK, loc="left")
    ax.tick_params(axis="y", length=0)
    ax.tick_params(labelsize=9, colors=DARK)
    ax.grid(axis="x", alpha=0.25, linewidth=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right", "left"]].set_visible(False)
    present = {span.phase for stream in streams for span in stream.spans}
    handles: list[Any] = [
        Patch(color=COLOUR_OF[phase], label=phase) for phase in PHASES if phase in present
    ]
    handles.append(
        Line2D([], [], color=DARK, marker="v", linestyle="none", label="mixed with neighbours")
    )
    figure.legend(handles=handles, loc="outside lower center", ncols=6, frameon=False, fontsize=9)
    return figure


def _stream(ax: Axes, row: int, spans: Sequence[Span], begin: float, end: float) -> None:
    for phase in PHASES:
        bars = [
            (1e3 * (s.begin - begin), 1e3 * (s.end - s.begin)) for s in spans if s.phase == phase
        ]
        # edges of their own colour: what is shorter than a pixel is seen, too
        ax.broken_barh(bars, (row - 0.32, 0.64), color=COLOUR_OF[phase], linewidth=0.3)
    mixes = [1e3 * (s.end - begin) for s in spans if s.mixed and begin <= s.end <= end]
    ax.plot(mixes, [row - 0.45] * len(mixes), "v", color=DARK, markersize=5, clip_on=False)
    for span in spans:
        left, right = max(span.begin, begin), min(span.end, end)
        if span.phase == "collect" and right - left > MIN_LABEL * (end - begin):
            ax.text(1e3 * ((left + right) / 2 - begin), row, str(span.update), color="white",
                    fontsize=7, ha="center", va="center")  # fmt: skip
    ax.axhline(row, color=GREY, linewidth=0.5, zorder=0)
