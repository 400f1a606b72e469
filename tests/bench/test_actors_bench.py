"""The comparison of who acts: modes are runs of gala, and returns are compared at equal steps."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "experiments" / "bench"))
import actors

from gala.run.request import read_request


@pytest.mark.parametrize("task", actors.TASKS)
def test_every_mode_is_one_of_gala_train(task: str) -> None:
    for mode in actors.modes_of(task):
        arguments = (*actors.TASKS[task], "--algorithm", "vtrace", *actors.MODES[mode])
        config = read_request([*map(str, arguments)], agents=1).config
        assert config.env.num_envs == 16
        assert (config.actors.count > 0) == (mode in ("processes", "central"))
        assert (config.env.workers == "async") == ("async" in mode)
    assert ("in-thread, async" in actors.modes_of(task)) == (task == "slow")


def turn(speed: float, *curve: tuple[int, float]) -> actors.Turn:
    return actors.Turn(
        steps_per_second=speed, lag=1.0, learner_idle=0.5, actors_idle=None, curve=list(curve)
    )


def test_returns_are_compared_at_the_steps_of_the_slowest() -> None:
    found = {
        "in-thread": [turn(100, (50, 1.0), (100, 2.0))],
        "central": [turn(300, (90, 3.0), (150, 4.0), (300, 5.0))],
    }
    slow, fast = actors.rows_of(found)
    assert slow == ["the learner's thread", "100", "1.0", "50%", "-", "2.00", "2.00"]
    assert fast[1] == "300" and fast[-2:] == ["3.00", "5.00"]
    text = actors.text_of({"pong": found}, 1, 20.0)
    assert "## Pong" in text and "| 4 workers that step, one inference | 300 |" in text


def test_only_the_measured_time_counts() -> None:
    records = [
        {"t": float(k), "step": 10 * k, "policy/lag": lag, "charts/episodic_return": None}
        for k, lag in enumerate((9.0, 9.0, 1.0, 2.0, 3.0))
    ]
    found = actors.turn_of(records, 5.0, 2.0)
    assert found.lag == 2.0 and found.learner_idle is None and found.curve == []
    assert actors.rows_of({"central": [found]})[0][-2:] == ["-", "-"]
