"""Time until a game is learned: what is kept of runs, and how it is told. No training."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "experiments" / "bench"))
import time_to_goal
from learning import Curve

FACTS = {"date": "2026-01-02", "commit": "abc", "command": "python x", "machine": "2 cores"}


def curve(last: float) -> Curve:
    returns = np.array([np.nan, -20.0, last])
    return Curve(np.array([30.0, 600.0, 1200.0]), np.array([1e5, 1e6, 2.4e6]), returns)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "time-to-goal.json"
    monkeypatch.setattr(time_to_goal, "DATA", path)
    return path


def test_runs_are_kept_and_replaced_by_newer_ones(data: Path) -> None:
    for program, seed, last in (("gala", 2, 18.5), ("gala", 1, 3.0), ("gala", 2, 17.0)):
        row = time_to_goal.row_of(program, seed, "`gala train pong`", curve(last))
        time_to_goal.keep(row | FACTS)
    rows = json.loads(data.read_text())
    assert [(row["seed"], row["return"]) for row in rows] == [(1, 3.0), (2, 17.0)]
    assert data.with_suffix(".png").stat().st_size > 10_000


def test_the_preset_comes_first_and_other_options_replace_nothing(data: Path) -> None:
    for program, how in (
        (time_to_goal.SB3, "rl-zoo"),
        ("gala", "`gala train pong --a2c.lr 1`"),
        ("gala", "`gala train pong`"),
    ):
        time_to_goal.keep(time_to_goal.row_of(program, 1, how, curve(3.0)) | FACTS)
    hows = [row["how"] for row in json.loads(data.read_text())]
    assert hows == ["`gala train pong`", "`gala train pong --a2c.lr 1`", "rl-zoo"]


def test_table_and_picture_can_be_written_again(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    time_to_goal.keep(time_to_goal.row_of("gala", 1, "`gala train pong`", curve(3.0)) | FACTS)
    made = [data.with_suffix(suffix) for suffix in (".md", ".png")]
    before = [path.read_bytes() for path in made]
    for path in made:
        path.unlink()
    monkeypatch.setattr(sys, "argv", ["time_to_goal.py", "--write"])
    time_to_goal.main()
    assert [path.read_bytes() for path in made] == before


def test_what_is_told() -> None:
    rows = [
        time_to_goal.row_of("gala", 1, "`gala train pong`", curve(18.0)) | FACTS,
        time_to_goal.row_of(time_to_goal.SB3, 1, "rl-zoo", curve(-3.0)) | FACTS,
    ]
    text = time_to_goal.text_of(rows)
    assert "| gala | `gala train pong` | 1 | 20.0 min | 2.40 M | 2,000 | 18.0 after 20.0" in text
    assert "| rl-zoo | 1 | not reached | - | 2,000 | -3.0 after 20.0 min" in text


def test_training_that_fails_is_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing:
        records: dict[int, list[dict[str, float]]] = {
            0: [{"t": 1.0, "step": 5, "charts/episodes": 0, "charts/return_sum": 0.0}]
        }
        process = type("Process", (), {"poll": staticmethod(lambda: 3)})()
        all_train = None

        def __init__(self, *arguments: object) -> None: ...

        def wait_until(self, condition: object) -> None: ...

        def last_words(self) -> str:
            return "no room left"

        def finish(self) -> None: ...

    monkeypatch.setattr(time_to_goal, "LiveRun", Failing)
    with pytest.raises(RuntimeError, match="ended with code 3: no room left"):
        time_to_goal.gala_curve(1, 2, 10.0)
