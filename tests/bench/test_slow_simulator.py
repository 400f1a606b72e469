"""Slow simulators: they wait, they are images, and ratios are taken within a round."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import gymnasium
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "experiments" / "bench"))
import slow_simulator


def test_a_step_takes_its_time() -> None:
    env = gymnasium.make("slow_env:Slow2-v0")
    obs, _ = env.reset(seed=1)
    began = time.monotonic()
    for _ in range(20):
        obs, _, terminated, truncated, _ = env.step(0)
    assert time.monotonic() - began >= 20 * slow_simulator.WAIT_MS / 1e3
    assert obs.shape == (4, 84, 84) and obs.dtype == np.uint8 and not terminated and not truncated


def test_the_ratio_is_taken_within_a_round() -> None:
    found = {4: {slow_simulator.QUICK: [100.0, 200.0], slow_simulator.SLOW: [90.0, 200.0]}}
    assert slow_simulator.of_quick(found) == {4: [0.9, 1.0]}
    text = slow_simulator.text_of(found, 16, 2, 15.0)
    assert "| 4 | 150 | 145 | 8,000 | 0.95 | 0.90 - 1.00 |" in text


def test_simulators_are_shared_by_the_agents() -> None:
    made = slow_simulator.case(4, 16, slow_simulator.SLOW)
    assert made.agents == 4 and made.arguments[-2:] == ("--env.num-envs", 4)


def test_simulators_that_cannot_be_shared_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["slow_simulator.py", "--agents", "4", "3"])
    with pytest.raises(SystemExit) as ended:
        slow_simulator.main()
    assert ended.value.code == 2 and "3 agents cannot share 16" in capsys.readouterr().err
