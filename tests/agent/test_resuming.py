"""What is said where a run goes on with another length."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from gala.agent.resuming import say_schedules
from gala.learning.a2c_config import A2CConfig
from gala.run.config import Config


def agent(total_steps: int, done: int, **learning: Any) -> Any:
    config = Config(total_steps=total_steps, a2c=A2CConfig(**learning))
    return SimpleNamespace(
        setting=SimpleNamespace(config=config),
        progress=SimpleNamespace(run_steps=lambda step: done),
        step=done,
    )


def test_a_schedule_that_had_ended_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    say_schedules(agent(6000, 3000, lr_schedule="linear"), 3000)
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        "gala: lr_schedule is linear, and total_steps were 3,000 and are 6,000: what was at 0% of "
        "its first value goes on at 50%"
    )


def test_each_schedule_has_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    say_schedules(agent(8000, 2000, lr_schedule="linear", entropy_schedule="linear"), 4000)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[1] for line in lines] == ["lr_schedule", "entropy_schedule"]
    assert all("at 50% of its first value goes on at 75%" in line for line in lines)


@pytest.mark.parametrize(
    ("schedule", "before"), [("linear", 6000), ("constant", 3000), ("linear", None)]
)
def test_nothing_is_said_where_nothing_jumps(
    schedule: str, before: int | None, capsys: pytest.CaptureFixture[str]
) -> None:
    say_schedules(agent(6000, 3000, lr_schedule=schedule), before)
    assert capsys.readouterr().err == ""
