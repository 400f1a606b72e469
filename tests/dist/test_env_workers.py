"""Environments on other machines: gala env-worker beside a real run, as a user starts both."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from launching import (
    experiment,
    finish,
    gala,
    interrupt,
    records,
    start,
    updates_done,
    wait_until,
)  # fmt: skip

from gala.envs import handshake

pytestmark = pytest.mark.timeout(400)

TEXT = """
algorithm: vtrace
total_steps: {total_steps}
env: {{id: CartPole-v1, num_envs: 4}}
actors: {{count: 2, inference: central, listen: "127.0.0.1:0"}}
network: {{kind: mlp, hidden: [16]}}
log: {{every_s: 0.1, console_s: 0.5, tensorboard: false}}
"""


@pytest.fixture(autouse=True)
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "token"
    path.write_text("sixteen letters or more\n")
    monkeypatch.setenv("GALA_TOKEN", "sixteen letters or more")
    return path


def told(run: Path) -> list[str]:
    return [r["message"] for r in records(run, 0) if r.get("event") == "actor"]


def address_of(run: Path, process: subprocess.Popen[str]) -> str:
    wait_until(lambda: bool(told(run)), process)
    assert told(run)[-1].startswith("waits for 2 workers at 127.0.0.1:")
    return told(run)[-1].rpartition(" ")[2]


@pytest.fixture
def training(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], Path, str]]:
    run = tmp_path / "run"
    path = experiment(tmp_path, total_steps=10**9, text=TEXT)
    process = start("train", path, "--run-dir", run)
    yield process, run, address_of(run, process)
    if process.poll() is None:
        interrupt(process)  # it does not wait for workers when it is asked to stop


def worker(address: str, *arguments: object) -> subprocess.Popen[str]:
    return start("env-worker", "--connect", address, *arguments)


def test_workers_come_die_and_are_relieved(
    training: tuple[subprocess.Popen[str], Path, str], token: Path
) -> None:
    process, run, address = training
    first, second = (worker(address, "--token-file", token) for _ in range(2))
    wait_until(lambda: updates_done(run, 0) > 10, process)
    newest = [r for r in records(run, 0) if "actors/alive" in r][-1]
    assert newest["actors/alive"] == 2 and newest["actors/batch_max"] <= 4
    assert sum("has come from 127.0.0.1" in text for text in told(run)) == 2
    for each in (first, second):
        assert "libtorch" not in Path(f"/proc/{each.pid}/maps").read_text()
    spare = worker(address)
    first.kill()
    wait_until(lambda: any("another may take its number" in text for text in told(run)), process)
    wait_until(lambda: sum("has come from" in text for text in told(run)) == 3, process)
    second.kill()
    finish(first)
    finish(second)
    done = updates_done(run, 0)
    wait_until(lambda: updates_done(run, 0) > done + 10, process)
    output, _ = interrupt(process)
    assert process.returncode == 0, output
    assert "is done" in finish(spare) and spare.returncode == 0


def test_workers_wait_for_the_next_agent(tmp_path: Path) -> None:
    """Kill -9 of the agent: whoever goes on with its run finds them again."""
    run = tmp_path / "run"
    path = experiment(tmp_path, total_steps=10**9, text=TEXT)
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    workers = [worker(address) for _ in range(2)]  # before there is an agent
    options = "--actors.listen", address, "--checkpoint.every-s", 0.5
    process = start("train", path, "--run-dir", run, *options)
    wait_until(lambda: any(r.get("event") == "checkpoint" for r in records(run, 0)), process)
    process.kill()
    finish(process)
    done = updates_done(run, 0)
    again = start("train", "--resume", run, "--actors.listen", address)
    wait_until(lambda: updates_done(run, 0) > done + 5, again)
    interrupt(again)
    for each in workers:
        output = finish(each)
        assert each.returncode == 0 and "is gone; waits 60 s for another" in output, output


OWN = """
import gymnasium
from gymnasium.envs.classic_control import CartPoleEnv

