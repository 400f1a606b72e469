"""``gala bench``: what is printed and remembered, with runs that take no time."""

import json
from pathlib import Path
from unittest import mock

import pytest

from gala.bench import command
from gala.bench.measurement import Case, Measurement
from gala.cli import main


def made(case: Case, seconds: float) -> Measurement:
    assert seconds == 8.0
    return Measurement(
        case=case.name, steps_per_second=1500.0, overhead=0.02, memory_mb=300.0, start_s=2.0,
        phases_ms={"collect": 30.0, "learn": 20.0, "gossip": 0.8, "log": 0.2, "other": 0.0},
    )  # fmt: skip


@pytest.fixture(autouse=True)
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(command, "measure", made)


def test_the_second_time_is_held_against_the_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "--quick"]) == 0
    first = capsys.readouterr().out
    assert "1,500" in first and "2.0 %" in first and "1.00 x" not in first
    assert len((tmp_path / "gala" / "bench.jsonl").read_text().splitlines()) == 2
    assert main(["bench", "--quick"]) == 0
    assert "1.00 x" in capsys.readouterr().out


def test_json_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        assert main(["bench", "--quick", "--json"]) == 0
    captured = capsys.readouterr()
    second = json.loads(captured.out.splitlines()[1])
    assert [r["case"] for r in second["results"]] == [case.name for case in command.QUICK]
    assert second["results"][0]["last"]["steps_per_second"] == 1500.0
    assert "training for" in captured.err


def test_bad_options(capsys: pytest.CaptureFixture[str]) -> None:
    with mock.patch.object(command, "measure", side_effect=AssertionError):
        assert main(["bench", "--seconds", "0"]) == 2
    assert "a number above 0" in capsys.readouterr().err
