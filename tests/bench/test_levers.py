"""What each choice is worth: settings that exist, turns, and the text."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "experiments" / "bench"))
import levers

from gala.bench.measurement import Case
from gala.request import read_request


@pytest.mark.parametrize("name", levers.LEVERS)
def test_every_setting_is_one_of_gala_train(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[Case, dict[str, str]]] = []

    def measure(case: Case, seconds: float) -> SimpleNamespace:
        seen.append((case, dict(os.environ)))
        return SimpleNamespace(steps_per_second=7.0)

    monkeypatch.setattr(levers, "measure", measure)
    assert levers.speed(levers.LEVERS[name], 1.0) == 7.0
    ((case, environment),) = seen
    request = read_request([*map(str, case.arguments)], agents=case.agents)
    assert request.config.env.num_envs * case.agents == 32
    for key, value in levers.LEVERS[name].environment.items():
        assert environment[key] == value


def test_turns_and_ratios_within_a_round(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    speeds = iter([1000.0, 700.0, 2000.0, 1000.0])
    written: dict[str, str] = {}
    monkeypatch.setattr(levers, "speed", lambda lever, seconds: next(speeds))
    monkeypatch.setattr(levers, "write", lambda name, data, text: written.update({name: text}))
    levers.main(["--rounds", "2", "--only", "float32"])
    text = capsys.readouterr().out
    row = "| float32 | `--network.precision float32` | 850 | 0.60 of as shipped | 0.50 - 0.70 |"
    assert row in text and not written, "a part does not replace the whole"
    assert "| as shipped |  | 1,500 | 1.00 of as shipped | 1.00 - 1.00 |" in text


def test_all_of_them_are_written_and_held_against_their_base(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    speeds = dict.fromkeys(levers.LEVERS, 1000.0) | {levers.ALONE: 500.0}
    names = {id(lever): name for name, lever in levers.LEVERS.items()}
    written: dict[str, str] = {}
    monkeypatch.setattr(levers, "speed", lambda lever, seconds: speeds[names[id(lever)]])
    monkeypatch.setattr(levers, "write", lambda name, data, text: written.update({name: text}))
    levers.main(["--rounds", "1"])
    assert "| 1,000 | 2.00 of one agent with all simulators |" in written["levers"]
    assert "| 500 | 0.50 of as shipped |" in written["levers"]


def test_agents_are_pinned_with_all_their_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    pinned: dict[int, set[int]] = {}
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5})
    monkeypatch.setattr(os, "sched_setaffinity", lambda pid, cores: pinned.update({pid: cores}))
    waiting = threading.Event()
    thread = threading.Thread(target=waiting.wait)
    thread.start()
    try:
        levers.pin(SimpleNamespace(agents=1, pid=lambda rank: os.getpid()))  # type: ignore[arg-type]
        assert {os.getpid(), thread.native_id} <= set(pinned)
        assert all(cores == {3} for cores in pinned.values())
    finally:
        waiting.set()
        thread.join()
