"""One row for each run: how it stands, which runs are seeds of one another, notes and tags."""

import time
from pathlib import Path

import pytest
from made_run import MadeRun

from gala.dashboard.run_table import LONGEST_NOTES, NOTES, RunTable, notes_of


def row_of(*made: MadeRun) -> list[dict[str, object]]:
    return RunTable().rows({each.path.name: each.path for each in made})


def test_how_runs_stand(tmp_path: Path) -> None:
    live = MadeRun(tmp_path / "live", agents=2, records=10)
    ended = MadeRun(tmp_path / "ended", agents=2, records=10, ended=True)
    silent = MadeRun(tmp_path / "silent", agents=2, records=10, now=time.time() - 100)
    waiting = tmp_path / "waiting"
    waiting.mkdir()
    (waiting / "meta.json").write_text('{"agents": 2}')
    found = {each.path.name: each.path for each in (live, ended, silent)} | {"waiting": waiting}
    rows = {str(row["name"]): row for row in RunTable().rows(found)}
    standing = {name: row["standing"] for name, row in rows.items()}
    assert standing == {name: name for name in rows}
    assert rows["live"]["return"] == 18.5 and rows["live"]["steps"] == 2 * 9 * 250
    assert rows["live"]["sps"] == 2001 and rows["ended"]["sps"] is None
    assert rows["live"]["ratio"] == 0.05 and rows["waiting"]["return"] is None


def test_who_is_gone_does_not_count_and_independent_agents_have_no_mean(tmp_path: Path) -> None:
    made = MadeRun(tmp_path / "run", agents=3, records=10)
    gone = made.line(2, 9, t=made.now - 100, **{"charts/episodic_return": 1e6})
    made.metrics(2).write_text(gone)
    lone = MadeRun(tmp_path / "none", agents=3, records=10, coupling="none")
    (run, none) = row_of(made, lone)
    assert run["taking_part"] == 2 and run["return"] == 18.5
    assert none["taking_part"] == 3 and none["return"] is None
    assert run["returns"] is None and none["returns"] == [18.0, 20.0]


def test_seeds_are_of_one_arm_and_other_options_are_not(tmp_path: Path) -> None:
    one, two = (MadeRun(tmp_path / f"seed{k}", agents=2, records=1, seed=k) for k in (1, 2))
    other = MadeRun(tmp_path / "other", agents=2, records=1, options={"a2c": {"lr": 0.1}})
    table, paths = RunTable(), {each.path.name: each.path for each in (one, two, other)}
    first, second, third = (row["arm"] for row in table.rows(paths))
    assert first == second != third
    assert table.options("other", other.path)["a2c.lr"] == "0.1"
    (other.path / "config.yaml").write_text((one.path / "config.yaml").read_text())
    assert [row["arm"] for row in table.rows(paths)] == [first] * 3  # read again: it changed


def test_a_run_that_is_gone_is_forgotten(tmp_path: Path) -> None:
    made = MadeRun(tmp_path / "run", agents=1, records=5)
    table = RunTable()
    assert len(table.rows({"run": made.path})) == 1 and table.rows({}) == []
    made.append(0, made.line(0, 5))
    (row,) = table.rows({"run": made.path})
    assert row["steps"] == 1250


@pytest.mark.parametrize(
    ("text", "tags"), [("best #ring #lr-0.1 #ring, see a#b", ["ring", "lr-0.1"]), ("", [])]
)
def test_notes_and_tags(tmp_path: Path, text: str, tags: list[str]) -> None:
    made = MadeRun(tmp_path / "run", agents=1, records=1)
    (made.path / NOTES).write_text(text + "\n")
    (row,) = row_of(made)
    assert (row["notes"], row["tags"]) == (text, tags)


def test_notes_that_are_none(tmp_path: Path) -> None:
    (tmp_path / NOTES).write_bytes(b"\xff" * (LONGEST_NOTES + 1))
    assert notes_of(tmp_path) == notes_of(tmp_path / "nowhere") == ""
