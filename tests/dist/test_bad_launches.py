"""Mistakes of the user: one line on standard error, exit code 2, no traceback, nothing left."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from launching import experiment, gala

from gala.run import checkpoint
from gala.run.folder import prepare
from gala.run.request import read_request
from gala.train import main

pytestmark = pytest.mark.timeout(300)


def complaint(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What one agent prints for a mistake."""
    assert main([str(each) for each in arguments]) == 2
    captured = capsys.readouterr()
    lines = captured.err.strip().splitlines()
    assert len(lines) == 1 and captured.out == "", captured
    assert lines[0].startswith("gala: error: ") and "Traceback" not in lines[0]
    return lines[0]


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--env.id", "ALE/Pnog-v5", "did you mean 'Pong'?"),
        ("--env.id", "CartPole-v7", "did you mean 'CartPole-v1'?"),
        ("--a2c.lr", "fast", "--a2c.lr: must be a valid number"),
        ("--a2c.learning-rate", "1", "unknown option"),
        ("--topology", "rign", "rign"),
        ("--device", "cuda:99", "auto"),
        ("--device", "gpu", "auto, cpu, cuda:0"),
        ("--network.kind", "nature-cnn", "needs images"),
        ("--network.hidden", "[1000000,1000000]", "too large for the memory"),
    ],
)
def test_bad_options(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, option: str, value: str, words: str
) -> None:
    path = experiment(tmp_path, total_steps=100)
    line = complaint(capsys, path, option, value, "--run-dir", tmp_path / "run")
    assert words in line
    assert not (tmp_path / "run").exists()


def test_allreduce_is_between_processes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = experiment(tmp_path, total_steps=100)
    line = complaint(capsys, path, "--coupling", "allreduce", "--agents-per-process", 2)
    assert "--agents-per-process: allreduce needs a process for each agent" in line


def test_malformed_yaml_names_file_and_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("seed: 1\nenv: {id: [\n")
    assert f"{path}:3: malformed YAML" in complaint(capsys, path)
    path.write_text("seed: 1\nenv:\n  idd: x\n")
    assert f"{path}:3: env.idd: unknown field (did you mean 'id'?)" in complaint(capsys, path)


def test_a_topology_for_another_number_of_agents(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    graph = tmp_path / "three.yaml"
    graph.write_text("version: 1\nname: three\nagents: 3\nfamily: ring\n")
    line = complaint(capsys, experiment(tmp_path, total_steps=100), "--topology", graph)
    assert str(graph) in line and "3" in line


def test_a_folder_with_another_run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    path = experiment(tmp_path, total_steps=100)
    assert "not an empty folder" in complaint(capsys, path, "--run-dir", tmp_path / "run")
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"


def test_a_folder_that_cannot_be_written(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    path = experiment(tmp_path, total_steps=100)
    assert "cannot be written" in complaint(capsys, path, "--run-dir", tmp_path / "file" / "run")


def _finished(tmp_path: Path, agents: int = 1) -> Path:
    request = read_request([str(experiment(tmp_path, total_steps=100))], agents)
    facts = {"torch": "0", "parameters": 1, "frames_per_step": 1}
    run = tmp_path / "run"
    prepare(
        run,
        config=request.config,
        agents=agents,
        topology=request.topology.to_json(),
        facts=facts,
        resume=False,
    )
    return run


def test_resume_with_another_network_or_environment(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run = _finished(tmp_path)
    line = complaint(capsys, "--resume", run, "--network.hidden", "[32]")
    assert "cannot go on with" in line and "network" in line
    line = complaint(capsys, "--resume", run, "--env.id", "CartPole-v1")
    assert "env.id" in line


def test_resume_of_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "no such run folder" in complaint(capsys, "--resume", tmp_path / "none")
    (tmp_path / "empty").mkdir()
    assert "not a run folder" in complaint(capsys, "--resume", tmp_path / "empty")
    run = _finished(tmp_path)
    assert "no checkpoint" in complaint(capsys, "--resume", run)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"params": torch.zeros(7)}, "it holds 7 parameters, the network"),
        ({"params": torch.zeros(1)}, "it holds 1 parameters, the network"),
        ({"params": "text"}, "is not a checkpoint of an agent"),
        ({"update": "many"}, "is not a checkpoint of an agent"),
        ({"learner": {}}, "is not a checkpoint of an agent: it lacks 'optimizer'"),
        (None, "is not a checkpoint of an agent: it lacks 'layout_hash'"),
    ],
)
def test_resume_of_a_checkpoint_that_holds_something_else(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, change: dict[str, Any] | None, words: str
) -> None:
    run = tmp_path / "run"
    assert main([str(experiment(tmp_path, total_steps=100)), "--run-dir", str(run)]) == 0
    path = checkpoint.newest(checkpoint.folder_of(run, 0))
    assert path is not None
    torch.save({} if change is None else checkpoint.load(path) | change, path)
    capsys.readouterr()
    line = complaint(capsys, "--resume", run, "--total-steps", 300)
    assert words in line and str(path) in line


def test_two_experiments_and_two_folders(capsys: pytest.CaptureFixture[str]) -> None:
    assert "one experiment file" in complaint(capsys, "pong", "cartpole")
    assert "--run-dir" in complaint(capsys, "--resume", "a", "--run-dir", "b")


@pytest.mark.parametrize("value", ["0", "two", "-1", "1.5"])
def test_agents_must_be_a_number(value: str) -> None:
    output = gala("train", "pong", "--agents", value, code=2)
    assert output.startswith("gala: error: --agents: must be a whole number") and (
        output.count("\n") == 1
    )


@pytest.mark.slow
def test_under_torchrun_a_mistake_is_one_line_of_ours(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
         "-m", "gala.train", str(experiment(tmp_path, total_steps=100)),
         "--env.id", "ALE/Pnog-v5", "--run-dir", str(tmp_path / "run")],
        capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    ours = [line for line in done.stderr.splitlines() if line.startswith("gala: error")]
    assert len(ours) == 1 and "did you mean 'Pong'?" in ours[0]
    assert done.returncode != 0 and not (tmp_path / "run").exists()
