"""Lock-step gossip in real processes under torchrun: reproducible, resumable, exact."""

import signal
from pathlib import Path

import pytest
import torch
from launching import (
    experiment,
    finish,
    gala,
    interrupt,
    newest_state,
    records,
    require_same_bits,
    start,
    updates_done,
    wait_until,
)

from gala.divergence.ball import exact_total, measure
from gala.divergence.certifier import Certifier
from gala.divergence.sketch import relative_error
from gala.telemetry.sketches import read_sketches
from gala.topology import load_topology

pytestmark = pytest.mark.timeout(300)

AGENTS = 3
STEPS = 6000
LOCK_STEP = ("--agents", AGENTS, "--gossip.max-staleness", 0)
SLOW = ("--faults.slowdown", 20, "--faults.agents", 0)
FAST = ("--faults.slowdown", 1)
"""A run that is interrupted must not be over before it hears of it, on any machine."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted lock-step run."""
    folder = tmp_path_factory.mktemp("whole")
    output = gala(
        "train", experiment(folder, total_steps=STEPS), *LOCK_STEP, "--run-dir", folder / "run"
    )
    assert "finished" in output
    return folder / "run"


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bits(whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    gala("train", experiment(tmp_path, total_steps=STEPS), *LOCK_STEP, "--run-dir", run)
    require_same_bits(run, whole, AGENTS)


@pytest.mark.slow
def test_every_agent_does_its_share_and_they_differ(whole: Path) -> None:
    states = [newest_state(whole, rank) for rank in range(AGENTS)]
    assert [state["step"] for state in states] == [STEPS / AGENTS] * AGENTS
    assert not torch.equal(states[0]["params"], states[1]["params"])
    last = [records(whole, rank)[-1] for rank in range(AGENTS)]
    assert all(record["event"] == "done" for record in last)


@pytest.mark.slow
def test_sketches_of_a_run_say_what_its_checkpoints_say(whole: Path) -> None:
    """The newest sketch is of the very parameters that the last checkpoint holds."""
    states = [newest_state(whole, rank) for rank in range(AGENTS)]
    rows = torch.stack([state["params"] for state in states]).double()
    files = [whole / f"rank_{rank:02d}" / "sketches.bin" for rank in range(AGENTS)]
    newest = [read_sketches(path, last=1)[0] for path in files]
    assert [int(one["update"]) for one in newest] == [state["update"] for state in states]
    certify = Certifier(whole, AGENTS, newest[0]["sketch"].size).certify
    tick, ring = int(newest[0]["tick"]), load_topology("ring", AGENTS)
    ball = measure(files, tick, ring, certify, lock_step=True)
    assert ball is not None and ball.total is not None and ball.proven
    assert ball.epsilon is not None and ball.total <= ball.epsilon
    error = 4 * relative_error(newest[0]["sketch"].size)
    assert ball.total == pytest.approx(exact_total(rows), rel=error)
    distances = (rows - rows.mean(0)).norm(dim=1)
    assert list(ball.to_mean.values()) == pytest.approx(distances.tolist(), rel=error)
    for one, row in zip(newest, rows, strict=True):
        assert float(one["norm"]) == pytest.approx(float(row.norm()), rel=1e-5)
    assert ball.mean_norm == pytest.approx(float(rows.mean(0).norm()), rel=error)


@pytest.mark.slow
@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)]
)
def test_an_interrupted_run_resumes_to_the_same_bits(
    whole: Path, tmp_path: Path, number: int
) -> None:
    run = tmp_path / "run"
    path = experiment(tmp_path, total_steps=STEPS)
    process = start("train", path, *LOCK_STEP, *SLOW, "--run-dir", run)
    wait_until(lambda: updates_done(run, 0) > 5, process)
    output, _ = interrupt(process, number)
    assert process.returncode == 0, output
    assert "gala train --resume" in output and "stopped" in output
    stopped = [newest_state(run, rank)["update"] for rank in range(AGENTS)]
    assert len(set(stopped)) == 1 and stopped[0] < STEPS / AGENTS / 20

    resumed = start("train", "--resume", run, "--agents", AGENTS, *FAST)
    output = finish(resumed)
    assert resumed.returncode == 0, output
    require_same_bits(run, whole, AGENTS)


PLANS = {
    "ppo": ("--ppo.n-step", 20, "--ppo.epochs", 2, "--ppo.minibatches", 4, "--ppo.lr", "3e-3",
            "--env.normalize-observation", "--env.normalize-reward"),
    "vmpo": ("--vmpo.n-step", 5, "--vmpo.lr", "3e-3", "--vmpo.act-every", 7,
             "--env.normalize-observation"),
    "vtrace": ("--vtrace.n-step", 5, "--vtrace.lr", "3e-3", "--vtrace.lr-schedule", "linear"),
    "impact": ("--impact.n-step", 5, "--impact.lr", "3e-3", "--impact.target-every", 3,
               "--impact.kl-coef", 0.1, "--env.normalize-observation"),
    "r2d2": ("--r2d2.lr", "3e-3", "--r2d2.n-step", 5, "--r2d2.burn-in", 5, "--r2d2.sequences", 8,
             "--r2d2.updates", 2, "--r2d2.target-every", 7, "--replay.capacity", 500,
             "--replay.warm-up", 60, "--replay.save", "--env.normalize-observation"),
    "sac": ("--sac.lr", "3e-3", "--replay.batch", 16, "--replay.warm-up", 100, "--replay.n-step", 2,
            "--replay.capacity", 1000, "--replay.updates-per-step", 0.25, "--replay.save",
            "--gossip.every", 3, "--env.normalize-observation"),
    "impact, mixed": ("--impact.n-step", 5, "--impact.target", "mix", "--impact.buffer", 3),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("algorithm", "memory"),
    [
        ("ppo", "none"),
        *(
            pytest.param(name, memory, marks=pytest.mark.long)
            for name, memory in (
                ("vtrace", "none"),
                ("impact", "none"),
                ("vmpo", "none"),
                ("impact, mixed", "none"),
                ("sac", "none"),
                ("r2d2", "lstm"),
                ("ppo", "gru"),
                ("vmpo", "gru"),
                ("vtrace", "lstm"),
                ("a2c", "gtrxl"),
            )
        ),
    ],
)
def test_every_algorithm_resumes_to_the_same_bits(
    tmp_path: Path, algorithm: str, memory: str
) -> None:
    """Optimizer, minibatches, statistics, schedules, memory: all that a learner has is saved."""
    options = (experiment(tmp_path, total_steps=STEPS), *LOCK_STEP, "--algorithm",
               algorithm.split(",")[0],
               "--network.memory", memory, "--network.memory-size", 16,
               *PLANS.get(algorithm, ()))  # fmt: skip
    gala("train", *options, "--run-dir", tmp_path / "whole")
    run = tmp_path / "run"
    process = start("train", *options, *SLOW, "--run-dir", run)
    wait_until(lambda: updates_done(run, 0) > 2, process)
    output, _ = interrupt(process, signal.SIGTERM)
    assert process.returncode == 0, output
    assert newest_state(run, 0)["update"] < newest_state(tmp_path / "whole", 0)["update"]
    resumed = start("train", "--resume", run, *FAST)
    output = finish(resumed)
    assert resumed.returncode == 0, output
    require_same_bits(run, tmp_path / "whole", AGENTS)
