"""Which runs a command gets, and which format it writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gala.errors import UserError
from gala.telemetry.reader import damage
from gala.telemetry.selection import choose_format, name_runs, select_runs, tails

Write = Any


def test_runs_keep_their_order_and_are_named_like_their_folders(write_run: Write) -> None:
    b, a = write_run("b", {0: [{}]}), write_run("x/a", {0: [{}]})
    assert list(select_runs([b, str(a)]).items()) == [("b", b), ("a", a)]
    assert select_runs([]) == {}


def test_names_grow_until_they_differ(write_run: Write) -> None:
    paths = [write_run(name, {0: [{}]}) for name in ("p/one/run", "p/two/run", "q/two/run")]
    assert list(select_runs(paths)) == ["p/one/run", "p/two/run", "q/two/run"]
    assert list(select_runs(paths[:2])) == ["one/run", "two/run"]
    assert name_runs(paths[:2]) == {"one/run": paths[0], "two/run": paths[1]}
    assert name_runs([]) == {}


def test_agents_come_by_rank(write_run: Write) -> None:
    run = write_run("r", {rank: [{"a": rank}] for rank in (11, 2, 100)})
    (run / "rank_xx").mkdir()
    (run / "rank_xx" / "metrics.jsonl").write_text("{}\n")
    found = tails(run)
    assert list(found) == [2, 11, 100]
    assert [tail.read()[0]["a"] for tail in found.values()] == [2, 11, 100]


def test_an_empty_file_holds_no_records(write_run: Write) -> None:
    run = write_run("r", {0: []})
    with pytest.raises(UserError, match="holds no records"):
        select_runs([run])


@pytest.mark.parametrize(
    ("form", "output", "chosen"),
    [(None, "x.csv", "csv"), ("csv", "x.CSV", "csv"), (None, "out", "parquet"),
     ("csv", "out", "csv"), (None, "dir.d", "parquet")],
)  # fmt: skip
def test_formats(
    form: str | None, output: str, chosen: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("dir.d").mkdir()
    known = ("csv", "parquet")
    assert choose_format(form, Path(output), known, default="parquet", folders=known) == chosen


def test_damage_counts() -> None:
    assert damage(Path("a/b"), 1) == "a/b: 1 damaged line skipped"
    assert damage(Path("a/b"), 2) == "a/b: 2 damaged lines skipped"
