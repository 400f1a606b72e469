"""Two agents of CartPole that are profiled, in real processes."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from launching import finish, gala, records, start, wait_until

from gala.telemetry.phases import PHASES

pytestmark = [pytest.mark.long, pytest.mark.slow, pytest.mark.timeout(300)]


AFTER_S = 15
"""Until then both agents train, on a slow machine, too."""


def phases(run: Path, rank: int) -> list[dict[str, Any]]:
    path = run / f"rank_{rank:02d}" / "profile" / "phases.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def events(run: Path, rank: int, kind: str) -> list[str]:
    return [r["message"] for r in records(run, rank) if r.get("event") == kind]


def test_all_agents_at_once_in_traces_phases_and_one_picture(tmp_path: Path) -> None:
    run, picture = tmp_path / "run", tmp_path / "gantt.png"
    output = gala(
        "train", "cartpole", "--agents", 2, "--total-steps", 40_000, "--run-dir", run,
        "--profile", "--log.profile-updates", 12, "--log.profile-after-s", 0, "--threads", 1,
        "--faults.agents", 1, "--faults.slowdown", 3,
    )  # fmt: skip
    assert "12 updates of each agent, 0 s after the launch" in output and "finished" in output
    for rank in (0, 1):
        found = phases(run, rank)
        assert {row["rank"] for row in found} == {rank}
        assert len({row["update"] for row in found}) == 12 and len(found) == 12 * 5 - 1
        times = [t for row in found for t in (row["begin"], row["end"])]
        assert times == sorted(times)
        trace = json.loads((run / f"rank_{rank:02d}" / "profile" / "trace.json").read_text())
        names = [event["name"] for event in trace["traceEvents"] if event.get("ph") == "X"]
        assert {phase: names.count(phase) for phase in PHASES} == {
            phase: 12 - (phase == "other") for phase in PHASES
        }
        assert any(name.startswith("aten::") for name in names)
        (told,) = events(run, rank, "profile")
        assert "no trace" not in told
    assert any(row["mixed"] for rank in (0, 1) for row in phases(run, rank))
    # the straggler sleeps two thirds of its time, between its updates
    spent = {
        rank: sum(r["end"] - r["begin"] for r in phases(run, rank) if r["phase"] == "other")
        / (phases(run, rank)[-1]["end"] - phases(run, rank)[0]["begin"])
        for rank in (0, 1)
    }
    assert spent[1] > 0.5 > spent[0]

    shown = json.loads(gala("profile", run, "-o", picture, "--json"))
    assert [agent["agent"] for agent in shown["agents"]] == [0, 1]
    assert shown["picture"] == str(picture) and picture.read_bytes().startswith(b"\x89PNG")


def test_windows_open_at_the_same_time(tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = start(
        "train", "cartpole", "--agents", 2, "--total-steps", 10**9, "--run-dir", run, "--threads",
        1, "--profile", "--log.profile-updates", 5, "--log.profile-after-s", AFTER_S,
    )  # fmt: skip
    wait_until(lambda: all(events(run, rank, "profile") for rank in (0, 1)), process)
    process.send_signal(signal.SIGINT)
    finish(process)
    started = json.loads((run / "meta.json").read_text())["started"]
    for rank in (0, 1):
        first = phases(run, rank)[0]
        assert first["update"] > 10
        # at the first update after that moment; both had begun long before
        rows = phases(run, rank)
        update_s = (rows[-1]["end"] - rows[0]["begin"]) / 5
        assert 0 <= first["begin"] - started - AFTER_S < 2 + 10 * update_s
    assert process.returncode == 0


def test_an_agent_killed_while_it_is_profiled(tmp_path: Path) -> None:
    """Its lines are whole, its next incarnation is not profiled, the other keeps its profile."""
    run = tmp_path / "run"
    process = start(
        "train", "cartpole", "--agents", 2, "--total-steps", 10**9, "--run-dir", run, "--threads",
        1, "--profile", "--log.profile-updates", 10**6, "--log.profile-after-s", 0,
    )  # fmt: skip
    wait_until(lambda: all(len(phases(run, rank)) > 10 for rank in (0, 1)), process)
    os.kill(json.loads((run / "rank_01" / "agent.json").read_text())["pid"], signal.SIGKILL)
    wait_until(lambda: bool(events(run, 1, "alive")), process)
    before = len(phases(run, 1))
    newest = max(r["update"] for r in records(run, 1))
    wait_until(lambda: max(r["update"] for r in records(run, 1)) > newest + 30, process)
    process.send_signal(signal.SIGINT)
    output = finish(process)
    assert process.returncode == 0, output
    assert len(phases(run, 1)) == before and events(run, 1, "profile") == []
    assert not (run / "rank_01" / "profile" / "trace.json").exists()
    (told,) = events(run, 0, "profile")
    assert "no trace" not in told
    assert json.loads((run / "rank_00" / "profile" / "trace.json").read_text())["traceEvents"]


def test_agents_of_one_process_share_the_profiler(tmp_path: Path) -> None:
    run = tmp_path / "run"
    gala(
        "train", "cartpole", "--agents", 2, "--agents-per-process", 2, "--total-steps", 30_000,
        "--run-dir", run, "--profile", "--log.profile-updates", 10, "--log.profile-after-s", 0,
    )  # fmt: skip
    told = [text for rank in (0, 1) for text in events(run, rank, "profile")]
    assert len(told) == 2
    assert all(len({row["update"] for row in phases(run, rank)}) == 10 for rank in (0, 1))
    traced = [(run / f"rank_{rank:02d}" / "profile" / "trace.json").exists() for rank in (0, 1)]
    assert any(traced) and sum("no trace" in text for text in told) == 2 - sum(traced)
