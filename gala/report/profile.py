"""What ``gala profile`` does: read the phases of profiled updates, sum them up, draw them."""

from __future__ import annotations

import json as encoder
import math
from collections.abc import Sequence
from pathlib import Path

from gala.config.arguments import HEARING, Parser, positive
from gala.errors import EXIT_OK, UserError
from gala.files.pictures import new_figure, save_figure
from gala.report import gantt
from gala.report.streams import Span, Stream
from gala.report.tables import Table, cell, terminal
from gala.telemetry.phases import PHASES
from gala.telemetry.reader import Record, RunReader, Tail


def main(arguments: Sequence[str]) -> int:
    """Run ``gala profile``; returns its exit code."""
    parser = Parser(
        prog="gala profile", description="Show what each agent did when, after --profile."
    )
    parser.add_argument("run", type=Path, help="run folder")
    parser.add_argument("-o", "--output", type=Path, help="picture of all agents (png, pdf, svg)")
    parser.add_argument("--seconds", type=positive, help="length of what it shows (12 updates)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    profile(**vars(parser.parse_args(arguments)))
    return EXIT_OK


def profile(
    run: Path, *, output: Path | None = None, seconds: float | None = None, json: bool = False
) -> list[Stream]:
    """Show where the time of profiled updates went: ``gala profile RUN -o gantt.png``.

    Args:
        run: run folder.
        output: picture of all agents to draw.
        seconds: length of what the picture shows; None: some updates.
        json: print one JSON object instead of a table.

    Raises:
        UserError: nothing was profiled, an extra is missing, or the picture cannot be written.
    """
    if output is not None:
        new_figure(1, 1)  # without matplotlib nothing needs to be read
    streams, damaged = read_streams(run)
    if output is not None:
        save_figure(gantt.draw(streams, title(run, len(streams)), seconds), output)
    if json:
        found = {
            "run": str(run),
            "agents": [stream.summary() for stream in streams],
            "damaged_lines": damaged,
            "picture": str(output) if output is not None else None,
        }
        print(encoder.dumps(found, allow_nan=False))
    else:
        console = terminal()
        table(streams).print(console)
        if damaged:
            console.print(f"{damaged} damaged lines skipped")
        if output is not None:
            console.print(f"written: {output}", soft_wrap=True)
    return streams


def read_streams(run: Path) -> tuple[list[Stream], int]:
    """The streams of all agents that were profiled, by rank, and how many lines were damaged.

    Raises:
        UserError: there are none.
    """
    if not run.is_dir():
        raise UserError("no such run folder", file=run)
    streams: dict[int, list[Span]] = {}
    damaged = 0
    for path in sorted(run.glob("rank_*/profile/phases.jsonl")):
        tail = Tail(path)
        for record in tail.read():
            span = _span(record)
            if span is None:
                damaged += 1
            else:
                streams.setdefault(int(record["rank"]), []).append(span)
        damaged += tail.corrupt
    if not streams:
        raise UserError(
            "holds no profile", file=run, hint="gala train ... --profile writes one while it runs"
        )
    return [
        Stream(rank, tuple(sorted(spans, key=lambda span: span.begin)))
        for rank, spans in sorted(streams.items())
    ], damaged


def _span(record: Record) -> Span | None:
    rank, update, phase = record.get("rank"), record.get("update"), record.get("phase")
    times = record.get("begin"), record.get("end")
    if not (isinstance(rank, int) and isinstance(update, int) and phase in PHASES):
        return None
    if not all(isinstance(each, int | float) and math.isfinite(each) for each in times):
        return None
    begin, end = float(record["begin"]), float(record["end"])
    return (
        Span(update, str(phase), begin, end, record.get("mixed") is True) if begin <= end else None
    )


def title(run: Path, agents: int) -> str:
    """What the picture is about, in a line."""
    reader = RunReader(run)
    meta, graph = reader.meta, reader.topology
    parts = [run.resolve().name, str(meta.get("env_id", "")), f"{agents} agents"]
    coupling = str(meta.get("coupling", ""))
    if coupling != "gossip":
        parts.append(coupling)
    if coupling in HEARING:
        parts.append(str(graph.get("name", "")))
    return ", ".join(part for part in parts if part)


def table(streams: list[Stream]) -> Table:
    """One row an agent."""
    rows = []
    for stream in streams:
        found = stream.summary()
        rows.append((
            str(stream.rank),
            str(found["first_update"]),
            *(cell(found["phases_ms"][phase], ".2f") for phase in PHASES),
            cell(found["update_ms"], ".2f"),
            cell(found["mixes_per_update"], ".2f"),
        ))  # fmt: skip
    return Table(
        f"{max(stream.updates for stream in streams)} updates of each agent",
        ("agent", "first", *PHASES, "update", "mixes"),
        tuple(rows),
        words=1,
        note="ms per update; mixes per update. What is traced is slowed down: gala bench measures.",
    )
