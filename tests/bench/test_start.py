"""Start and memory: what /proc tells of real processes, and the text."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "experiments" / "bench"))
import start
from start import Memory

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="experiments/bench/start.py reads /proc"
)


def test_the_parts_of_memory_are_all_of_it() -> None:
    held = start.memory(os.getpid())
    assert held.resident == pytest.approx(held.own + held.shared + held.mapped)
    assert held.own > 1 and held.mapped > 1


def test_memory_that_is_written_is_own() -> None:
    before = start.memory(os.getpid())
    block = bytearray(b"x") * (64 * 2**20)
    grown = start.memory(os.getpid()).own - before.own
    assert len(block) == 64 * 2**20 and grown == pytest.approx(64, abs=2)


def test_when_and_by_whom_a_process_was_started() -> None:
    before = time.time()
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        assert before - 0.03 <= start.started(process.pid) <= time.time() + 0.03
        assert start.parent(process.pid) == os.getpid()


def test_parts_are_told_one_after_the_other() -> None:
    busy = "import time\nwhile time.process_time() < 0.3: pass"
    looks = list(start.parts((("nothing", ""), ("a block", "x = b'x' * 2**25"), ("time", busy))))
    assert [name for name, _, _ in looks] == ["nothing", "a block", "time"]
    (_, at_first, bare), (_, _, with_block), (_, at_last, _) = looks
    assert with_block.own - bare.own == pytest.approx(32, abs=2)
    assert at_first < 0.3 <= at_last + 0.02


@pytest.mark.long
def test_the_parts_of_an_agent_can_be_made() -> None:
    looks = {name: (seconds, held) for name, seconds, held in start.parts()}
    assert list(looks) == [name for name, _ in start.PARTS]
    seconds, held = looks["the network"]
    assert seconds > looks["torch"][0] > 0 and held.own > looks["torch"][1].own


def test_a_library_that_is_missing_is_named() -> None:
    with pytest.raises(RuntimeError, match="could not load a fable"):
        list(start.parts((("a fable", "import no_such_library"),)))


def test_a_launch_goes_through_its_stages_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "TRAINED_S", 0.2)
    look = start.launch(2, ("cartpole",))
    times = list(look["stages"].values())
    assert tuple(look["stages"]) == start.STAGES and times == sorted(times) and times[0] > 0
    assert look["memory"]["shared"] > 0 and look["memory"]["own"] > 50


def test_one_agent_needs_no_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "TRAINED_S", 0.2)
    look = start.launch(1, ("cartpole",))
    assert list(look["stages"]) == ["first update"]


def test_the_text_tells_what_each_library_adds() -> None:
    held = Memory(resident=400.0, own=300.0, shared=20.0, mapped=80.0)._asdict()
    one = {"stages": {start.STAGES[-1]: 5.0}, "memory": held}
    two = {"stages": dict(zip(start.STAGES, (1.0, 3.0, 3.5, 9.0), strict=True)), "memory": held}
    brought = [
        ("Python", 0.25, Memory(10.0, 4.0, 0.0, 6.0)),
        ("torch", 2.0, Memory(200.0, 104.0, 0.0, 96.0)),
    ]
    options = argparse.Namespace(rounds=3, arguments=["--seed", "2"])
    text = start.text_of(
        {1: [one], 2: [two, two, one | {"stages": two["stages"]}]}, brought, options
    )
    assert "pong-paper --seed 2," in text
    assert "| 1 | - | - | - | 5.0 |" in text and "| 2 | 1.0 | 3.0 | 3.5 | 9.0 |" in text
    assert "| 2 | 400 | 300 | 20 | 80 |" in text
    assert "| torch | 1.75 | 100 | 90 |" in text and "| together | 2.00 | 104 | 96 |" in text


def test_turns_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[object] = []
    written: list[dict[str, object]] = []

    def launch(agents: int, arguments: object) -> dict[str, object]:
        turns.append((agents, arguments))
        held = Memory(400.0 * agents, 300.0, 20.0, 80.0)._asdict()
        return {"stages": dict.fromkeys(start.STAGES, 1.0), "memory": held}

    monkeypatch.setattr(start, "launch", launch)
    monkeypatch.setattr(start, "parts", lambda: [("Python", 0.5, Memory(3.0, 2.0, 0.0, 1.0))])
    monkeypatch.setattr(start, "write", lambda name, data, text: written.append(data))
    monkeypatch.setattr(sys, "argv", ["start.py", "--agents", "1", "2", "--rounds", "2"])
    start.main()
    assert turns == [(1, ("pong-paper",)), (2, ("pong-paper",))] * 2
    assert list(written[0]["launches"]) == ["1", "2"]  # type: ignore[call-overload]
