"""From one agent to many: shares of the best, and the text."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "experiments" / "bench"))
import scaling

from gala.bench.measurement import Measurement


def made(speed: float, memory: float | None = 300.0) -> Measurement:
    phases = {"collect": 30.0, "learn": 20.0, "gossip": 0.8, "log": 0.2, "other": 0.0}
    return Measurement(case="x", steps_per_second=speed, phases_ms=phases, overhead=0.02,
                       memory_mb=memory, start_s=2.5)  # fmt: skip


FOUND = {1: [made(1000), made(900)], 2: [made(2000), made(1000)], 4: [made(1900), made(1250)]}


def test_the_best_is_that_of_the_same_round() -> None:
    assert scaling.of_best(FOUND) == {1: (0.5 + 0.72) / 2, 2: 0.9, 4: (0.95 + 1.0) / 2}


def test_a_case_is_a_run_of_pong() -> None:
    case = scaling.case(4, 16, ["--seed", "2"])
    assert case.agents == 4 and case.arguments == (
        "pong-paper",
        "--env.num-envs",
        16,
        "--seed",
        "2",
    )


def test_the_text_has_a_row_for_each_number_of_agents() -> None:
    options = argparse.Namespace(simulators=16, rounds=2, seconds=20.0, arguments=["--seed", "2"])
    text = scaling.text_of(FOUND, options)
    assert "Pong --seed 2, 16 environments per agent," in text
    assert "| 1 | 950 | 900 - 1,000 | 0.61 | 300 | 2.5 |" in text
    assert "| 4 | 30.00 | 20.00 | 0.80 | 0.20 | 0.00 | 2.0% |" in text


def test_where_memory_is_unknown_there_is_a_dash() -> None:
    options = argparse.Namespace(simulators=16, rounds=1, seconds=20.0, arguments=[])
    assert "| - | 2.5 |" in scaling.text_of({1: [made(1.0, None)]}, options)


def test_turns_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[int] = []
    written: list[tuple[str, dict[str, object]]] = []

    def measure(case: object, seconds: float) -> Measurement:
        turns.append(case.agents)  # type: ignore[attr-defined]
        assert seconds == 1.0
        return made(100.0 * len(turns))

    monkeypatch.setattr(scaling, "measure", measure)
    monkeypatch.setattr(scaling, "write", lambda name, data, text: written.append((name, data)))
    monkeypatch.setattr(
        sys, "argv",
        ["scaling.py", "--agents", "1", "2", "--rounds", "2", "--seconds", "1", "--seed", "3"],
    )  # fmt: skip
    scaling.main()
    assert turns == [1, 2, 1, 2]
    ((name, data),) = written
    assert name == "scaling" and set(data["measurements"]) == {"1", "2"}  # type: ignore[call-overload]
