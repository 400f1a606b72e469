"""The table of the algorithms' scores."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "experiments" / "bench"))

import algorithms

from gala.learning.table import ALGORITHMS
from gala.run.request import read_request


def result(algorithm: str, seed: int, value: float, task: str = "CartPole-v1") -> dict[str, object]:
    return {"task": task, "algorithm": algorithm, "seed": seed, "return": value, "steps": 500_000,
            "seconds": 40.0 + seed, "commit": "0a1b2c"}  # fmt: skip


def test_a_row_counts_who_reached_the_goal() -> None:
    scores = [500.0, 480.0, 470.0, 500.0, 490.0]
    rows = algorithms.rows_of([result("ppo", seed, value) for seed, value in enumerate(scores)])
    (row,) = rows
    assert row[:2] == ["CartPole-v1", "ppo"] and row[3] == "4 of 5 >= 475"
    assert row[4].startswith("490.0 (") and row[5:] == ["500,000", "42", "0a1b2c"]


def test_what_was_not_measured_this_time_stays(tmp_path: Path) -> None:
    before = [result("ppo", seed, 100.0) for seed in (1, 2)] + [result("sac", 1, 300.0)]
    for each in before:
        del each["commit"]
    (tmp_path / "x.json").write_text(json.dumps({"commit": "old", "results": before}))
    now = algorithms.with_those_of_before([result("ppo", 2, 500.0)], tmp_path / "x.json")
    assert [(r["algorithm"], r["seed"], r["return"], r["commit"]) for r in now] == [
        ("ppo", 1, 100.0, "old"), ("ppo", 2, 500.0, "0a1b2c"), ("sac", 1, 300.0, "old"),
    ]  # fmt: skip
    assert algorithms.with_those_of_before(now, tmp_path / "none.json") == now


@pytest.mark.parametrize("task", algorithms.SOLVED)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_run_can_be_asked_for(task: str, algorithm: str) -> None:
    words = [*map(str, algorithms.task_arguments(task, algorithm)), "--algorithm", algorithm]
    request = read_request(words, agents=algorithms.AGENTS)
    assert request.config.env.id == task and request.config.algorithm == algorithm


def test_what_is_in_the_folder_is_not_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(algorithms, "train", lambda *_: pytest.fail("trained again"))
    (tmp_path / "CartPole-v1-a2c-3.json").write_text('{"return": 500.0}')
    assert algorithms.measure("CartPole-v1", "a2c", 3, tmp_path) == {"return": 500.0}
