"""Lock-step in real processes: one agent is killed, another one stopped, and the others go on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from launching import (
    experiment,
    finish,
    interrupt,
    newest_state,
    records,
    start,
    updates_done,
    wait_until,
)

pytestmark = [pytest.mark.long, pytest.mark.timeout(300), pytest.mark.slow]

FOR_EVER = 10**9
STANDSTILL_S = 5.0
"""Longest standstill of the others, or three times what the machine makes of it by itself."""
TIMEOUT_S = 60.0
"""``gossip.timeout_s``: whoever waits for the dead waits so long."""


@contextmanager
def running(
    tmp_path: Path, topology: str, agents: int
) -> Iterator[tuple[Path, subprocess.Popen[str]]]:
    """A run in lock-step in which all agents train; nothing is left of it afterwards."""
    run = tmp_path / "run"
    process = start(
        "train", experiment(tmp_path, total_steps=FOR_EVER), "--agents", agents, "--run-dir", run,
        "--topology", topology, "--gossip.max-staleness", 0,
    )  # fmt: skip
    try:
        wait_until(lambda: all(updates_done(run, r) > 20 for r in range(agents)), process)
        yield run, process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def pid_of(run: Path, rank: int) -> int:
    return int(json.loads((run / f"rank_{rank:02d}" / "agent.json").read_text())["pid"])


def returns(run: Path, rank: int) -> list[str]:
    """What incarnation 1 of an agent said of its coming back."""
    told = [r["message"] for r in records(run, rank) if r.get("event") == "alive"]
    return [text for text in told if "incarnation 1 " in text]


def measured(run: Path, rank: int) -> list[dict[str, Any]]:
    return [record for record in records(run, rank) if "event" not in record]


def longest_standstill(run: Path, rank: int) -> float:
    """Seconds between two records of an agent at most; it writes one with an update."""
    times = [record["t"] for record in measured(run, rank)]
    return max(later - earlier for earlier, later in pairwise(times))


def go_on_together(run: Path, agents: int, process: subprocess.Popen[str]) -> None:
    """Wait until all did 100 updates more, and check that they did the same ones."""
    goal = max(updates_done(run, r) for r in range(agents)) + 100
    wait_until(lambda: all(updates_done(run, r) > goal for r in range(agents)), process)
    output, seconds = interrupt(process, signal.SIGTERM)
    assert process.returncode == 0 and "Traceback" not in output, output
    assert seconds < TIMEOUT_S
    assert len({newest_state(run, r)["update"] for r in range(agents)}) == 1, "all stop together"


@pytest.mark.parametrize(
    ("topology", "agents"),
    [("ring", 2), ("ring", 3), ("directed-ring", 4), ("complete", 4), ("one-peer-exponential", 4)],
)
def test_one_death_stops_nobody(tmp_path: Path, topology: str, agents: int) -> None:
    with running(tmp_path, topology, agents) as (run, process):
        victim = 1
        usual = max(longest_standstill(run, rank) for rank in range(agents))
        os.kill(pid_of(run, victim), signal.SIGKILL)
        wait_until(lambda: measured(run, victim)[-1]["incarnation"] == 1, process)
        go_on_together(run, agents, process)
        for rank in set(range(agents)) - {victim}:
            assert longest_standstill(run, rank) < max(STANDSTILL_S, 3 * usual) < TIMEOUT_S
        (text,) = returns(run, victim)
        assert "goes on with parameters of agent" in text


def test_a_death_then_an_agent_that_is_stopped_for_a_while(tmp_path: Path) -> None:
    with running(tmp_path, "ring", 3) as (run, process):
        stopped = pid_of(run, 2)
        os.kill(pid_of(run, 1), signal.SIGKILL)
        os.kill(stopped, signal.SIGSTOP)
        try:  # the newcomer finds its place although one of its neighbours hangs
            wait_until(lambda: bool(returns(run, 1)), process)
        finally:
            os.kill(stopped, signal.SIGCONT)
        go_on_together(run, 3, process)


def test_one_signal_ends_a_wait_for_an_agent_that_hangs(tmp_path: Path) -> None:
    with running(tmp_path, "directed-ring", 3) as (run, process):
        hanging = pid_of(run, 1)
        os.kill(hanging, signal.SIGSTOP)
        others = [pid_of(run, rank) for rank in (0, 2)]
        process.send_signal(signal.SIGTERM)
        for pid in others:
            subprocess.run(
                ["tail", f"--pid={pid}", "-f", "/dev/null"], timeout=TIMEOUT_S / 2, check=True
            )
        os.kill(hanging, signal.SIGCONT)
        finish(process)
        for rank in (0, 2):
            assert any(r.get("event") == "stop" for r in records(run, rank))
            assert newest_state(run, rank)["update"] > 20
