"""Lock-step gossip in real processes under torchrun: reproducible, resumable, exact."""

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

pytestmark = pytest.mark.timeout(300)

AGENTS = 3
STEPS = 6000
LOCK_STEP = ("--agents", AGENTS, "--gossip.max-staleness", 0)


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
    for rank in range(AGENTS):
        assert equal(newest_state(run, rank), newest_state(whole, rank))


@pytest.mark.slow
def test_every_agent_does_its_share_and_they_differ(whole: Path) -> None:
    states = [newest_state(whole, rank) for rank in range(AGENTS)]
    assert [state["step"] for state in states] == [STEPS / AGENTS] * AGENTS
    assert not torch.equal(states[0]["params"], states[1]["params"])
    last = [records(whole, rank)[-1] for rank in range(AGENTS)]
    assert all(record["event"] == "done" for record in last)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_resumes_to_the_same_bits(
    whole: Path, tmp_path: Path, number: int
) -> None:
    run = tmp_path / "run"
    process = start("train", experiment(tmp_path, total_steps=STEPS), *LOCK_STEP, "--run-dir", run)
    wait_until(lambda: updates_done(run, 0) > 5, process)
    output, seconds = interrupt(process, number)
    assert process.returncode == 0, output
    assert seconds < 10
    assert "go on:     gala train --resume" in output and "stopped" in output
    stopped = [newest_state(run, rank)["update"] for rank in range(AGENTS)]
    assert len(set(stopped)) == 1 and stopped[0] < STEPS / AGENTS / 20

    resumed = start("train", "--resume", run, "--agents", AGENTS)
    output = finish(resumed)
    assert resumed.returncode == 0, output
    for rank in range(AGENTS):
        assert equal(newest_state(run, rank), newest_state(whole, rank))
