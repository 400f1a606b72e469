"""Faults at a moment, in one agent of this process; deadly ones are in tests/dist."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from gala.agent.actor_learner import ActorLearner
from gala.agent.faults import continue_after
from gala.config.faults import PLACES
from gala.config.sections import CheckpointConfig, EnvConfig, FaultsConfig, LogConfig, NetworkConfig
from gala.errors import NotFinite
from gala.files import atomic
from gala.learning.a2c_config import A2CConfig
from gala.run import checkpoint
from gala.run.config import Config

Train = Callable[..., Any]
UPDATES = 40


@pytest.fixture(autouse=True)
def close_what_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    run = ActorLearner.run

    def run_or_close(agent: ActorLearner) -> None:
        try:
            run(agent)
        except NotFinite:
            agent.close()
            raise

    monkeypatch.setattr(ActorLearner, "run", run_or_close)


def config(*at: str) -> Any:
    return Config(
        total_steps=20 * UPDATES,
        env=EnvConfig(id="gala/Identity-v0", num_envs=4),
        network=NetworkConfig(kind="mlp", hidden=(8,)),
        a2c=A2CConfig(n_step=5, lr=0.01),
        log=LogConfig(every_s=1e-3, tensorboard=False),
        checkpoint=CheckpointConfig(every_steps=100, keep=100),
        faults=FaultsConfig(at=at),
    )


def lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "rank_00/metrics.jsonl").read_text().splitlines()]


def told(run: Path) -> list[tuple[int, str]]:
    return [(r["update"], r["message"]) for r in lines(run) if r.get("event") == "fault"]


def finite_checkpoints(run: Path) -> dict[int, bool]:
    folder = run / "rank_00" / "checkpoints"
    return {
        update: bool(
            torch.isfinite(checkpoint.load(checkpoint.path_of(folder, update))["params"]).all()
        )
        for update in checkpoint.updates(folder)
    }


def test_who_asks_for_none_loads_none(train_here: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "gala.agent.faults", raising=False)
    agent = train_here(config())
    assert agent.update == UPDATES and "gala.agent.faults" not in sys.modules
    assert not {"next", "save"} & (vars(agent) | vars(agent.source)).keys()
    assert atomic.faults == []


@pytest.mark.parametrize("where", PLACES)
def test_one_nan_enters_where_it_was_asked_for(
    train_here: Train, tmp_path: Path, capfd: pytest.CaptureFixture[str], where: str
) -> None:
    """Of a reward or a gradient an update is lost, of parameters the incarnation; no checkpoint."""
    of_batch = where in ("collect", "learn")
    with nullcontext() if of_batch else pytest.raises(NotFinite):
        agent = train_here(config(f"rank=0,update=17,kind=nan,where={where}"))
        assert agent.update == UPDATES, "all steps are done"
    run = tmp_path / "run"
    moment = {"collect": 16, "learn": 16, "save": 20}.get(where, 17)
    message = f"injected: nan at {where} of update 17"
    assert told(run) == [(moment, message)]
    assert f"gala: agent 0 fault {message}" in capfd.readouterr().err
    skipped = [r["update"] for r in lines(run) if r.get("event") == "skipped"]
    assert skipped == ([17] if of_batch else [])
    kept = finite_checkpoints(run)
    assert all(kept.values()) and max(kept) == (UPDATES if of_batch else 15)


def test_a_full_disk_costs_records_sketches_and_checkpoints_of_that_time_alone(
    train_here: Train, tmp_path: Path
) -> None:
    agent = train_here(config("rank=0,update=12,kind=disk-full,seconds=3600,where=learn"))
    run = tmp_path / "run"
    assert agent.update == UPDATES
    assert checkpoint.updates(run / "rank_00" / "checkpoints") == [5, 10]
    assert lines(run)[-1] | {"t": 0} == lines(run)[-1] | {"t": 0, "event": "fault"}
    assert not [path for path in run.rglob("*") if path.name.endswith(atomic.TEMPORARY_SUFFIX)]
    assert atomic.faults == [], "and the next agent of this process has a disk again"
    assert train_here(config(), "next").update == UPDATES
    assert len(checkpoint.updates(tmp_path / "next" / "rank_00" / "checkpoints")) == 8


def test_a_full_disk_is_told_when_there_is_room_again(train_here: Train, tmp_path: Path) -> None:
    """The checkpoint that meets it is lost, and what was there before stays."""
    train_here(config("rank=0,update=10,kind=disk-full,seconds=0.001,where=save"))
    run = tmp_path / "run"
    kept = checkpoint.updates(run / "rank_00" / "checkpoints")
    assert 5 in kept and 10 not in kept and kept[-1] == UPDATES
    assert told(run) == [(10, "injected: disk-full for 0.001 s at save of update 10")]


def test_only_the_agent_and_the_incarnation_that_are_named(
    train_here: Train, tmp_path: Path
) -> None:
    train_here(config("rank=0,update=1,kind=kill,incarnation=1", "rank=1,update=1,kind=kill"))
    assert told(tmp_path / "run") == []


def test_what_lies_behind_a_run_that_goes_on_does_not_happen_again(
    train_here: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = train_here(config(), "first")
    state, run = first.state_dict(), ActorLearner.run

    def go_on(agent: ActorLearner) -> None:
        agent.load_state_dict(state | {"update": 20} | {"source": state["source"] | {"steps": 400}})
        run(agent)

    monkeypatch.setattr(ActorLearner, "run", go_on)
    faults = (f"rank=0,update={update},kind=nan,where=learn" for update in (20, 30))
    train_here(config(*faults), "second")
    assert told(tmp_path / "second") == [
        (20, "not injected, this update is over: nan at learn of update 20"),
        (29, "injected: nan at learn of update 30"),
    ]


def test_who_was_stopped_is_continued() -> None:
    command = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as sleeper:
        state = Path(f"/proc/{sleeper.pid}/stat")
        sleeper.send_signal(signal.SIGSTOP)
        until(lambda: state.read_text().split()[2] == "T")
        assert continue_after(sleeper.pid, 0.05).wait(timeout=30) == 0
        until(lambda: state.read_text().split()[2] != "T")


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.005)
