"""Slow environments: they wait, they are images, and ratios are taken within a round."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "experiments" / "bench"))
import slow_simulator

from gala.bench.measurement import Case
from gala.run.request import read_request


def test_a_step_takes_its_time() -> None:
    env = gymnasium.make("slow_env:Slow2-v0")
    obs, _ = env.reset(seed=1)
    began = time.monotonic()
    for _ in range(20):
        obs, _, terminated, truncated, _ = env.step(0)
    assert time.monotonic() - began >= 20 * slow_simulator.WAIT_MS / 1e3
    assert obs.shape == (4, 84, 84) and obs.dtype == np.uint8 and not terminated and not truncated


def test_the_ratio_is_taken_within_a_round() -> None:
    each = {slow_simulator.QUICK: [100.0, 200.0], slow_simulator.SLOW: [90.0, 200.0]}
    assert slow_simulator.of_quick(each) == [0.9, 1.0]
    local_group = slow_simulator.LocalGroup(agents=4, envs=4)
    text = slow_simulator.text_of({local_group: each}, 2, 15.0)
    assert "| 4 x 4 | 150 | 145 | 8,000 | 0.95 | 0.90 - 1.00 |" in text


@pytest.mark.parametrize("local_group", slow_simulator.GROUPS, ids=str)
def test_every_group_is_one_of_gala_train(local_group: slow_simulator.LocalGroup) -> None:
    made = slow_simulator.case(local_group, slow_simulator.SLOW)
    request = read_request([*map(str, made.arguments)], agents=made.agents)
    assert made.agents == local_group.agents and request.config.env.num_envs == local_group.envs
    assert request.config.env.workers == "async"
    assert local_group.threads is None or request.config.threads == local_group.threads


def test_all_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    written: dict[str, str] = {}

    def measure(case: Case, seconds: float) -> SimpleNamespace:
        seen.append(case.name)
        return SimpleNamespace(case=case.name, steps_per_second=50.0 * len(seen))

    monkeypatch.setattr(slow_simulator, "measure", measure)
    monkeypatch.setattr(
        slow_simulator, "write", lambda name, data, text: written.update({name: text})
    )
    monkeypatch.setattr(sys, "argv", ["slow_simulator.py", "--rounds", "2"])
    slow_simulator.main()
    once = [slow_simulator.case(local_group, env).name for local_group in slow_simulator.GROUPS
            for env in (slow_simulator.QUICK, slow_simulator.SLOW)]  # fmt: skip
    assert seen == once * 2
    assert "| 1 x 32, --threads 1 |" in written["slow-simulator"]
