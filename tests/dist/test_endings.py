"""Ends of runs whose disk is small or gone, whose terminal is, or that are often told to stop."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from launching import experiment, finish, gala, records, start, updates_done, wait_until

from gala.launch.processes import bound_to, children, was_started_with
from gala.run import checkpoint

pytestmark = [pytest.mark.timeout(300), pytest.mark.slow]

SMALL_DISK = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))\n"
"""Files of at most 9000 bytes: no checkpoint, and records for a while."""


LEAVES = """
import os

import gymnasium as gym
import numpy as np


class Leaves(gym.Env):
    observation_space = gym.spaces.Box(-1, 1, (3,), np.float32)
    action_space = gym.spaces.Discrete(2)
    steps = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(3, np.float32), {}

    def step(self, action):
        self.steps += 1
        if self.steps == 100 and not os.path.exists("left"):
            open("left", "w").close()
            os._exit(0)  # as simulators do whose window is closed
        return np.zeros(3, np.float32), 1.0, False, self.steps % 20 == 0, {}


gym.register("Leaves-v0", Leaves)
"""
"""One of its environments leaves with 0, once."""


def shell(line: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """A line of bash in which ``gala`` is this one, with ``$1``, ``$2``, ... as given."""
    script = f'gala() {{ "{sys.executable}" -m gala "$@"; }}; set -o pipefail; {line}'
    return subprocess.run(
        ["bash", "-c", script, "bash", *map(str, arguments)],
        capture_output=True, text=True, timeout=200,
    )  # fmt: skip


def saved(run: Path, rank: int = 0) -> bool:
    return checkpoint.newest(checkpoint.folder_of(run, rank)) is not None


@pytest.mark.parametrize("agents", [1, 2])
def test_a_disk_that_is_too_small_is_told_at_once_and_at_the_end(
    tmp_path: Path, agents: int
) -> None:
    run = tmp_path / "run"
    done = shell(
        'ulimit -f 9; gala train "$1" --coupling none --agents "$2" --run-dir "$3"'
        " --checkpoint.every-steps 200",
        experiment(tmp_path, total_steps=2000), agents, run,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode == 74, said
    assert said.count("(left out until it works again)") >= agents
    last = [line for line in said.splitlines() if "the last checkpoint is missing" in line]
    assert len(last) == agents and all("File too large" in line for line in last)
    assert "gala eval" not in said and "Traceback" not in said


@pytest.mark.parametrize("line", [
    'gala train "$1" --run-dir "$2" | head -2',
    'gala train "$1" --run-dir "$2" > /dev/full 2> /dev/full',
    'gala train "$1" --run-dir "$2" >&- 2>&- <&-',
    pytest.param('gala train "$1" --run-dir "$2" --agents 2 > /dev/full 2>&1',
                 marks=pytest.mark.long),
    'LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0 gala train "$1" --run-dir "$2"',
])  # fmt: skip
def test_no_terminal_is_needed(tmp_path: Path, line: str) -> None:
    done = shell(line, experiment(tmp_path, total_steps=1000), tmp_path / "run")
    assert done.returncode == 0 and saved(tmp_path / "run"), done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("agents", [1, 2])
def test_many_signals_end_nobody_who_saves(tmp_path: Path, agents: int) -> None:
    run = tmp_path / "run"
    process = start(
        "train", experiment(tmp_path, total_steps=10**9), "--agents", agents, "--run-dir", run
    )
    wait_until(lambda: all(updates_done(run, rank) > 5 for rank in range(agents)), process)
    for _ in range(5):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            process.send_signal(number)
    output = finish(process)
    assert process.returncode == 0 and "stopped" in output, output
    assert all(saved(run, rank) for rank in range(agents))


@pytest.mark.parametrize(("launch", "code"), [
    (["train"], 1),
    (["train", "--agents", 2], 0),
    pytest.param(["train", "--agents", 2, "--no-supervisor"], 1, marks=pytest.mark.long),
    (["launch", "--rank", 0, "--size", 1, "--store", "file://{here}/store"], 0),
])  # fmt: skip
def test_who_leaves_with_0_in_the_middle_is_not_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, launch: list[object], code: int
) -> None:
    (tmp_path / "leaves.py").write_text(LEAVES)
    monkeypatch.chdir(tmp_path)
    output = gala(
        *(str(each).format(here=tmp_path) for each in launch),
        "--env.id", "leaves:Leaves-v0", "--env.num-envs", 4, "--total-steps", 4000,
        "--run-dir", "run", "--log.no-tensorboard", "--log.every-s", 0.1, "--threads", 1,
        code=code,
    )  # fmt: skip
    assert output.count("gala: error: os._exit(0) was called in the middle of training") == 1
    if code:
        return
    assert output.count("died (exit code 1)") == 1
    agents = range(2 if "--agents" in launch else 1)
    assert sum(max(r["step"] for r in records(Path("run"), rank)) for rank in agents) >= 4000


def test_a_stop_that_cannot_be_saved_is_143(tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-c",
         SMALL_DISK + "import sys; from gala.cli import main; sys.exit(main())",
         "train", experiment(tmp_path, total_steps=10**9), "--run-dir", run],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ,
        preexec_fn=bound_to(os.getpid()),
    )  # fmt: skip
    wait_until(lambda: updates_done(run, 0) > 5, process)
    process.send_signal(signal.SIGTERM)
    assert "the last checkpoint is missing" in finish(process)
    assert process.returncode == 143 and not saved(run)


def test_a_run_folder_that_is_deleted_is_told_and_made_anew(tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = start("train", experiment(tmp_path, total_steps=10**9), "--run-dir", run)
    wait_until(lambda: updates_done(run, 0) > 5, process)
    shutil.move(run, tmp_path / "elsewhere")
    wait_until(lambda: updates_done(run, 0) > 5, process)
    process.send_signal(signal.SIGTERM)
    output = finish(process)
    assert process.returncode == 0 and saved(run), output
    assert f"{run}/rank_00/metrics.jsonl: No such file or directory" in output
    assert {"config.yaml", "meta.json", "topology.json"} <= {path.name for path in run.iterdir()}
    assert [each["message"] for each in records(run, 0) if each.get("event") == "stop"]


def workers_of(launcher: int) -> list[int]:
    """The workers of the torchrun that ``launcher`` has started."""
    return [worker for torchrun in children(launcher) for worker in children(torchrun)]


@pytest.mark.parametrize(
    "moment",
    [
        "torchrun begins",
        pytest.param("workers begin", marks=pytest.mark.long),
        "they train",
    ],
)
def test_nothing_outlives_a_launcher_that_is_killed(tmp_path: Path, moment: str) -> None:
    run, mark = tmp_path / "run", f"GALA_TEST_LAUNCH={tmp_path}"
    arguments = "--agents", 2, "--run-dir", run
    process = start("train", experiment(tmp_path, total_steps=10**9), *arguments,
                    GALA_TEST_LAUNCH=str(tmp_path))  # fmt: skip
    reached = {
        "torchrun begins": lambda: bool(children(process.pid)),
        "workers begin": lambda: bool(workers_of(process.pid)),
        "they train": lambda: all(updates_done(run, rank) > 5 for rank in range(2)),
    }
    wait_until(reached[moment], process)
    process.kill()
    process.communicate()  # until the last one that could write has ended
    living = [int(each.name) for each in Path("/proc").glob("[0-9]*")]
    assert not [pid for pid in living if was_started_with(pid, mark)]
    assert moment != "they train" or all(saved(run, rank) for rank in range(2))
