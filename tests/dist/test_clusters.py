"""Scripts and files for clusters: what they start, run for real where that needs no cluster."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from launching import experiment, finish, records

from gala.config.options import parse_options
from gala.launch.processes import bound_to
from gala.run.config import config_type
from gala.run.request import LAUNCH_OPTIONS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

CLUSTERS = Path(__file__).parents[2] / "experiments" / "clusters"

SRUN = """#!/bin/bash
while [[ $1 == -* ]]; do shift; done
exec "$@"
"""


@pytest.fixture
def slurm(tmp_path: Path) -> dict[str, str]:
    """The environment of a task on a machine whose Slurm is two small programs."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in (("srun", SRUN), ("scontrol", "#!/bin/sh\necho localhost\n")):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    path = os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]])
    return os.environ | {
        "PATH": path, "SLURM_JOB_ID": str(os.getpid()), "SLURM_JOB_NODELIST": "here",
        "SLURM_NNODES": "1", "SLURM_CPUS_PER_TASK": "1", "AGENTS_PER_NODE": "2",
        "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_COUNT": "2",
        "RUNS": str(tmp_path / "runs"), "SECRET_FILE": str(tmp_path / "secret"),
    }  # fmt: skip


def script(name: str, *arguments: object, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["bash", str(CLUSTERS / name), *map(str, arguments)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=bound_to(os.getpid()),
    )


def last_events(run: Path) -> list[str]:
    return [records(run, rank)[-1]["event"] for rank in (0, 1)]


def test_one_launch_over_the_nodes_of_a_job(tmp_path: Path, slurm: dict[str, str]) -> None:
    run = tmp_path / "run"
    process = script(
        "torchrun.sbatch", experiment(tmp_path, total_steps=2000), "--run-dir", run, **slurm
    )
    output = finish(process)
    assert process.returncode == 0, output
    assert last_events(run) == ["done", "done"]


def test_an_array_with_a_job_an_agent(tmp_path: Path, slurm: dict[str, str]) -> None:
    (tmp_path / "secret").write_text("0123456789abcdef0123456789abcdef\n")
    (tmp_path / "secret").chmod(0o600)
    text = experiment(tmp_path, total_steps=2000)
    jobs = [
        script("agents.sbatch", text, **slurm | {"SLURM_ARRAY_TASK_ID": str(rank)})
        for rank in (0, 1)
    ]
    outputs = [finish(job) for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0], outputs
    assert last_events(tmp_path / "runs" / "7") == ["done", "done"]


def test_a_job_that_is_pre_empted_saves_and_another_life_goes_on(
    tmp_path: Path, slurm: dict[str, str]
) -> None:
    (tmp_path / "secret").write_text("0123456789abcdef0123456789abcdef\n")
    (tmp_path / "secret").chmod(0o600)
    alone = slurm | {"SLURM_ARRAY_TASK_ID": "0", "SLURM_ARRAY_TASK_COUNT": "1"}
    endless = experiment(tmp_path, total_steps=10**9)
    job = script("agents.sbatch", endless, **alone)
    assert job.stdout is not None
    while "steps/s" not in job.stdout.readline():
        pass
    os.killpg(job.pid, signal.SIGTERM)
    output = finish(job)
    assert job.returncode == 0, output
    run = tmp_path / "runs" / "7"
    saved = records(run, 0)[-1]
    assert saved["event"] == "stop" and list((run / "rank_00" / "checkpoints").iterdir())


def commands(name: str) -> list[list[str]]:
    """What the containers of a file run."""
    found = []
    for part in yaml.safe_load_all((CLUSTERS / name).read_text()):
        replicas = part["spec"].get("pytorchReplicaSpecs", {"": part["spec"]})
        for each in replicas.values():
            containers = each.get("template", {}).get("spec", {}).get("containers", [])
            found += [one["command"] + one["args"] for one in containers]
    return found


def test_a_pod_starts_the_agent_of_its_number(tmp_path: Path) -> None:
    (command,) = commands("statefulset.yaml")
    (tmp_path / "gala").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (tmp_path / "gala").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "HOSTNAME": "gala-3"}
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    words = told.stdout.split()
    assert words[:6] == ["launch", "--rank", "3", "--size", "4", "--store"]
    assert "replicas: 4\n" in (CLUSTERS / "statefulset.yaml").read_text()
    parse_options(config_type(), words[7:], LAUNCH_OPTIONS)


def test_kubeflow_starts_torchrun() -> None:
    (command,) = commands("pytorchjob.yaml")
    assert command[:4] == ["torchrun", "-m", "gala.train", "experiments/pong.yaml"]
