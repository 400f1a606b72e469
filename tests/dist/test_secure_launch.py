"""Agents that ask who belongs to the run, as a user starts them."""

from __future__ import annotations

import signal
import socket
import subprocess
from pathlib import Path

import pytest
from launching import experiment, finish, gala, interrupt, records, start, updates_done, wait_until

pytestmark = [pytest.mark.long, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def store() -> str:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return f"tcp://127.0.0.1:{probe.getsockname()[1]}"


def launch(folder: Path, rank: int, store: str, *more: object) -> subprocess.Popen[str]:
    return start(
        "launch", "--rank", rank, "--size", 2, "--store", store,
        experiment(folder, total_steps=10**9), "--run-dir", folder / "run", "--threads", 1,
        "--gossip.transport", "tcp", *more,
    )  # fmt: skip


def mixes(run: Path, rank: int) -> int:
    return max((each.get("gossip/mixes") or 0 for each in records(run, rank)), default=0)


def events(run: Path, rank: int, kind: str) -> list[str]:
    return [each["message"] for each in records(run, rank) if each.get("event") == kind]


@pytest.mark.parametrize("way", ["secret", "keys"])
def test_agents_with_the_secret_or_keys_of_the_run_mix(
    tmp_path: Path, store: str, way: str
) -> None:
    run = tmp_path / "run"
    if way == "secret":
        gala("keys", "secret", tmp_path / "secret")
        choice = ("--secret-file", tmp_path / "secret", "--listen", "0.0.0.0")
    else:
        gala("keys", "new", tmp_path / "keys", "--agents", 2)
        choice = ("--keys", tmp_path / "keys")
    agents = [launch(tmp_path, rank, store, *choice) for rank in range(2)]
    for rank, agent in enumerate(agents):
        wait_until(lambda rank=rank: mixes(run, rank) > 20, agent)
    assert not events(run, 0, "insecure") and not events(run, 1, "refused")
    for agent in reversed(agents):
        interrupt(agent, signal.SIGTERM)
        assert agent.returncode == 0


def test_a_stranger_trains_alone_and_is_counted(tmp_path: Path, store: str) -> None:
    """It has the store, and another secret: the plan is none to it."""
    run = tmp_path / "run"
    for name in ("ours", "theirs"):
        gala("keys", "secret", tmp_path / name)
    first = launch(tmp_path, 0, store, "--secret-file", tmp_path / "ours")
    wait_until(lambda: updates_done(run, 0) > 20, first)
    stranger = launch(tmp_path, 1, store)
    wait_until(lambda: updates_done(run, 0) > 100, first)
    stranger.send_signal(signal.SIGKILL)
    finish(stranger)
    output, _ = interrupt(first, signal.SIGTERM)
    assert first.returncode == 0, output
    assert mixes(run, 0) == 0 and updates_done(run, 1) == 0


def test_a_wide_open_door_is_refused_or_told(tmp_path: Path, store: str) -> None:
    """Without a secret beyond the own host: not unless somebody says so, then on each terminal."""
    refused = launch(tmp_path, 0, store, "--listen", "0.0.0.0")
    output = finish(refused)
    assert refused.returncode == 2 and "--secret-file FILE" in output and "Traceback" not in output
    agents = [
        launch(tmp_path / "open", rank, store, "--listen", "0.0.0.0", "--insecure")
        for rank in range(2)
        if (tmp_path / "open").mkdir(exist_ok=True) is None
    ]
    run = tmp_path / "open" / "run"
    for rank, agent in enumerate(agents):
        wait_until(lambda rank=rank: mixes(run, rank) > 20, agent)
    for rank, agent in reversed(list(enumerate(agents))):
        output, _ = interrupt(agent, signal.SIGTERM)
        assert agent.returncode == 0
        assert "insecure: messages between hosts are not encrypted" in output
        assert len(events(run, rank, "insecure")) == 1
