"""What ``gala report`` does: read runs, sum them up, draw them, write the report."""

from __future__ import annotations

import html
import json as encoder
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from gala.config.arguments import Parser, number, positive
from gala.errors import EXIT_OK, UserError, printable
from gala.files.atomic import open_atomic, write_atomic
from gala.files.pictures import new_figure, save_figure
from gala.report.comparison import Comparison, compare_sets
from gala.report.comparison_tables import tables_of_comparison
from gala.report.curves import learning_curve
from gala.report.figures import Drawing, Entry, draw
from gala.report.pages import captioned, table_page
from gala.report.pairing import SET, SETS, Pair
from gala.report.run_data import RunData, read_run
from gala.report.summary import (
    Method,
    RunSet,
    grouped,
    methods_of,
    sets_of,
    summarize_run,
    told_apart,
)
from gala.report.svg import inline_svg
from gala.report.tables import Table, tables_of, terminal
from gala.telemetry.selection import choose_format, find_runs, select_runs

FORMATS = ("md", "pdf", "png", "html")


@dataclass(frozen=True, eq=False)
class Report:
    """Everything that a report shows.

    Attributes:
        entries: the runs.
        sets: arms: of runs that differ in their seeds alone.
        methods: over environments.
        comparison: of two sets of runs, where that was asked for.
    """

    entries: tuple[Entry, ...]
    sets: tuple[RunSet, ...]
    methods: tuple[Method, ...]
    comparison: Comparison | None = None

    @property
    def tables(self) -> list[Table]:
        """The numbers."""
        compared = [] if self.comparison is None else tables_of_comparison(self.comparison)
        summaries = [entry.summary for entry in self.entries]
        return [*compared, *tables_of(summaries, self.sets, self.methods)]

    @property
    def title(self) -> str:
        """A heading."""
        names = [entry.run.name for entry in self.entries]
        return names[0] if len(names) == 1 else f"{len(names)} runs"

    def drawings(self) -> list[Drawing]:
        """The figures.

        Raises:
            UserError: matplotlib is not installed.
        """
        by_name = {entry.summary.name: entry for entry in self.entries}
        groups = grouped(entry.summary for entry in self.entries)
        return list(draw([[by_name[each.name] for each in group] for group in groups]))

    def to_json(self) -> dict[str, Any]:
        """``runs``, ``sets`` and ``methods`` as plain data, with the names of the summaries.

        And ``comparison``, with those of :class:`gala.report.comparison.Comparison`, where there
        is one.
        """
        compared = {} if self.comparison is None else {"comparison": asdict(self.comparison)}
        return compared | {
            "runs": [asdict(entry.summary) for entry in self.entries],
            "sets": [asdict(each) for each in self.sets],
            "methods": [asdict(each) for each in self.methods],
        }


