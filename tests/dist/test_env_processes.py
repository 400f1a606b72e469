"""Environments that are processes: they end with their agent, and an agent does not outlive one."""

from __future__ import annotations

import json
import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest
from launching import experiment, finish, gala, interrupt, records, start, updates_done, wait_until

from gala.launch.processes import children

pytestmark = pytest.mark.timeout(300)

CARTPOLE = """
total_steps: {total_steps}
topology: directed-ring
env: {{id: CartPole-v1, num_envs: 4, workers: async}}
network: {{kind: mlp, hidden: [16]}}
log: {{every_s: 0.1, console_s: 0.5, tensorboard: false}}
"""

BROKEN = """
import gymnasium


class Broken(gymnasium.Env):
    action_space = gymnasium.spaces.Discrete(2)
    observation_space = gymnasium.spaces.Box(0.0, 1.0, (2,))

    def reset(self, *, seed=None, options=None):
        raise OSError("no level of that name")


gymnasium.register("Broken-v0", Broken)
"""


@pytest.mark.parametrize(
    ("options", "words"),
    [((), "not an empty folder"), (("--network.background", 87), "network.background")],
)
def test_a_mistake_is_one_line_and_the_end(
    tmp_path: Path, options: tuple[object, ...], words: str
) -> None:
    run = tmp_path / "run"
    if not options:
        run.mkdir()
        (run / "notes.txt").write_text("mine")
    path = experiment(tmp_path, total_steps=100, text=CARTPOLE)
    output = gala("train", path, "--run-dir", run, *options, code=2)
    assert output.startswith("gala: error: ") and output.count("\n") == 1 and words in output


def test_an_environment_that_cannot_begin_is_an_error_and_the_end(tmp_path: Path) -> None:
    (tmp_path / "gala_test_broken.py").write_text(BROKEN)
    process = start(
        "train", experiment(tmp_path, total_steps=100, text=CARTPOLE),
        "--env.id", "gala_test_broken:Broken-v0", "--run-dir", tmp_path / "run",
        PYTHONPATH=str(tmp_path),
    )  # fmt: skip
    output = finish(process)
    place = "gala_test_broken.py:10: env.id"
    words = f"{place}: gala_test_broken:Broken-v0 raised OSError: no level of that"
    assert process.returncode == 2 and words in output and output.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_whole_job_is_a_wish_to_stop(tmp_path: Path, number: int) -> None:
    """Ctrl-C, ``timeout`` and batch systems signal the environments as well."""
    run = tmp_path / "run"
    process = start(
        "train", experiment(tmp_path, total_steps=10**9, text=CARTPOLE), "--run-dir", run
    )
    wait_until(lambda: updates_done(run, 0) > 20, process)
    os.killpg(process.pid, number)
    output = finish(process)
    assert process.returncode == 0 and "stopped" in output and "Traceback" not in output


@pytest.mark.slow
def test_an_agent_comes_back_when_one_of_its_environments_dies(tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = start(
        "train", experiment(tmp_path, total_steps=10**9, text=CARTPOLE), "--agents", 2,
        "--run-dir", run,
    )  # fmt: skip
    try:
        wait_until(lambda: all(updates_done(run, rank) > 20 for rank in range(2)), process)
        agent = json.loads((run / "rank_01" / "agent.json").read_text())["pid"]
        environments = children(agent)
        assert len(environments) == 4
        os.kill(environments[1], signal.SIGKILL)
        wait_until(lambda: records(run, 1)[-1].get("incarnation") == 1, process)
        assert not any(Path(f"/proc/{pid}").exists() for pid in environments)
        output, _ = interrupt(process)
        assert process.returncode == 0 and "stopped" in output
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
