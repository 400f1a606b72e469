"""Exchange of policies in real processes: the same bits, deaths, lies, what is said of bounds."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
import torch
from launching import (
    equal,
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

from gala.couplings.policy import UNBOUND
from gala.gossip.shared_memory import folder_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

AGENTS, STEPS = 3, 3600
LOCK_STEP = ("--agents", AGENTS, "--gossip.max-staleness", 0, "--topology", "ring")
PPO = ("--algorithm", "ppo", "--ppo.n-step", 20, "--ppo.epochs", 2, "--ppo.lr", "3e-3")


def last(run: Path, rank: int, name: str) -> float:
    """The newest record of a metric."""
    found = [r[name] for r in records(run, rank) if r.get(name) is not None]
    return float(found[-1])


@pytest.mark.parametrize(
    ("coupling", "more"),
    [
        pytest.param("distil", (), marks=pytest.mark.long),
        pytest.param("repel", ("--network.decorrelate", 0.1), marks=pytest.mark.long),
        pytest.param("distil", PPO, marks=pytest.mark.long),
    ],
)
def test_an_interrupted_run_resumes_to_the_same_bits(
    tmp_path: Path, coupling: str, more: tuple[object, ...]
) -> None:
    options = (experiment(tmp_path, total_steps=STEPS), *LOCK_STEP, "--coupling", coupling, *more)
    whole, run = tmp_path / "whole", tmp_path / "run"
    output = gala("train", *options, "--run-dir", whole)
    assert f"no bound applies: {UNBOUND}" in output
    slow = ("--faults.slowdown", 20, "--faults.agents", 0)  # interrupted before its end
    process = start("train", *options, *slow, "--run-dir", run)
    wait_until(lambda: updates_done(run, 0) > 2, process)
    output, _ = interrupt(process, signal.SIGTERM)
    assert process.returncode == 0, output
    assert newest_state(run, 0)["update"] < newest_state(whole, 0)["update"]
    resumed = start("train", "--resume", run, "--faults.slowdown", 1)
    output = finish(resumed)
    assert resumed.returncode == 0, output
    states = [newest_state(run, rank) for rank in range(AGENTS)]
    assert all(equal(states[rank], newest_state(whole, rank)) for rank in range(AGENTS))
    assert not torch.equal(states[0]["params"], states[1]["params"])
    assert set(states[0]["coupling"]["heard"]["heard"]) == {1, 2}


def test_neighbours_teach_and_nothing_claims_a_bound(tmp_path: Path) -> None:
    run, file = tmp_path / "run", experiment(tmp_path, total_steps=12_000)
    gala("train", file, *LOCK_STEP, "--coupling", "distil", "--run-dir", run)
    for rank in range(AGENTS):
        assert last(run, rank, "losses/peer_kl") < 0.05
        assert last(run, rank, "charts/episodic_return") > 6.5  # chance is 5
        bounded = [r for r in records(run, rank) if r.get("divergence/epsilon") is not None]
        assert bounded == [] and last(run, rank, "divergence/total") > 0
        assert not [r for r in records(run, rank) if r.get("event") == "alarm"]
    told = [r["message"] for r in records(run, 0) if r.get("event") == "bound"]
    assert all(UNBOUND in text for text in told)
    assert any(r.get("divergence/kl/1") is not None for r in records(run, 0))
    found = json.loads(gala("eval", run, "--episodes", 2, "--json"))
    assert {each["agent"] for each in found["results"]} == {0, 1, 2}, "there is no mean"


@pytest.mark.parametrize(
    ("coupling", "fault"), [("distil", "kind=kill,where=publish"), ("repel", "kind=nan,where=mix")]
)
def test_who_dies_comes_back_and_the_others_go_on(
    tmp_path: Path, coupling: str, fault: str
) -> None:
    run = tmp_path / "run"
    output = gala(
        "train", experiment(tmp_path, total_steps=4_000), "--agents", 2, "--coupling", coupling,
        "--run-dir", run, "--gossip.max-staleness", 0, "--gossip.timeout-s", 0.2,
        "--faults.at", f"rank=1,update=20,{fault}",
    )  # fmt: skip
    assert ("died (SIGKILL)" in output) == ("kill" in fault) and "finished" in output
    assert max(r["incarnation"] for r in records(run, 1)) == 1
    assert len([r for r in records(run, 1) if r.get("event") == "alive"]) == 1
    for rank in range(2):
        assert max(r["step"] for r in records(run, rank)) == 2_000
        assert bool(newest_state(run, rank)["params"].isfinite().all())
    meta = json.loads((run / "meta.json").read_text())
    assert not folder_of(meta["run_id"]).exists()


def test_late_lost_and_damaged_messages_delay_what_is_learned_from(tmp_path: Path) -> None:
    run = tmp_path / "run"
    gala(
        "train", experiment(tmp_path, total_steps=6_000), "--agents", 3, "--coupling", "distil",
        "--run-dir", run, "--faults.drop", 0.3, "--faults.corrupt", 0.2, "--faults.delay-ms", 2,
    )  # fmt: skip
    for rank in range(3):
        assert last(run, rank, "gossip/mixes") > 0
        assert bool(newest_state(run, rank)["params"].isfinite().all())
    assert sum(last(run, rank, "gossip/messages_refused") for rank in range(3)) > 0
