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
from gala.run.request import read_request


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


def test_pairs_change_their_order_and_give_ratios(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # the base before the lever, then after it
    speeds = iter([(True, 1000.0), (False, 700.0), (False, 1000.0), (True, 2000.0)])
    written: dict[str, str] = {}

    def speed(lever: levers.Lever, seconds: float) -> float:
        is_base, found = next(speeds)
        assert (lever is levers.BASES[levers.SHIPPED]) == is_base
        return found

    monkeypatch.setattr(levers, "speed", speed)
    monkeypatch.setattr(levers, "write", lambda name, data, text: written.update({name: text}))
    levers.main(["--rounds", "2", "--only", "float32"])
    text = capsys.readouterr().out
    row = "| float32 | `--network.precision float32` | 850 | 1,500 | 0.60 of as shipped | 0.50 - "
    assert row in text and not written, "a part does not replace the whole"


def test_all_of_them_are_written_and_held_against_their_base(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alone = levers.BASES[levers.ALONE]
    written: dict[str, str] = {}
    monkeypatch.setattr(levers, "speed", lambda lever, _: 500.0 if lever is alone else 1000.0)
    monkeypatch.setattr(levers, "write", lambda name, data, text: written.update({name: text}))
    levers.main(["--rounds", "1"])
    assert "| 1,000 | 500 | 2.00 of one agent with all simulators |" in written["levers"]
    assert "| 500 | 1,000 | 0.50 of as shipped |" in written["levers"]


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