def main(arguments: Sequence[str]) -> int:
    """Run ``gala report``; returns its exit code."""
    parser = Parser(prog="gala report", description="Sum up and draw finished runs.")
    parser.add_argument("runs", type=Path, nargs="*", metavar="run", help="run folder")
    parser.add_argument(
        "--compare",
        nargs=2,
        metavar=SETS,
        help="two sets of runs: each a run folder, a folder of runs, or a pattern in quotes",
    )
    parser.add_argument("--steps", type=positive, help="returns as they were after so many steps")
    parser.add_argument(
        "-o", "--output", type=Path, help="file, or folder of pictures; without it tables are shown"
    )
    parser.add_argument("--format", dest="form", help="md, pdf, png or html (as the output says)")
    parser.add_argument("--threshold", type=number, help="return to reach (475 in CartPole)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    report(**vars(parser.parse_args(arguments)))
    return EXIT_OK


def report(
    runs: Sequence[str | Path] = (),
    *,
    compare: Sequence[str] | None = None,
    steps: float | None = None,
    output: str | Path | None = None,
    form: str | None = None,
    threshold: float | None = None,
    json: bool = False,
) -> Report:
    """Sum up ``runs``: ``gala report RUN ... -o report.html``.

    Args:
        runs: run folders.
        compare: two sets of runs instead, see :func:`gala.report.comparison.compare_sets`.
        steps: end of all learning curves; None: that of each run.
        output: file, or folder for png; None writes ``report.FORMAT`` if a format is given, and
            else only prints the tables.
        form: md, pdf, png or html; None takes it from the suffix of ``output``.
        threshold: return to reach, instead of what is known of the environment.
        json: print one JSON object instead of tables.

    Raises:
        UserError: a run is not there or holds nothing, the format is unknown, an extra is
            missing, a file cannot be written, or two sets cannot be compared.
    """
    folders, pair = _chosen(runs, compare)
    form, path = _destination(form, output)
    if form is not None:
        new_figure(1, 1)  # without matplotlib nothing needs to be read
    made = read_report(folders, threshold, steps=steps, pair=pair)
    if form is not None and path is not None:
        try:
            written = _WRITERS[form](made, path)
        except OSError as error:
            reason = os.strerror(error.errno or 0)
            raise UserError(f"cannot be written: {reason}", file=path) from None
        print(printable(f"written: {', '.join(map(str, written))}"), file=sys.stderr)
    if json:
        print(encoder.dumps(made.to_json(), allow_nan=False))
    elif form is None:
        console = terminal()
        for table in made.tables:
            table.print(console)
    return made


def read_report(
    folders: Mapping[str, Path],
    threshold: float | None = None,
    *,
    steps: float | None = None,
    pair: Pair | None = None,
) -> Report:
    """Read runs and sum them up.

    Args:
        folders: run folders by name.
        threshold: see :func:`report`.
        steps: likewise.
        pair: how they make two sets, to be compared.

    Raises:
        UserError: a run has no readable record or has not done ``steps``, or the sets cannot be
            compared.
    """
    runs: list[RunData] = []
    for name, folder in folders.items():
        run = read_run(name, folder)
        if not any(agent.t.size for agent in run.agents):
            raise UserError("has no readable record", file=folder)
        if pair is not None:
            run = replace(run, options={**run.options, SET: pair.set_of(len(runs))})
        runs.append(run)
    differ = told_apart(runs)
    entries = []
    for run in runs:
        curve = learning_curve(run)
        if steps is not None and curve is not None:
            done = curve.steps[-1]
            curve = curve.until(steps)
            if curve is None:
                raise UserError(f"has no return at step {steps:,.0f} of {done:,.0f}", file=run.path)
        entries.append(Entry(run, summarize_run(run, curve, threshold, differ), curve))
    summaries = [entry.summary for entry in entries]
    return Report(
        tuple(entries),
        tuple(sets_of(summaries)),
        tuple(methods_of(summaries)),
        None if pair is None else compare_sets(pair, entries, steps),
    )


def _chosen(
    runs: Sequence[str | Path], compare: Sequence[str] | None
) -> tuple[dict[str, Path], Pair | None]:
    """The run folders by name, and how they make two sets."""
    if compare is None:
        if not runs:
            rule = "the following arguments are required: run, or --compare A B"
            raise UserError(rule, hint="see gala report --help")
        return select_runs(runs), None
    if runs:
        rule = f"takes two sets, and {runs[0]} stands beside them"
        raise UserError(rule, field="--compare", hint="patterns need quotes: 'runs/ring-*'")
    a, b = map(find_runs, compare)
    return select_runs([*a, *b]), Pair(asked=(compare[0], compare[1]), first=len(a))


def summary_html(made: Report) -> str:
    """Tables and figures as HTML: no scripts, no styles, everything from outside escaped."""
    parts = [table.html() for table in made.tables]
    for drawing in made.drawings():
        svg = inline_svg(drawing.figure, f"figure-{drawing.name}", drawing.title)
        caption = f"<strong>{html.escape(drawing.title)}.</strong> {html.escape(drawing.caption)}"
        parts.append(f"<figure>{svg}<figcaption>{caption}</figcaption></figure>")
    return "\n".join(parts)


def _destination(form: str | None, output: str | Path | None) -> tuple[str | None, Path | None]:
    """Format and path of the report; None, None to write none."""
    if output is None:
        if form is None:
            return None, None
        path = Path("report" if form == "png" else f"report.{form}")
    else:
        path = Path(output)
    return choose_format(form, path, FORMATS, default="png", folders=("png",)), path


def _write_markdown(made: Report, path: Path) -> list[Path]:
    """The report, and its figures in a folder beside it."""
    parts = [f"# {made.title}", *(table.markdown() for table in made.tables)]
    written = []
    for drawing in made.drawings():
        folder = path.with_name(f"{path.stem}_figures")
        for suffix in ("png", "svg"):
            written.append(save_figure(drawing.figure, folder / f"{drawing.name}.{suffix}"))
        link = f"{folder.name}/{drawing.name}"
        parts.append(
            f"## {drawing.title}\n\n[![{drawing.title}](<{link}.png>)](<{link}.svg>)\n\n"
            f"{drawing.caption}"
        )
    return [write_atomic(path, "\n\n".join(parts) + "\n"), *written]


def _write_png(made: Report, path: Path) -> list[Path]:
    """A folder of figures."""
    folder = path.with_suffix("") if path.suffix.lower() == ".png" else path
    return [save_figure(each.figure, folder / f"{each.name}.png") for each in made.drawings()]


def _write_pdf(made: Report, path: Path) -> list[Path]:
    """One page of tables and one a figure, as vectors."""
    from matplotlib.backends.backend_pdf import PdfPages

    drawings = made.drawings()
    with open_atomic(path) as file, PdfPages(file) as pages:
        pages.savefig(table_page(made.title, made.tables))
        for drawing in drawings:
            pages.savefig(captioned(drawing))
    return [path]


def _write_html(made: Report, path: Path) -> list[Path]:
    """The page of the dashboard, frozen, with the summary."""
    from gala.dashboard.frozen import freeze

    runs = [entry.run.path for entry in made.entries]
    page = freeze(runs, summary_html=summary_html(made))
    # a folder may have a name that is no text
    return [write_atomic(path, page.encode(errors="backslashreplace"))]


_WRITERS: dict[str, Callable[[Report, Path], list[Path]]] = {
    "md": _write_markdown,
    "pdf": _write_pdf,
    "png": _write_png,
    "html": _write_html,
}
