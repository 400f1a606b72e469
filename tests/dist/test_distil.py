"""Teachers, a student, and runs that begin with it, as a user starts them."""

from __future__ import annotations

import signal
from pathlib import Path

import numpy as np
import pytest
from launching import experiment, finish, gala, start, updates_done, wait_until

from gala.evaluation.command import evaluate
from gala.policy.loading import load

NUMBERS = np.eye(4, dtype=np.float32)
STEPS = 12_000


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that names numbers."""
    folder = tmp_path_factory.mktemp("teacher")
    path, run = experiment(folder, total_steps=STEPS), folder / "run"
    gala("train", path, "--run-dir", run)
    assert evaluate(run, episodes=4, policy="greedy", json=True)["results"][0]["mean_return"] > 18
    return run


@pytest.mark.slow
def test_runs_that_begin_with_a_student(teacher: Path, tmp_path: Path) -> None:
    one, into, on = tmp_path / "one", tmp_path / "student", tmp_path / "on"
    gala("export", teacher, "--policy", "-o", one)
    shown = gala("distil", teacher, one, "--into", into, "--total-steps", STEPS, "--episodes", 4)
    assert f"teacher    {one}: a2c on gala/Identity-v0" in shown and "student's" in shown
    assert f"gala train {into / 'config.yaml'} --init {into}" in shown
    policy = load(into)
    assert policy.predict(NUMBERS, deterministic=True)[0].tolist() == [0, 1, 2, 3]
    assert f"--init {into}" in gala("train", "--resume", into, code=2)

    more = ("--run-dir", on, "--agents", 2, "--a2c.lr", 1e-9)
    gala("train", into / "config.yaml", "--init", into, *more, "--total-steps", 512)
    begun = load(on)
    assert begun.predict(NUMBERS, deterministic=True)[0].tolist() == [0, 1, 2, 3]
    assert begun.config.init == str(into) and begun.config.agents == 2
    into.rename(tmp_path / "moved")  # a run that goes on looks for nothing there
    gala("train", "--resume", on, "--total-steps", 1024)
    assert load(on).step >= 1024


def test_a_student_that_is_asked_to_stop(teacher: Path, tmp_path: Path) -> None:
    into = tmp_path / "student"
    process = start(
        "distil", teacher, "--into", into, "--total-steps", 10**9, "--log.every-s", 0.05
    )
    wait_until(lambda: updates_done(into, 0) > 0, process)
    process.send_signal(signal.SIGINT)
    shown = finish(process)
    assert process.returncode == 0 and "stopped after" in shown and "Returns" not in shown, shown
    assert load(into).update > 0