gymnasium.register("Own-v0", entry_point=CartPoleEnv, kwargs={})
"""


def test_what_a_worker_can_mend_is_one_line_there(
    training: tuple[subprocess.Popen[str], Path, str], tmp_path: Path
) -> None:
    process, run, address = training
    other = tmp_path / "other"
    other.write_text("another token, long enough")
    for arguments, rule in (
        (("--connect", address, "--token-file", other), "--token-file: the token here is another"),
        (
            ("--connect", address, "--token-file", tmp_path / "none"),
            "none: --token-file: no such file",
        ),
        (("--connect", "nowhere"), "--connect: must be HOST:PORT"),
        (("--connect", "127.0.0.1:1", "--wait-s", 0), "--connect: no agent answers at 127.0.0.1:1"),
    ):
        output = gala("env-worker", *arguments, code=2)
        assert output.startswith("gala: error: ") and rule in output and output.count("\n") == 1
    wait_until(lambda: any("refused: it has another token" in t for t in told(run)), process)
    elsewhere = f"import sys; sys.path.insert(0, {os.getcwd()!r}); from gala.envs import wire\n"
    elsewhere += "wire.PROTOCOL = 2\nfrom gala.cli import main\n"
    elsewhere += f"sys.exit(main(['env-worker', '--connect', {address!r}]))"
    newer = subprocess.run(
        [sys.executable, "-c", elsewhere], capture_output=True, text=True, timeout=100, check=False
    )
    assert newer.returncode == 2 and "install the same version of gala on both" in newer.stderr
    assert process.poll() is None and handshake.HANDSHAKE_S < 60


def test_an_environment_that_a_worker_lacks_is_told_on_both_sides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token: Path
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    (here / "owned.py").write_text(OWN)
    path = experiment(tmp_path, total_steps=2000, text=TEXT)
    python = os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", python)
    monkeypatch.chdir(here)
    process = start("train", path, "--run-dir", tmp_path / "run", "--env.id", "owned:Own-v0")
    address = address_of(tmp_path / "run", process)
    monkeypatch.chdir(there)
    output = gala("env-worker", "--connect", address, code=2)
    assert "gala: error: " in output and "owned" in output.splitlines()[-1]
    wait_until(lambda: any("owned" in text and "another may take its number" in text
                           for text in told(tmp_path / "run")), process)  # fmt: skip
    monkeypatch.chdir(here)
    workers = [worker(address) for _ in range(2)]
    assert "finished" in finish(process) and process.returncode == 0
    for each in workers:
        finish(each)
        assert each.returncode == 0


def test_actors_with_a_policy_of_their_own_hear_of_it_when_it_matters(tmp_path: Path) -> None:
    run = tmp_path / "run"
    path = experiment(tmp_path, total_steps=3000, text=TEXT)
    options = "--actors.inference own --actors.sync-kl 0.001".split()
    process = start("train", path, "--run-dir", run, *options)
    address = address_of(run, process)
    workers = [worker(address) for _ in range(2)]
    assert "finished" in finish(process) and process.returncode == 0
    for each in workers:
        assert "is done" in finish(each) and each.returncode == 0
    newest = [r for r in records(run, 0) if {"actors/synced", "policy/lag_max"} <= r.keys()][-1]
    assert newest["actors/alive"] == 2 and 0.0 <= newest["actors/synced"] <= 1.0
    assert newest["actors/bytes_sent"] > 0 and newest["policy/lag_max"] >= 0


def test_a_listening_run_needs_a_token_and_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = experiment(tmp_path, total_steps=2000, text=TEXT)
    for options, rule in (
        (("--actors.count", 0), "--actors.listen: needs --actors.count"),
        (("--actors.sync-kl", 0.1), "--actors.sync-kl: is for actors elsewhere that act with"),
        (("--actors.listen", "here"), "--actors.listen: must be HOST:PORT, got 'here'"),
        (("--actors.token-file", tmp_path / "none"), "--actors.token-file: no such file"),
    ):
        output = gala("train", path, *options, code=2)
        assert rule in output and output.count("\n") == 1
    monkeypatch.delenv("GALA_TOKEN")
    assert "--actors.token-file: is needed, or GALA_TOKEN" in gala("train", path, code=2)
