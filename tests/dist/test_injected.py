"""Every fault at every line of the loop, in real launches: the run ends well, all steps done."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from launching import (
    experiment,
    finish,
    gala,
    interrupt,
    newest_state,
    records,
    start,
    updates_done,
    wait_until,
)

from gala.gossip.shared_memory import folder_of
from gala.run.folder import RunFolder

pytestmark = [pytest.mark.long, pytest.mark.timeout(300), pytest.mark.slow]

LOCK_STEP = ("--gossip.max-staleness", 0, "--gossip.timeout-s", 0.2)
STEPS = {"gossip": 16_000, "lock-step": 6_000}
"""Apart, who lives goes on while the other one starts again; in lock-step each does its share.
Full disks have room again well before the end: who cannot save the last checkpoint ends with 74."""

DEADLY = {
    0: ("update=10,where=collect", "update=1,where=learn,incarnation=1"),
    1: (
        "update=20,where=publish",
        "update=1,where=mix,incarnation=1",
        "update=1,where=save,incarnation=2",
    ),
}
PASSING = {
    0: ("update=10,where=collect", "update=25,where=learn"),
    1: ("update=10,where=publish", "update=20,where=mix", "update=30,where=save"),
}


NAN = {0: PASSING[0], 1: DEADLY[1]}
"""Of a reward or a gradient an update is lost, of parameters an incarnation."""


def faults(kind: str, plan: dict[int, tuple[str, ...]]) -> str:
    return ";".join(f"rank={rank},kind={kind},{each}" for rank in plan for each in plan[rank])


def injected(run: Path, rank: int) -> list[str]:
    """Places of the faults that happened."""
    told = [r["message"] for r in records(run, rank) if r.get("event") == "fault"]
    assert all(text.startswith("injected: ") for text in told)
    return [text.partition(" at ")[2].partition(" ")[0] for text in told]


def all_is_done(run: Path, mode: str) -> None:
    last = [max(r["step"] for r in records(run, rank)) for rank in range(2)]
    assert sum(last) >= STEPS[mode]
    for rank in range(2):
        assert [r for r in records(run, rank) if r.get("event") == "done"]
    assert not folder_of(RunFolder(run).read_meta()["run_id"]).exists()


def train(tmp_path: Path, mode: str, *more: object) -> str:
    extra = LOCK_STEP if mode == "lock-step" else ()
    return gala(
        "train", experiment(tmp_path, total_steps=STEPS[mode]), "--agents", 2,
        "--run-dir", tmp_path / "run", *extra, *more,
    )  # fmt: skip


@pytest.mark.parametrize("mode", ["gossip", "lock-step"])
@pytest.mark.parametrize("kind", ["kill", "segv"])
def test_deaths_at_every_line(tmp_path: Path, kind: str, mode: str) -> None:
    run = tmp_path / "run"
    output = train(tmp_path, mode, "--faults.at", faults(kind, DEADLY))
    all_is_done(run, mode)
    assert injected(run, 0) == ["collect", "learn"]
    assert injected(run, 1) == ["publish", "mix", "save"]
    cause = {"kill": "SIGKILL", "segv": "SIGSEGV"}[kind]
    assert f"gala: agent 0 fault injected: {kind} at collect of update 10" in output
    assert output.count(f"died ({cause})") == 5
    assert max(r["incarnation"] for r in records(run, 1)) == 3


@pytest.mark.parametrize("mode", ["gossip", "lock-step"])
@pytest.mark.parametrize(
    "kind", ["stop,seconds=0.3", "disk-full,seconds=0.05", "drop-network,seconds=0.3"]
)
def test_what_passes_at_every_line(tmp_path: Path, kind: str, mode: str) -> None:
    run = tmp_path / "run"
    output = train(tmp_path, mode, "--faults.at", faults(kind, PASSING))
    all_is_done(run, mode)
    assert "finished" in output and "died" not in output and "Traceback" not in output
    lost = kind.startswith("disk-full")  # a full disk loses the records of that time
    found = [injected(run, rank) for rank in range(2)]
    assert found == [["collect", "learn"], ["publish", "mix", "save"]] or lost
    assert output.count("fault injected: ") == 5


@pytest.mark.parametrize("mode", ["gossip", "lock-step"])
def test_nan_at_every_line(tmp_path: Path, mode: str) -> None:
    run = tmp_path / "run"
    output = train(tmp_path, mode, "--faults.at", faults("nan", NAN))
    all_is_done(run, mode)
    assert [injected(run, rank) for rank in range(2)] == [
        ["collect", "learn"], ["publish", "mix", "save"],
    ]  # fmt: skip
    assert [max(r["incarnation"] for r in records(run, rank)) for rank in range(2)] == [0, 3]
    assert sum(r.get("event") == "skipped" for r in records(run, 0)) == 2 and "finished" in output
    for rank in range(2):
        assert bool(newest_state(run, rank)["params"].isfinite().all())


def test_a_deadlock_is_noticed_and_all_is_done(tmp_path: Path) -> None:
    run = tmp_path / "run"
    output = train(
        tmp_path, "lock-step", "--faults.at", "rank=1,update=10,kind=deadlock",
        "--supervisor.acting-s", 1,
    )  # fmt: skip
    all_is_done(run, "lock-step")
    assert injected(run, 1) == ["collect"] and "Traceback" not in output
    assert max(r["incarnation"] for r in records(run, 1)) == 1


@pytest.mark.parametrize("where", ["collect", "save"])
def test_who_dies_is_started_again_and_all_is_done(tmp_path: Path, where: str) -> None:
    run = tmp_path / "run"
    output = train(tmp_path, "lock-step", "--faults.at", f"rank=1,update=5,kind=kill,where={where}")
    all_is_done(run, "lock-step")
    assert injected(run, 1) == [where] and output.count("died (SIGKILL)") == 1


@pytest.mark.parametrize("where", ["collect", "learn", "publish", "mix", "save"])
def test_others_train_on_beside_a_deadlock_and_it_outlives_nobody(
    tmp_path: Path, where: str
) -> None:
    run = tmp_path / "run"
    process = start(
        "train", experiment(tmp_path, total_steps=10**9), "--agents", 2, "--run-dir", run,
        "--checkpoint.every-steps", 400,
        "--faults.at", f"rank=1,update=10,kind=deadlock,where={where}",
    )  # fmt: skip
    wait_until(lambda: injected(run, 1) == [where], process)
    stands, before = updates_done(run, 1), updates_done(run, 0)
    wait_until(lambda: updates_done(run, 0) > before + 100, process)
    assert updates_done(run, 1) == stands
    os.kill(pid_of(run, 1), signal.SIGKILL)
    wait_until(lambda: updates_done(run, 1) > stands + 50, process)
    output, _ = interrupt(process)
    assert process.returncode == 0 and "Traceback" not in output


def test_a_cut_network_is_noticed_at_both_ends_and_heals(tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = start(
        "train", experiment(tmp_path, total_steps=10**9), "--agents", 2, "--run-dir", run,
        "--faults.at", "rank=1,update=50,kind=drop-network,seconds=5",
    )  # fmt: skip

    def told(rank: int, kind: str, text: str) -> bool:
        return any(r.get("event") == kind and text in r["message"] for r in records(run, rank))

    for rank in range(2):
        wait_until(lambda r=rank: told(r, "suspect", f"agent {1 - r} is silent"), process)
    for rank in range(2):
        wait_until(lambda r=rank: told(r, "alive", f"agent {1 - r} is back"), process)
    output, _ = interrupt(process)
    assert process.returncode == 0 and "Traceback" not in output


def test_a_deadlock_ends_with_its_launch(tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = start(
        "train", experiment(tmp_path, total_steps=10**9), "--agents", 2, "--run-dir", run,
        "--faults.at", "rank=1,update=10,kind=deadlock",
    )  # fmt: skip
    wait_until(lambda: injected(run, 1) == ["collect"], process)
    deadlocked, supervisor = Path(f"/proc/{pid_of(run, 1)}"), parent_of(pid_of(run, 1))
    os.kill(supervisor, signal.SIGKILL)
    finish(process)
    assert not deadlocked.exists()


def pid_of(run: Path, rank: int) -> int:
    return int(json.loads((run / f"rank_{rank:02d}" / "agent.json").read_text())["pid"])


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
