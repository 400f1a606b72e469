"""The numbers of a report as tables: for a terminal, Markdown and HTML."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from rich.table import Table as RichTable
from rich.text import Text

from gala.evaluation.statistics import coverage
from gala.files.screen import Screen
from gala.report.summary import Estimate, Method, RunSet, Summary
from gala.telemetry.console import clock
from gala.telemetry.standing import without

ENDLESS = 100_000
"""Columns of a file or a pipe."""


@dataclass(frozen=True)
class Table:
    """Text in rows and columns.

    Attributes:
        title: what it shows.
        columns: their names.
        rows: as many cells each.
        words: so many columns at the left are text; the others are numbers.
        note: how to read it.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: int = 1
    note: str = ""

    def markdown(self) -> str:
        """A table of GitHub's Markdown below a heading."""
        rule = ["---"] * self.words + ["---:"] * (len(self.columns) - self.words)
        rows = [self.columns, rule, *([_escaped(cell) for cell in row] for row in self.rows)]
        lines = [f"| {' | '.join(row)} |" for row in rows]
        return "\n".join([f"## {self.title}", "", *lines, *(["", self.note] if self.note else [])])

    def html(self) -> str:
        """A ``table`` without styles; everything is escaped."""
        head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in self.columns)
        body = "".join(
            f'<tr><th scope="row">{html.escape(row[0])}</th>'
            + "".join(f"<td>{html.escape(cell)}</td>" for cell in row[1:])
            + "</tr>"
            for row in self.rows
        )
        note = f"<p>{html.escape(self.note)}</p>" if self.note else ""
        return (
            f"<table><caption>{html.escape(self.title)}</caption>"
            f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{note}"
        )

    def print(self, console: Screen) -> None:
        """The same for people: a table where there is room, else a line for each cell."""
        table = RichTable(title=self.title, title_justify="left")
        for index, name in enumerate(self.columns):
            table.add_column(name, justify="left" if index < self.words else "right", no_wrap=True)
        for row in self.rows:
            table.add_row(*map(Text, row))
        if Screen(width=ENDLESS).measure(table).maximum <= console.width:
            console.print(table)
        else:
            console.print(Text(self.title, style="table.title"))
            longest = max(map(len, self.columns))
            for row in self.rows:
                for name, cell in zip(self.columns, row, strict=True):
                    console.print(Text(f"  {name:{longest}}  {cell}"), soft_wrap=True)
                console.print()
        if self.note:
            console.print(Text(self.note, style="table.caption"))
        console.print()


def terminal() -> Screen:
    """Where tables are printed: as wide as the terminal; a pipe has no end."""
    console = Screen(highlight=False)
    return console if console.is_terminal else Screen(width=ENDLESS, highlight=False)


def tables_of(
    summaries: Sequence[Summary], sets: Sequence[RunSet], methods: Sequence[Method]
) -> list[Table]:
    """All tables of a report."""
    tables = [_learning(summaries), _agreement(summaries)]
    if any(len(each.runs) > 1 for each in sets):
        tables.append(_sets(sets))
    if methods:
        tables.append(_methods(methods))
    return tables


def _learning(summaries: Sequence[Summary]) -> Table:
    return Table(
        "Learning",
        ("run", "environment", "method", "seed", "steps", "time", "steps/s", "return",
         "threshold", "steps to it", "time to it"),
        tuple(
            (s.name, s.env_id or "-", s.label, cell(s.seed, "d"), cell(s.steps, ",d"),
             clock(s.seconds), cell(s.steps_per_s, ",.0f"), cell(s.final_return, ".2f"),
             cell(s.threshold, "g"), cell(s.steps_to_threshold, ",.0f"),
             "-" if s.seconds_to_threshold is None else clock(s.seconds_to_threshold))
            for s in summaries
        ),
        words=3,
        note="Steps and steps/s are those of all agents; return is the mean over agents of the "
        "mean of their last 100 games, without who is gone or far behind"
        + "".join(f"; {s.name}: without {without(s.left_out)}" for s in summaries if s.left_out)
        + ".",
    )  # fmt: skip


