"""The soak: what it strikes with, what it calls growth, and a tiny one from end to end."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "experiments" / "bench"))
import recording
import soak

from gala.config.faults import as_faults, parse_fault, require_possible

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the soak reads /proc")

IDENTITY = """
env: {id: gala/Identity-v0, num_envs: 4}
network: {kind: mlp, hidden: [16]}
log: {every_s: 0.1}
"""


@pytest.mark.parametrize("agents", [2, 3, 12])
def test_faults_from_within_are_possible_and_repeat_with_the_seed(agents: int) -> None:
    faults = soak.prepared(random.Random(7), agents, 1000)
    assert faults == soak.prepared(random.Random(7), agents, 1000)
    assert as_faults(";".join(faults)) == tuple(faults)
    require_possible(faults, agents=agents, coupling="gossip", publishes=True)
    found = [parse_fault(text) for text in faults]
    moments = {(fault.rank, fault.incarnation) for fault in found}
    assert len(moments) == len(found), "one each: who comes back gets going"
    assert {rank for rank, _ in moments} == set(range(agents))
    assert all(f.incarnation == 0 and f.update <= 500 for f in found if f.kind == "disk-full")
    deadlocked = [fault.rank for fault in found if fault.kind == "deadlock"]
    assert len(deadlocked) == len(set(deadlocked))
    assert not set(deadlocked) & set(soak.witnesses(agents)), "they live for as long as the run"


def test_all_kinds_come_up() -> None:
    found = [parse_fault(text) for text in soak.prepared(random.Random(1), 60, 1000)]
    assert {fault.kind for fault in found} == set(soak.INJECTED)
    assert {fault.where for fault in found} == set(soak.LINES)


def sample(**more: float) -> dict[str, float]:
    return {"threads": 3.0, "files": 20.0, "mib": 270.0} | more


def test_growth_is_told_from_noise() -> None:
    quiet = [sample(files=20 + k % 2, mib=270 + k % 9) for k in range(90)]
    leaks = [sample(files=20 + k / 9) for k in range(90)]
    for samples, grew in ((quiet, False), (leaks, True)):
        before, after = soak.grown(samples)["files"]
        assert soak.too_much(before, after, "files") is grew
    assert not soak.too_much(270, 287, "mib") and soak.too_much(270, 400, "mib")
    assert soak.grown([]) == {}


def test_the_footprint_of_this_process(tmp_path: Path) -> None:
    before = soak.footprint(os.getpid())
    with open(tmp_path / "file", "w"):
        after = soak.footprint(os.getpid())
    assert before is not None and after is not None
    assert after["files"] == before["files"] + 1 and after["mib"] > 10
    assert soak.footprint(2**22 + 1) is None


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_tiny_one_from_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "RESULTS", tmp_path / "results")
    experiment = tmp_path / "identity.yaml"
    experiment.write_text(IDENTITY)
    code = soak.main(
        ["--agents", "2", "--total-steps", "30000", "--experiment", str(experiment),
         "--transports", "shared-memory", "gloo", "--every", "1", "--settle", "1", "--seed", "3"]
    )  # fmt: skip
    found = json.loads((tmp_path / "results" / "soak.json").read_text())
    assert found["commit"] and found["machine"] and found["date"]
    for result in found["transports"].values():
        assert result["failures"] == [], result
        assert result["exit_code"] == 0 and result["torn"] == 0
        assert sum(result["steps"].values()) >= 30000
        assert not result["left_in_shared_memory"]
        assert sum(result["blows"].values()) + sum(result["injected"].values()) > 0
    assert code == 0
    page = (tmp_path / "results" / "soak.md").read_text()
    assert page.startswith("# Soak: ") and "| gloo |" in page and "commit" in page


WATCHER = """
import sys, time
from pathlib import Path
from gala.bench.live_run import LiveRun
live = LiveRun(Path(sys.argv[1]), 2, sys.argv[2], "--total-steps", 10**9)
time.sleep(3600)
"""


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_run_ends_with_its_watcher(tmp_path: Path) -> None:
    experiment = tmp_path / "identity.yaml"
    experiment.write_text(IDENTITY)
    run = tmp_path / "run"
    with subprocess.Popen([sys.executable, "-c", WATCHER, str(run), str(experiment)]) as watcher:
        files = [run / f"rank_{rank:02d}" / "agent.json" for rank in range(2)]
        until(lambda: all(file.exists() for file in files))
        pids = [json.loads(file.read_text())["pid"] for file in files]
        watcher.send_signal(signal.SIGKILL)
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))
    for rank in range(2):
        lines = (run / f"rank_{rank:02d}" / "metrics.jsonl").read_text().splitlines()
        assert json.loads(lines[-1])["event"] == "stop", "they saved what they had"


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)
