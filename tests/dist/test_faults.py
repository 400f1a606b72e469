"""Agents that are killed, stopped, slowed and cut off, under real torchrun."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from launching import (
    DEADLINE_S,
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

from gala.gossip.shared_memory import folder_of
from gala.launch.processes import children

pytestmark = [pytest.mark.timeout(300), pytest.mark.slow]

FOR_EVER = 10**9
STEPS = 9000


@contextmanager
def running(tmp_path: Path, *arguments: object) -> Iterator[tuple[Path, subprocess.Popen[str]]]:
    """A run of three agents that all train; it is ended with Ctrl-C and must end well."""
    run = tmp_path / "run"
    process = start(
        "train", experiment(tmp_path, total_steps=FOR_EVER), "--agents", 3, "--run-dir", run,
        *arguments,
    )  # fmt: skip
    try:
        wait_until(lambda: all(updates_done(run, rank) > 20 for rank in range(3)), process)
        yield run, process
        output, _ = interrupt(process)
        assert process.returncode == 0 and "stopped" in output and "Traceback" not in output
        assert not folder_of(run_id(run)).exists(), "nothing is left in shared memory"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        if process.stdout and not process.stdout.closed:
            process.communicate()  # reaped here, not while a later test runs


def run_id(run: Path) -> str:
    return str(json.loads((run / "meta.json").read_text())["run_id"])


def pid_of(run: Path, rank: int) -> int:
    return int(json.loads((run / f"rank_{rank:02d}" / "agent.json").read_text())["pid"])


def newest(run: Path, rank: int) -> dict[str, Any]:
    return [record for record in records(run, rank) if "event" not in record][-1]


def events(run: Path, rank: int, kind: str) -> list[str]:
    return [r["message"] for r in records(run, rank) if r.get("event") == kind]


def returns(run: Path, rank: int) -> list[str]:
    """What incarnation 1 of an agent said of its coming back; not what it said of neighbours."""
    return [text for text in events(run, rank, "alive") if text.startswith("incarnation 1 ")]


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, pytest.param(signal.SIGSEGV, marks=pytest.mark.long)]
)
def test_every_agent_may_die_and_comes_back(tmp_path: Path, number: signal.Signals) -> None:
    with running(tmp_path) as (run, process):
        for victim in range(3):
            before = {rank: updates_done(run, rank) for rank in range(3)}
            steps = newest(run, victim)["step"]
            os.kill(pid_of(run, victim), number)
            wait_until(lambda v=victim: newest(run, v)["incarnation"] == 1, process)
            back = newest(run, victim)
            assert back["update"] >= before[victim], "it goes on where its neighbour is"
            assert back["step"] >= steps, "what it had done stays done"
            wait_until(
                lambda v=victim, b=back: (
                    newest(run, v)["gossip/mixes"] > 5 and updates_done(run, v) > b["update"] + 20
                ),
                process,
            )
            (told,) = returns(run, victim)
            assert f"incarnation 1 after {number.name}, goes on with parameters of agent" in told
            out_neighbour = (victim + 1) % 3  # of a directed ring
            wait_until(
                lambda v=victim, o=out_neighbour: f"agent {v} is back" in events(run, o, "alive"),
                process,
            )
            wait_until(
                lambda b=before: all(updates_done(run, rank) > b[rank] for rank in range(3)),
                process,
            )
    assert len({newest_state(run, rank)["layout_hash"] for rank in range(3)}) == 1


def test_a_stopped_agent_stops_nobody(tmp_path: Path) -> None:
    patient = ("--supervisor.acting-s", 10 * DEADLINE_S)
    with running(tmp_path, *patient) as (run, process):
        frozen = pid_of(run, 1)
        os.kill(frozen, signal.SIGSTOP)
        try:
            before = {rank: updates_done(run, rank) for rank in (0, 2)}
            wait_until(lambda: all(updates_done(run, r) > before[r] + 300 for r in before), process)
            wait_until(lambda: bool(events(run, 2, "suspect")), process)
            wait_until(lambda: newest(run, 2)["gossip/in/1/state"] == 2, process)
        finally:
            os.kill(frozen, signal.SIGCONT)
        wait_until(lambda: "agent 1 is back" in events(run, 2, "alive"), process)
        assert newest(run, 1)["incarnation"] == 0


def test_nothing_is_left_when_torchrun_is_killed(tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = start(
        "train", experiment(tmp_path, total_steps=FOR_EVER), "--agents", 2, "--run-dir", run
    )
    wait_until(lambda: all(updates_done(run, rank) > 20 for rank in range(2)), process)
    (torchrun,) = children(process.pid)
    agents = [pid_of(run, rank) for rank in range(2)]
    os.kill(torchrun, signal.SIGKILL)
    assert finish(process) is not None and process.returncode != 0
    for pid in agents:
        wait_for_end(pid)
    assert not folder_of(run_id(run)).exists()
    assert all(events(run, rank, "stop") for rank in range(2)), "they saved what they had"


def wait_for_end(pid: int) -> None:
    sleeper = subprocess.Popen(["tail", f"--pid={pid}", "-f", "/dev/null"])
    try:
        sleeper.wait(timeout=60)
    finally:
        sleeper.kill()


def test_without_supervisor_torchrun_has_its_way(tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = start(
        "train", experiment(tmp_path, total_steps=FOR_EVER), "--agents", 2, "--run-dir", run,
        "--no-supervisor",
    )  # fmt: skip
    wait_until(lambda: all(updates_done(run, rank) > 20 for rank in range(2)), process)
    os.kill(pid_of(run, 1), signal.SIGKILL)
    finish(process)
    assert process.returncode != 0
    assert newest(run, 1)["incarnation"] == 0


@pytest.mark.long
@pytest.mark.parametrize(
    "faults",
    [
        ("--faults.drop", 0.3, "--faults.duplicate", 0.2, "--faults.reorder", 0.2),
        ("--faults.corrupt", 0.2, "--faults.delay-ms", 20, "--faults.agents", 1),
        ("--faults.freeze-s", 0.3, "--faults.freeze-every-s", 1.0, "--faults.agents", "[0, 2]"),
        ("--faults.slowdown", 5, "--faults.agents", 1),
        ("--gossip.wire-format", "bfloat16", "--gossip.staleness-policy", "skip",
         "--gossip.max-staleness", 3),
        ("--gossip.wire-format", "int8"),
    ],
)  # fmt: skip
def test_training_goes_on_whatever_the_network_does(tmp_path: Path, faults: tuple[object]) -> None:
    run = tmp_path / "run"
    output = gala(
        "train", experiment(tmp_path, total_steps=STEPS), "--agents", 3, "--run-dir", run, *faults
    )
    assert "finished" in output and "Traceback" not in output
    last = [newest(run, rank) for rank in range(3)]
    assert sum(record["step"] for record in last) >= STEPS
    assert all(record["gossip/mixes"] > 0 for record in last)
    if "--faults.corrupt" in faults:
        assert last[2]["gossip/refused/checksum"] > 0 and last[0]["gossip/messages_refused"] == 0
    for rank in range(3):
        assert bool(torch.isfinite(newest_state(run, rank)["params"]).all())


def test_push_sum_trains(tmp_path: Path) -> None:
    graph = tmp_path / "graph.yaml"
    graph.write_text(
        "version: 1\nname: mine\nfamily: {kind: ring, directed: true}\nweights: push-sum\n"
    )
    run = tmp_path / "run"
    output = gala(
        "train", experiment(tmp_path, total_steps=STEPS), "--agents", 3, "--run-dir", run,
        "--topology", graph,
    )  # fmt: skip
    assert "no bound" in output
    last = [newest(run, rank) for rank in range(3)]
    assert all(record["gossip/mixes"] > 0 for record in last)
    vectors = torch.stack([newest_state(run, rank)["params"] for rank in range(3)])
    assert float((vectors - vectors.mean(0)).norm() / vectors.mean(0).norm()) < 0.2


@pytest.mark.long
def test_all_transports_give_the_same_bits(tmp_path: Path) -> None:
    states = []
    for transport in ("gloo", "tcp", "shared-memory"):
        folder = tmp_path / transport
        folder.mkdir()
        gala(
            "train", experiment(folder, total_steps=STEPS), "--agents", 3,
            "--run-dir", folder / "run", "--gossip.transport", transport,
            "--gossip.max-staleness", 0,
        )  # fmt: skip
        states.append([newest_state(folder / "run", rank)["params"] for rank in range(3)])
    for over_gloo, over_tcp, in_memory in zip(*states, strict=True):
        assert torch.equal(over_gloo, in_memory) and torch.equal(over_tcp, in_memory)


def test_agents_that_are_threads(tmp_path: Path) -> None:
    """Two processes of two agents: memory inside, shared memory between."""
    run = tmp_path / "run"
    arguments = ("train", experiment(tmp_path, total_steps=STEPS), "--agents", 4, "--run-dir", run)
    output = gala(*arguments, "--agents-per-process", 2, "--gossip.max-staleness", 0)
    assert "4 x 4 environments" in output
    assert len({pid_of(run, rank) for rank in range(4)}) == 2
    plain = tmp_path / "plain"
    gala(*arguments[:-1], plain, "--gossip.max-staleness", 0)
    for rank in range(4):
        one, other = (newest_state(path, rank)["params"] for path in (run, plain))
        assert torch.equal(one, other)


def launch(tmp_path: Path, rank: int, store: str, *more: object) -> subprocess.Popen[str]:
    return start(
        "launch", "--rank", rank, "--size", 3, "--store", store,
        experiment(tmp_path, total_steps=FOR_EVER), "--run-dir", tmp_path / "run", "--threads", 1,
        "--topology", "ring",
        *more,
    )  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize("transport", ["auto", "gloo", "tcp"])
def test_agents_with_lives_of_their_own(tmp_path: Path, transport: str) -> None:
    """One starts, one joins late, one slot stays empty; one leaves for good and one comes back."""
    run, store = tmp_path / "run", f"file://{tmp_path}/store"
    choice = ("--gossip.transport", transport)
    if transport == "tcp":  # a file may be shared by hosts, the network is not asked for here
        choice += ("--listen", "127.0.0.1")
    first = launch(tmp_path, 0, store, *choice)
    wait_until(lambda: updates_done(run, 0) > 50, first)
    second = launch(tmp_path, 1, store, *choice)
    wait_until(lambda: updates_done(run, 1) > 50, second)
    assert "goes on with parameters of agent 0" in events(run, 1, "join")[0]
    assert updates_done(run, 1) > 50
    _, _ = interrupt(first, signal.SIGTERM)
    assert first.returncode == 0
    wait_until(lambda: any("has left" in each for each in events(run, 1, "leave")), second)
    before = updates_done(run, 1)
    wait_until(lambda: updates_done(run, 1) > before + 50, second)
    again = launch(tmp_path, 0, store, *choice)
    wait_until(lambda: newest(run, 0)["incarnation"] == 1, again)
    assert "incarnation 1 after a launch before" in returns(run, 0)[0]
    wait_until(lambda: newest(run, 0)["gossip/mixes"] > 5, again)
    for process in (second, again):
        interrupt(process, signal.SIGTERM)
        assert process.returncode == 0


@pytest.mark.long
def test_a_lost_store_only_stops_joining_until_it_is_back(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    run, store = tmp_path / "run", f"tcp://127.0.0.1:{port}"
    first, second = (launch(tmp_path, rank, store) for rank in (0, 1))
    wait_until(lambda: min(updates_done(run, rank) for rank in (0, 1)) > 50, first)
    (server,) = (
        pid for pid in children(first.pid)
        if b"store_at" in Path(f"/proc/{pid}/cmdline").read_bytes()
    )  # fmt: skip
    os.kill(server, signal.SIGKILL)
    before = [updates_done(run, rank) for rank in (0, 1)]
    wait_until(lambda: all(updates_done(run, rank) > before[rank] + 100 for rank in (0, 1)), first)
    os.kill(pid_of(run, 1), signal.SIGKILL)
    wait_until(lambda: newest(run, 1)["incarnation"] == 1, second)
    assert "goes on with parameters of agent 0" in returns(run, 1)[0]
    for process in (second, first):
        interrupt(process, signal.SIGTERM)
        assert process.returncode == 0
