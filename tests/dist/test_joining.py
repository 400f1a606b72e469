"""The store is gone for good: agents join through one that lives, as a user starts them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest
from launching import experiment, finish, gala, interrupt, records, start, updates_done, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.process, pytest.mark.timeout(240)]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def launch(folder: Path, rank: int, port: int, *meet: object) -> subprocess.Popen[str]:
    return start(
        "launch", "--rank", rank, "--size", 3, *meet, experiment(folder, total_steps=10**9),
        "--run-dir", folder / "run", "--threads", 1, "--topology", "ring",
        "--gossip.transport", "tcp", "--listen", f"127.0.0.1:{port}",
        "--secret-file", folder / "secret",
    )  # fmt: skip


def mixes(run: Path, rank: int) -> int:
    return max((each.get("gossip/mixes") or 0 for each in records(run, rank)), default=0)


def test_who_comes_late_and_who_comes_back_join_through_another_agent(tmp_path: Path) -> None:
    run, ports = tmp_path / "run", [free_port() for _ in range(3)]
    gala("keys", "secret", tmp_path / "secret")
    store = ("--store", f"tcp://127.0.0.1:{free_port()}")
    through = ("--join", f"127.0.0.1:{ports[0]},127.0.0.1:{ports[1]}")
    first, second = (launch(tmp_path, rank, ports[rank], *store) for rank in range(2))
    wait_until(lambda: mixes(run, 1) > 20, second)
    os.killpg(first.pid, signal.SIGKILL)  # and the store, which it served
    finish(first)
    told = f"gala launch --join 127.0.0.1:{ports[1]}"
    wait_until(lambda: any(told in each.get("message", "") for each in records(run, 1)), second)
    third = launch(tmp_path, 2, ports[2], *through)
    wait_until(lambda: mixes(run, 2) > 20, third)
    before = updates_done(run, 0)
    back = launch(tmp_path, 0, ports[0], *through)
    wait_until(lambda: updates_done(run, 0) > before + 20, back)
    deaf = mixes(run, 2)
    wait_until(lambda: mixes(run, 2) > deaf + 20, third)
    for rank, agent in ((0, back), (2, third), (1, second)):
        output, _ = interrupt(agent, signal.SIGTERM)
        assert agent.returncode == 0, f"agent {rank}: {output}"
    lives = {each["incarnation"] for each in records(run, 0) if "incarnation" in each}
    assert max(lives, default=0) >= 1, "it would not be heard by those who heard it before"


def test_mistakes_are_one_line(tmp_path: Path) -> None:
    gala("keys", "secret", tmp_path / "secret")
    at = f"127.0.0.1:{free_port()}"
    for meet, says in (
        (("--join", "nowhere"), "'nowhere' is no address of an agent"),
        (("--join", at), f"{at}: Connection refused"),
        (("--join", at, "--store", "file:///tmp/x"), "not allowed with argument"),
        ((), "one of the arguments --store --join is required"),
    ):
        agent = launch(tmp_path, 1, free_port(), *meet)
        output = finish(agent)
        assert agent.returncode == 2 and says in output, output
        assert "Traceback" not in output
