"""What is remembered of earlier measurements."""

import json
import os
from pathlib import Path

import pytest

from gala.bench import past

HERE = {"processor": "P", "cores": 2}


def result(case: str, speed: float, **changes: object) -> dict[str, object]:
    return {"machine": HERE, "case": case, "steps_per_second": speed} | changes


def test_the_newest_of_each_case_on_this_machine(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "bench.jsonl"
    assert past.last(path, HERE) == {}
    for each in (
        result("a", 1.0), result("b", 2.0), result("a", 3.0),
        result("a", 9.0, machine={"processor": "Q", "cores": 2}),
    ):  # fmt: skip
        past.add(path, each)
    found = past.last(path, HERE)
    assert {case: r["steps_per_second"] for case, r in found.items()} == {"a": 3.0, "b": 2.0}


def test_damage_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "bench.jsonl"
    good = json.dumps(result("a", 1.0))
    lines = ["nonsense", "[1]", good, json.dumps(result("a", 0.0)), json.dumps({"machine": HERE})]
    path.write_text("\n".join([*lines, '{"machine"']))
    assert list(past.last(path, HERE)) == ["a"]


def test_a_folder_that_cannot_be_written_costs_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    past.add(tmp_path / "file" / "bench.jsonl", result("a", 1.0))


def test_the_place_follows_the_users_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert past.default_path() == Path("/elsewhere/gala/bench.jsonl")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert past.default_path() == Path.home() / ".cache" / "gala" / "bench.jsonl"


def test_the_machine_is_known() -> None:
    assert past.machine()["processor"]
    assert 1 <= past.machine()["cores"] <= (os.cpu_count() or 1)
