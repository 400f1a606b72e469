"""The window of one agent: what it writes, when it opens and ends, and what it survives."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gala.agent.actor_learner import ActorLearner
from gala.config.sections import EnvConfig, LogConfig, NetworkConfig
from gala.learning.a2c_config import A2CConfig
from gala.run.config import Config
from gala.telemetry import profiling
from gala.telemetry.phases import PHASES, PhaseTimer
from gala.telemetry.profiling import MIN_WARM_UP, Profile, Trace, Window

Train = Callable[..., ActorLearner]


def made(folder: Path, updates: int = 3, begins: float = 0.0) -> tuple[Profile, dict[str, Any]]:
    """A profile of an agent whose counters and events are in the dict."""
    agent: dict[str, Any] = {"update": 0, "mixes": 0, "events": []}
    profile = Profile(
        PhaseTimer(),
        Window(folder=folder / "rank_00" / "profile", rank=0, updates=updates, begins=begins),
        device=torch.device("cpu"),
        count=lambda: (agent["update"], agent["mixes"]),
        finished=lambda kind, text: agent["events"].append((kind, text)),
    )
    return profile, agent


def update(profile: Profile, agent: dict[str, Any], *, mix: bool = False) -> None:
    """One update, as the loop does it."""
    profile.end_phase("other")
    torch.ones(4) @ torch.ones(4)
    profile.end_phase("collect")
    agent["update"] += 1
    profile.end_phase("learn")
    agent["mixes"] += mix
    profile.end_phase("gossip")
    profile.end_phase("log")


def rows(folder: Path) -> list[dict[str, Any]]:
    text = (folder / "rank_00" / "profile" / "phases.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def spans(folder: Path) -> list[dict[str, Any]]:
    """Phases in the trace, oldest first."""
    trace = json.loads((folder / "rank_00" / "profile" / "trace.json").read_text())
    found = [e for e in trace["traceEvents"] if e.get("ph") == "X" and e["name"] in PHASES]
    return sorted(found, key=lambda event: event["ts"])


def test_a_window_of_updates_after_the_warm_up(tmp_path: Path) -> None:
    profile, agent = made(tmp_path, updates=3)
    for number in range(MIN_WARM_UP + 5):
        update(profile, agent, mix=number % 2 == 0)
    found = rows(tmp_path)
    once = ["collect", "learn", "gossip", "log", "other"]
    assert [row["phase"] for row in found] == [*once, *once, *once[:-1]]
    first = MIN_WARM_UP + 1
    numbers = [first] * 4 + [first + 1] * 5 + [first + 2] * 5
    assert [row["update"] for row in found] == numbers  # `other` comes before its update
    assert [row["mixed"] for row in found if row["phase"] == "gossip"] == [True, False, True]
    assert all(row["mixed"] is None for row in found if row["phase"] != "gossip")
    times = [t for row in found for t in (row["begin"], row["end"])]
    assert times == sorted(times)
    ((kind, text),) = agent["events"]
    assert kind == "profile" and f"updates {first} to {first + 2}" in text
    assert f"gala profile {tmp_path} -o" in text and "no trace" not in text


def test_the_trace_holds_operators_and_phases_at_the_same_times(tmp_path: Path) -> None:
    profile, agent = made(tmp_path, updates=2)
    for _ in range(MIN_WARM_UP + 2):
        update(profile, agent)
    path = tmp_path / "rank_00" / "profile" / "trace.json"
    trace = json.loads(path.read_text())
    assert any(event.get("name", "").startswith("aten::") for event in trace["traceEvents"])
    in_trace, noted = spans(tmp_path), rows(tmp_path)
    assert [event["name"] for event in in_trace] == [row["phase"] for row in noted]
    for event, row in zip(in_trace, noted, strict=True):
        begin = trace["baseTimeNanoseconds"] / 1e9 + event["ts"] / 1e6
        assert abs(begin - row["begin"]) < 0.5
    assert [each.name for each in path.parent.iterdir() if each.name.startswith(".")] == []


def test_the_window_waits_for_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(profiling.time, "time", lambda: now[0])
    profile, agent = made(tmp_path, updates=1, begins=1001.0)
    for _ in range(MIN_WARM_UP + 20):
        update(profile, agent)
    assert not (tmp_path / "rank_00").exists() and agent["events"] == []
    now[0] = 1001.0
    update(profile, agent)
    assert {row["update"] for row in rows(tmp_path)} == {agent["update"]}
    assert len(agent["events"]) == 1


def test_an_end_within_the_window_keeps_what_there_is(tmp_path: Path) -> None:
    profile, agent = made(tmp_path, updates=100)
    for _ in range(MIN_WARM_UP + 2):
        update(profile, agent)
    profile.end_phase("other")
    profile.close()
    profile.close()
    assert len(rows(tmp_path)) == 10 and len(spans(tmp_path)) >= 10
    assert [kind for kind, _ in agent["events"]] == ["profile"]


def test_an_end_before_the_window_is_told(tmp_path: Path) -> None:
    profile, agent = made(tmp_path)
    update(profile, agent)
    profile.close()
    assert agent["events"] == [("profile", "the run ended before its window")]
    assert not (tmp_path / "rank_00").exists()


def test_a_folder_that_cannot_be_written_ends_the_profile_only(tmp_path: Path) -> None:
    (tmp_path / "rank_00").write_text("in the way")
    profile, agent = made(tmp_path)
    for _ in range(MIN_WARM_UP + 5):
        update(profile, agent)
    profile.close()
    ((kind, text),) = agent["events"]
    assert kind == "error" and text.startswith("profile: ")


def test_a_full_disk_within_the_window_ends_the_profile_only(tmp_path: Path) -> None:
    profile, agent = made(tmp_path, updates=5)
    for _ in range(MIN_WARM_UP + 1):
        update(profile, agent)
    assert profile._file is not None
    profile._file.close()
    with open("/dev/full", "w", buffering=1) as full:
        profile._file = full
        update(profile, agent)
        profile._file = None
    update(profile, agent)
    ((kind, text),) = agent["events"]
    assert kind == "error" and "No space left" in text
    Trace(tmp_path / "another.json").write()  # nobody is traced any more


def test_without_a_trace_there_are_phases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**_: object) -> None:
        raise RuntimeError("the profiler is broken\nin many words")

    monkeypatch.setattr(profiling, "profile", broken)
    profile, agent = made(tmp_path, updates=1)
    for _ in range(MIN_WARM_UP + 1):
        update(profile, agent)
    ((kind, text),) = agent["events"]
    assert kind == "profile" and "no trace: the profiler is broken;" in text
    assert len(rows(tmp_path)) == 4
    assert not (tmp_path / "rank_00" / "profile" / "trace.json").exists()


def test_one_thread_of_a_process_is_traced_at_a_time(tmp_path: Path) -> None:
    first = Trace(tmp_path / "first.json")
    with pytest.raises(RuntimeError, match="another agent of this process"):
        Trace(tmp_path / "second.json")
    refused: list[BaseException] = []

    def elsewhere() -> None:
        try:
            first.write()
        except RuntimeError as error:
            refused.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert "thread that was traced" in str(refused[0])
    first.write()
    Trace(tmp_path / "second.json").write()
    assert (tmp_path / "first.json").exists() and (tmp_path / "second.json").exists()


# -- in a real agent


def config(*, profile: bool, **log: Any) -> Config:
    return Config(
        env=EnvConfig(id="gala/Identity-v0", num_envs=4),
        network=NetworkConfig(hidden=(8,)),
        a2c=A2CConfig(n_step=5),
        total_steps=800,
        profile=profile,
        log=LogConfig(tensorboard=False, profile_after_s=0.0, **log),
    )


def events(agent: ActorLearner) -> list[tuple[str, str]]:
    lines = agent.setting.run.metrics(0).read_text().splitlines()
    return [(r["event"], r["message"]) for line in lines if "event" in (r := json.loads(line))]


def test_an_agent_is_profiled_and_then_as_ever(train_here: Train) -> None:
    agent = train_here(config(profile=True, profile_updates=5))
    assert agent.update == 40
    assert agent.recorder.end_phase == agent.recorder._timer.end_phase
    run = agent.setting.run.path
    assert {row["update"] for row in rows(run)} == set(range(11, 16))
    assert {event["name"] for event in spans(run)} == set(PHASES)
    assert [text.split(" in ")[0] for kind, text in events(agent) if kind == "profile"] == [
        "updates 11 to 15"
    ]


def test_a_broken_profile_costs_the_training_nothing(
    train_here: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Profile, "_note", lambda *_: 1 / 0)
    agent = train_here(config(profile=True))
    assert agent.update == 40 and agent.recorder.end_phase == agent.recorder._timer.end_phase
    assert ("error", "profile: division by zero") in events(agent)
    assert events(agent)[-1][0] == "done"


def test_profiling_changes_no_number(train_here: Train) -> None:
    plain = train_here(config(profile=False), "plain")
    looked_at = train_here(config(profile=True, profile_updates=20), "looked-at")
    assert torch.equal(plain.model.flat.data, looked_at.model.flat.data)


def test_without_profile_nothing_of_it_is_there(train_here: Train, tmp_path: Path) -> None:
    agent = train_here(config(profile=False))
    assert agent.recorder.end_phase == agent.recorder._timer.end_phase
    assert not (agent.setting.run.rank(0) / "profile").exists()
    command = (
        "import sys; from gala.train import main; code = main(sys.argv[1:]); "
        "sys.exit(code or 9 * ('gala.telemetry.profiling' in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", command, "--env.id", "gala/Identity-v0", "--total-steps", "500",
         "--run-dir", str(tmp_path / "alone"), "--log.no-tensorboard"],
        capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