def _agreement(summaries: Sequence[Summary]) -> Table:
    return Table(
        "Agreement",
        ("run", "of bound, most", "median", "of expected", "cosine", "relative, most", "mixes",
         "sent", "received", "refused", "deaths", "alarms", "damaged lines"),
        tuple(
            (s.name, cell(s.epsilon_ratio_max, ".3g"), cell(s.epsilon_ratio_median, ".3g"),
             cell(s.expected_ratio_median, ".3g"), cell(s.step_cosine_median, ".2f"),
             cell(s.relative_max, ".3g"), cell(s.mixes, ",d"), size(s.bytes_sent),
             size(s.bytes_received), cell(s.messages_refused, ",d"), str(s.deaths), str(s.alarms),
             cell(s.damaged_lines, ",d"))
            for s in summaries
        ),
        note="Of bound: divergence over its certificate, computed from the updates and mixes that "
        "happened (over a model's bound where records are missing: divergence/proven is 0 there); "
        "within the ball up to 1, and empty where no bound applies, as between agents that average "
        "no parameters; distances are from sketches, ± 4 % unless set otherwise. "
        "Of expected: median divergence over what it would be for unrelated updates; cosine: "
        "between the agents' updates, median of the mean of all pairs. Relative: distance of an "
        "agent from the mean over the norm of the mean.",
    )  # fmt: skip


def _sets(sets: Sequence[RunSet]) -> Table:
    return Table(
        "Sets of seeds",
        ("method", "environment", "runs", "return", "steps/s", "reached", "steps to threshold",
         "time to threshold"),
        tuple(
            (s.label, s.env_id or "-", str(len(s.runs)), estimate(s.final_return, "{:.2f}".format),
             estimate(s.steps_per_s, "{:,.0f}".format), f"{s.reached} of {len(s.runs)}",
             estimate(s.steps_to_threshold, "{:,.0f}".format),
             estimate(s.seconds_to_threshold, clock))
            for s in sets
        ),
        words=2,
        note="A set is of runs whose options are equal but for the seed; the method names those in "
        "which sets differ. Interquartile means over runs with 95 % stratified bootstrap intervals."
        + few(len(s.runs) for s in sets),
    )  # fmt: skip


def _methods(methods: Sequence[Method]) -> Table:
    return Table(
        "Over environments",
        ("method", "environments", "runs of each", "score"),
        tuple(
            (m.label, ", ".join(m.environments), str(m.runs), estimate(m.score, "{:.3f}".format))
            for m in methods
        ),
        words=2,
        note="Interquartile mean over runs and environments with its 95 % stratified bootstrap "
        "interval; 0 is random play and 1 a human in Atari games, elsewhere 1 is the threshold."
        + few(m.runs for m in methods),
    )


def few(runs: Iterable[int]) -> str:
    """What intervals of so few runs really cover; empty where there is nothing to say."""
    known = {count: coverage(count) for count in sorted(set(runs))}
    told = [f"{share:.0%} of {count}".replace("%", " %") for count, share in known.items() if share]
    if not told:
        return ""
    return (
        f" Of fewer than 10 runs a 95 % interval holds the true value less often: {_listed(told)}."
    )


def _listed(parts: Sequence[str]) -> str:
    """``a, b and c runs``."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts) + " runs"


def cell(value: float | None, form: str) -> str:
    """A number, or a dash."""
    return "-" if value is None else format(value, form)


def estimate(value: Estimate | None, show: Callable[[float], str]) -> str:
    """``value [low, high]``."""
    if value is None:
        return "-"
    if value.low is None or value.high is None:
        return show(value.value)
    return f"{show(value.value)} [{show(value.low)}, {show(value.high)}]"


def size(count: float) -> str:
    """Bytes in the unit in which they are few."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} TB"


def _escaped(text: str) -> str:
    """Text of people (names of runs) that Markdown shows as it is."""
    return "".join(f"\\{c}" if c in "\\`*_[]<>|" else " " if c.isspace() else c for c in text)
