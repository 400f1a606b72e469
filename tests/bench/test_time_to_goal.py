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

FACTS = {"date": "2026-01-02", "commit": "abc", "command": "python x", "machine": "2 cores",
         "versions": {"torch": "2.1"}}  # fmt: skip


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
    assert "parameters of rl-zoo and 16 environments" in text
    assert "parameters of rl-zoo" not in time_to_goal.text_of(rows[:1])


def test_rows_tell_how_they_were_measured() -> None:
    other = FACTS | {"command": "python y --a2c.lr 1"}
    rows = [
        time_to_goal.row_of("gala", seed, "`gala train pong`", curve(18.0)) | facts
        for seed, facts in ((1, FACTS), (2, other), (3, FACTS))
    ]
    text = time_to_goal.text_of(rows)
    assert "- gala, seed 1; gala, seed 3: `python x` on 2 cores, commit abc; torch 2.1." in text
    assert "- gala, seed 2: `python y --a2c.lr 1` on" in text


def test_options_of_training_are_handed_on_and_kept(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[object] = []

    def train(seed: int, agents: int, limit_s: float, changes: list[str]) -> Curve:
        seen.append((seed, agents, limit_s, changes))
        return curve(18.0)

    monkeypatch.setattr(time_to_goal, "gala_curve", train)
    words = ["time_to_goal.py", "--seeds", "7", "--limit-minutes", "2", "--a2c.lr", "2e-3"]
    monkeypatch.setattr(sys, "argv", words)
    time_to_goal.main()
    assert seen == [(7, 2, 120.0, ["--a2c.lr", "2e-3"])]
    (row,) = json.loads(data.read_text())
    assert row["how"] == "`gala train pong --agents 2 --a2c.lr 2e-3`"


def test_a_peer_that_is_slow_is_kept_without_a_return() -> None:
    row = time_to_goal.row_of(time_to_goal.SB3, 1, "rl-zoo", curve(np.nan)._replace(
        returns=np.full(3, np.nan)))  # fmt: skip
    assert row["goal"] is None and row["return"] is None
    assert "| not reached | - | 2,000 | - after 20.0 min |" in time_to_goal.text_of([row | FACTS])


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


def test_options_of_gala_are_not_for_a_peer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["time_to_goal.py", "--program", "sb3", "--a2c.lr", "1"])
    with pytest.raises(SystemExit) as ended:
        time_to_goal.main()
    assert (
        ended.value.code == 2 and "--a2c.lr is an option of gala train" in capsys.readouterr().err
    )
