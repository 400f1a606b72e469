"""``gala export``: every record in its place, in both formats, whatever the files look like."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gala import cli
from gala.files import commands
from gala.report import export as exporting
from gala.report.export import STAMP, export, natural

Write = Any


def read(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def two_runs(write_run: Write) -> list[Path]:
    first = {
        0: [{"event": "start", "message": "update 0, step 0"}, {"a": 1.5, "in/10": 1}, {"a": None}],
        1: [{"in/2": 7, "a": 0.1}, {"event": "alarm", "message": 'left, "far"\nfrom it'}],
    }
    second = {0: [{"b": 2, "t": 5.25, "incarnation": 3}]}
    return [write_run("one", first), write_run("two", second)]


def test_a_row_a_record_and_a_column_a_metric(two_runs: list[Path], tmp_path: Path) -> None:
    metrics, events = export(two_runs, output=tmp_path / "out")
    assert (metrics.path, metrics.rows) == (tmp_path / "out" / "metrics.csv", 4)
    rows = read(metrics.path)
    assert list(rows[0]) == [*STAMP, "a", "b", "in/2", "in/10"]
    assert [list(row.values()) for row in rows] == [
        ["one", "0", "0", "1001.0", "1", "10", "1.5", "", "", "1"],
        ["one", "0", "0", "1002.0", "2", "20", "", "", "", ""],
        ["one", "1", "0", "1000.0", "0", "0", "0.1", "", "7", ""],
        ["two", "0", "3", "5.25", "0", "0", "", "2", "", ""],
    ]
    assert (events.rows, events.columns) == (2, 8)
    assert [(row["rank"], row["event"], row["message"]) for row in read(events.path)] == [
        ("0", "start", "update 0, step 0"),
        ("1", "alarm", 'left, "far"\nfrom it'),
    ]


def test_parquet_holds_the_same_with_types(two_runs: list[Path], tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    metrics, events = export(two_runs, output=tmp_path / "x.parquet")
    assert events.path == tmp_path / "x.events.parquet"
    table = parquet.read_table(metrics.path)
    kinds = {field.name: str(field.type) for field in table.schema}
    assert kinds["rank"] == kinds["step"] == "int64" and kinds["t"] == kinds["b"] == "double"
    assert kinds["run"].startswith("dictionary<values=string")
    assert table.column("run").to_pylist() == ["one", "one", "one", "two"]
    assert table.column("a").to_pylist() == [1.5, None, 0.1, None]
    assert table.column("in/2").to_pylist() == [None, None, 7.0, None]
    assert parquet.read_table(events.path).column("event").to_pylist() == ["start", "alarm"]


def test_parquet_goes_by_batches(
    write_run: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(exporting, "BATCH", 4)
    run = write_run("long", {0: [{"a": i} for i in range(10)]})
    (metrics, _) = export([run], output=tmp_path / "x.parquet")
    assert parquet.ParquetFile(metrics.path).num_row_groups == 3
    assert parquet.read_table(metrics.path).column("a").to_pylist() == [*map(float, range(10))]


def test_floats_survive_exactly(write_run: Write, tmp_path: Path) -> None:
    values = [0.1, 1e-300, 1 / 3, 1795227534.962633, 2**60 + 1]
    run = write_run("exact", {0: [{"a": value} for value in values]})
    (metrics, _) = export([run], output=tmp_path)
    assert [json.loads(row["a"]) for row in read(metrics.path)] == values


def test_a_folder_whose_name_is_no_text(write_run: Write, tmp_path: Path) -> None:
    run = write_run("\udcffx", {0: [{"a": 1}]})
    (metrics, _) = export([run], output=tmp_path)
    assert [row["run"] for row in read(metrics.path)] == [r"\udcffx"]


def test_damage_is_skipped_and_counted(
    write_run: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run("damaged", {0: [{"a": 1}], 1: [{"a": 2}]})
    with open(run / "rank_00" / "metrics.jsonl", "ab") as file:
        file.write(b'\x00\xff\n[1]\n{"a": 9}\n{"rank": 0, "t": "late", "a": 9}\n')
        file.write(b'{"rank": 0, "t": 3.0, "step": true, "a": "text", "b": NaN, "c": 1e999}\n')
        file.write(b'{"rank": 0, "t": 4.0, "a": 8')  # still being written
    (metrics, _) = export([run], output=tmp_path / "out")
    rows = read(metrics.path)
    assert [(row["rank"], row["a"]) for row in rows] == [("0", "1"), ("0", ""), ("1", "2")]
    assert rows[1]["step"] == rows[1]["b"] == rows[1]["c"] == ""
    told = capsys.readouterr().err
    path = run / "rank_00" / "metrics.jsonl"
    assert told == f"gala: warning: {path}: 4 damaged lines skipped\n"


def test_odd_numbers_fit_into_parquet(write_run: Write, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    run = write_run("odd", {0: [{"update": 12.0, "step": 10**40}, {"update": 12.5}]})
    (metrics, _) = export([run], output=tmp_path, form="parquet")
    table = parquet.read_table(metrics.path)
    assert table.column("update").to_pylist() == [12, None]
    assert table.column("step").to_pylist() == [None, 10]


def test_rows_that_come_while_it_works_wait_for_the_next_time(
    write_run: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = write_run("live", {0: [{"a": 1}]})
    survey = exporting._survey

    def survey_then_grow(folders: Any) -> Any:
        found = survey(folders)
        with open(run / "rank_00" / "metrics.jsonl", "a") as file:
            file.write('{"rank": 0, "t": 2.0, "new": 1}\n')
        return found

    monkeypatch.setattr(exporting, "_survey", survey_then_grow)
    (metrics, _) = export([run], output=tmp_path)
    assert (metrics.rows, metrics.columns) == (1, len(STAMP) + 1)


def test_names_tell_runs_of_the_same_folder_name_apart(write_run: Write, tmp_path: Path) -> None:
    runs = [write_run(f"{seed}/pong", {0: [{"a": 1}]}) for seed in ("s1", "s2")]
    (metrics, _) = export(runs, output=tmp_path / "out")
    assert [row["run"] for row in read(metrics.path)] == ["s1/pong", "s2/pong"]


def test_columns_are_in_the_order_of_people() -> None:
    names = ["in/10/age", "in/2/age", "in", "in/2/state", "a"]
    assert sorted(names, key=natural) == ["a", "in", "in/2/age", "in/2/state", "in/10/age"]


def test_a_failed_write_leaves_what_was_there(
    two_runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "metrics.csv").write_text("old\n")

    def broken(*_: Any) -> Any:
        yield ["one"]
        raise KeyboardInterrupt

    monkeypatch.setattr(exporting, "_rows", broken)
    with pytest.raises(KeyboardInterrupt):
        export(two_runs, output=tmp_path)
    assert (tmp_path / "metrics.csv").read_text() == "old\n"
    assert {path.name for path in tmp_path.iterdir()} == {"metrics.csv", "one", "two"}


# -- the command


def test_the_command_tells_what_it_wrote(
    two_runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["export", *map(str, two_runs), "-o", str(tmp_path / "m.csv")]
    assert cli.main(arguments) == 0
    assert capsys.readouterr().out == (
        f"{tmp_path / 'm.csv'}: 4 rows, 10 columns\n"
        f"{tmp_path / 'm.events.csv'}: 2 rows, 8 columns\n"
    )
    assert cli.main([*arguments, "--json"]) == 0
    tables = json.loads(capsys.readouterr().out)["tables"]
    assert tables[0] == {"path": str(tmp_path / "m.csv"), "rows": 4, "columns": 10}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["RUN/../nowhere"], "nowhere: no such run folder"),
        (["RUN/../empty"], "empty: holds no records (a run has rank_*/metrics.jsonl)"),
        (["RUN/.."], "holds no records (it holds runs: one, two)"),
        (["RUN", "RUN/../one"], "is named twice"),
        (["RUN", "--format", "cvs"], "--format: no format is named 'cvs' (did you mean 'csv'?)"),
        (["RUN", "-o", "x.xlsx"], "x.xlsx: no format is named 'xlsx' (known: csv, parquet)"),
        (["RUN", "-o", "x.csv", "--format", "parquet"], "x.csv: the suffix does not say parquet"),
        (["RUN", "-o", "RUN/meta.json/out"], "cannot be written: Not a directory"),
        ([], "the following arguments are required: run"),
    ],
)
def test_mistakes(
    arguments: list[str],
    words: str,
    two_runs: list[Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "empty").mkdir()
    assert cli.main(["export", *(a.replace("RUN", str(two_runs[0])) for a in arguments)]) == 2
    captured = capsys.readouterr()
    assert words in captured.err and captured.err.count("\n") == 1 and captured.out == ""


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_names_and_values_that_are_no_text(two_runs: list[Path], tmp_path: Path, form: str) -> None:
    run = two_runs[0].rename(tmp_path / os.fsdecode(b"caf\xe9"))
    with open(run / "rank_00" / "metrics.jsonl", "ab") as file:
        file.write(b'{"v": 1, "t": 9, "rank": 0, "x/\\ud800": 1.5}\n')
        file.write(b'{"v": 1, "t": 9, "rank": 0, "event": "odd", "message": "\\udfff"}\n')
    files = [each.path for each in export([run], output=tmp_path / f"x.{form}")]
    if form == "csv":
        metrics, events = (read(path) for path in files)
    else:
        parquet = pytest.importorskip("pyarrow.parquet")
        metrics, events = (parquet.read_table(path).to_pylist() for path in files)
    odd = [row["x/\\ud800"] for row in metrics if row["x/\\ud800"]]
    assert [float(value) for value in odd] == [1.5]
    assert metrics[0]["run"].endswith("caf\\udce9")
    assert "\\udfff" in [row["message"] for row in events]


def test_a_missing_extra_is_named(
    two_runs: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert cli.main(["export", str(two_runs[0]), "--format", "parquet"]) == 2
    message = f"gala: error: parquet needs pyarrow ({commands.install('parquet')})\n"
    assert capsys.readouterr().err == message


def test_nothing_heavy_is_loaded(two_runs: list[Path], tmp_path: Path) -> None:
    script = (
        "import sys\nfrom gala import cli\nassert cli.main(sys.argv[1:]) == 0\n"
        "heavy = {'torch', 'gymnasium', 'numpy', 'pyarrow', 'pydantic'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    command = [sys.executable, "-c", script, "export", str(two_runs[0]), "-o", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
