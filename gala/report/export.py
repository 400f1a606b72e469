"""Records of runs as tables for other programs: ``gala export RUN ... --format csv|parquet``.

Two tables. ``metrics`` has a row for each record and a column for each metric that any of the runs
has; ``events`` has a row for each event. Both begin with the columns run, rank, incarnation, t
(unix seconds), update and step, which identify a row. What a record does not have, or has as null,
is empty.

Files are read twice, first for the columns, then for the rows, so that a day of 64 agents needs
little memory. They appear under their names when they are complete.
"""

from __future__ import annotations

import csv
import io
import json as encoder
import math
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from gala.errors import UserError, printable
from gala.files import commands
from gala.files.atomic import open_atomic
from gala.telemetry.reader import Record, Tail, damage
from gala.telemetry.selection import choose_format, select_runs, tails

if TYPE_CHECKING:
    import pyarrow

FORMATS = ("csv", "parquet")
TABLES = ("metrics", "events")
STAMP = ("run", "rank", "incarnation", "t", "update", "step")
TEXT = ("event", "message")
_WHOLE = ("rank", "incarnation", "update", "step")

BATCH = 10_000
"""Rows of one parquet row group."""

Row = list[Any]


@dataclass(frozen=True)
class Source:
    """The records of one agent that are exported.

    Attributes:
        run: name of the run.
        path: the file.
        records: lines of the file, good ones, that were there when it was first read.
        corrupt: lines that were not.
    """

    run: str
    path: Path
    records: int
    corrupt: int


@dataclass(frozen=True)
class Written:
    """One table on disk."""

    path: Path
    rows: int
    columns: int


def export(
    runs: Sequence[str | Path], *, form: str | None = None, output: str | Path | None = None
) -> list[Written]:
    """Write the tables of ``runs``.

    Args:
        runs: run folders.
        form: ``csv`` or ``parquet``; None takes it from the suffix of ``output``, else csv.
        output: a folder, which gets ``metrics.csv`` and ``events.csv``; or the file of the metrics,
            by its suffix, with the events beside it as ``NAME.events.csv``. None: the folder
            ``export``.

    Raises:
        UserError: a run is not there or empty, the format is unknown, an extra is missing, or a
            file cannot be written.
    """
    folders = select_runs(runs)
    files, form = _destination(form, output)
    if form == "parquet":
        _pyarrow()
    sources, metrics = _survey(folders)
    columns = {
        "metrics": [*STAMP, *sorted(metrics, key=natural)],
        "events": [*STAMP, *TEXT],
    }
    write = _write_parquet if form == "parquet" else _write_csv
    written = []
    for table in TABLES:
        path = files[table]
        try:
            with open_atomic(path) as file:
                names = [_readable(name) for name in columns[table]]
                rows = write(file, names, _rows(sources, table, columns[table]))
        except OSError as error:
            raise UserError(f"cannot be written: {error.strerror}", file=path) from None
        written.append(Written(path, rows, len(columns[table])))
    for source in sources:
        if source.corrupt:
            line = f"gala: warning: {damage(source.path, source.corrupt)}"
            print(printable(line), file=sys.stderr)
    return written


def tell(written: Sequence[Written], *, json: bool = False) -> None:
    """Print what was written, a line a table or one JSON object."""
    if json:
        tables = [{**asdict(each), "path": str(each.path)} for each in written]
        print(encoder.dumps({"tables": tables}))
        return
    for each in written:
        print(printable(f"{each.path}: {each.rows:,} rows, {each.columns} columns"))


def natural(name: str) -> list[tuple[int, int | str]]:
    """Key that sorts ``gossip/in/2/age_s`` before ``gossip/in/10/age_s``."""
    parts = re.split(r"(\d+)", name)
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in parts]


def _destination(form: str | None, output: str | Path | None) -> tuple[dict[str, Path], str]:
    """Where each table goes, and the format."""
    path = Path("export" if output is None else output)
    form = choose_format(form, path, FORMATS, default="csv", folders=FORMATS)
    if path.suffix and not path.is_dir():
        events = path.with_name(f"{path.stem}.events{path.suffix}")
        return {"metrics": path, "events": events}, form
    return {table: path / f"{table}.{form}" for table in TABLES}, form


def _survey(folders: Mapping[str, Path]) -> tuple[list[Source], set[str]]:
    """What there is: the records of each agent, and the names of all metrics."""
    sources: list[Source] = []
    metrics: set[str] = set()
    for run, folder in folders.items():
        for tail in tails(folder).values():
            count = foreign = 0
            for record in tail.stream():
                count += 1
                if not _is_record(record):
                    foreign += 1
                elif "event" not in record:
                    metrics |= record.keys()
            sources.append(Source(run, tail.path, count, tail.corrupt + foreign))
    return sources, metrics - {"v", *STAMP}


def _rows(sources: Sequence[Source], table: str, columns: Sequence[str]) -> Iterator[Row]:
    names = columns[len(STAMP) :]
    for source in sources:
        # A run may still go on: rows that came after the survey could have other columns.
        for record in islice(Tail(source.path).stream(), source.records):
            if not _is_record(record) or ("event" in record) != (table == "events"):
                continue
            stamp = [_readable(source.run), *(_number(record.get(name)) for name in STAMP[1:])]
            if table == "events":
                yield [*stamp, *(_text(record.get(name)) for name in names)]
            else:
                yield [*stamp, *(_number(record.get(name)) for name in names)]


def _is_record(record: Record) -> bool:
    """Whether a line has the stamp without which a row says nothing."""
    return isinstance(record.get("rank"), int) and _number(record.get("t")) is not None


def _number(value: object) -> float | int | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, int):
        return value if abs(value) < 2**63 else None
    return value if math.isfinite(value) else None


def _text(value: object) -> str | None:
    return None if value is None else _readable(str(value))


def _readable(text: str) -> str:
    """As it can be written: a folder may have a name, a record a value, that is no text."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


# -- formats


def _write_csv(file: BinaryIO, columns: Sequence[str], rows: Iterator[Row]) -> int:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    count = 0
    for row in rows:
        writer.writerow(row)  # None is an empty field
        count += 1
    text.detach()  # flushes, and leaves the file open for its owner
    return count


def _write_parquet(file: BinaryIO, columns: Sequence[str], rows: Iterator[Row]) -> int:
    arrow = _pyarrow()
    from pyarrow import parquet

    schema = arrow.schema([(name, _type(arrow, name)) for name in columns])
    count = 0
    with parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        while batch := list(islice(rows, BATCH)):
            arrays = [
                arrow.array([_fitting(row[i], field.type, arrow) for row in batch], field.type)
                for i, field in enumerate(schema)
            ]
            writer.write_table(arrow.Table.from_arrays(arrays, schema=schema))
            count += len(batch)
    return count


def _type(arrow: Any, name: str) -> pyarrow.DataType:
    if name == "run":
        return arrow.dictionary(arrow.int32(), arrow.string())
    if name in TEXT:
        return arrow.string()
    return arrow.int64() if name in _WHOLE else arrow.float64()


def _fitting(value: Any, kind: pyarrow.DataType, arrow: Any) -> Any:
    """A count that a foreign writer wrote as 12.0 is one, too; 12.5 updates are damage."""
    if value is None or not arrow.types.is_integer(kind):
        return value
    return int(value) if value == int(value) else None


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError:
        raise UserError("parquet needs pyarrow", hint=commands.install("parquet")) from None
    return pyarrow
