"""What gala doctor says of a machine: of this one, and of what can be missing."""

from __future__ import annotations

import resource
from pathlib import Path
from types import SimpleNamespace

import pytest

from gala.doctor import machine
from gala.doctor.finding import Finding, examine
from gala.doctor.machine import (
    cpu_quota,
    disk,
    examine_machine,
    host_name,
    open_files,
    shared_memory,
    store,
    threads,
)


def test_this_machine_is_looked_at_all_over(tmp_path: Path) -> None:
    found = list(examine_machine(tmp_path))
    names = ["shared memory", "store", "host name", "open files", "threads", "disk"]
    assert [finding.name for finding in found] == names
    assert not [finding for finding in found if "cannot be checked" in finding.message]
    assert list(tmp_path.iterdir()) == [], "nothing is left"


def test_shared_memory_that_is_small_or_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = shared_memory(tmp_path / "none")
    assert found.state == "wrong" and "gloo" in found.advice
    usage = SimpleNamespace(free=64 * 2**20)
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda path: usage)
    found = shared_memory(tmp_path)
    assert found.state == "warning" and "64 MiB" in found.message and "--shm-size" in found.advice


def test_a_store_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch.distributed as dist

    def fail(*arguments: object, **options: object) -> None:
        raise RuntimeError("no route\nat frame 0")

    monkeypatch.setattr(dist, "TCPStore", fail)
    found = store()
    assert found.state == "wrong" and found.message == "localhost cannot be reached: no route"


@pytest.mark.parametrize("name", ["no-such-host.invalid", "", "a" * 300, "\udcff"])
def test_a_name_without_an_address(name: str) -> None:
    found = host_name(name)
    assert name == "" or (found.state == "warning" and "/etc/hosts" in found.advice)
    assert host_name("localhost").state == "ok"


@pytest.mark.parametrize(
    ("soft", "state"),
    [(16, "wrong"), (256, "warning"), (1024, "ok"), (resource.RLIM_INFINITY, "ok")],
)
def test_how_many_files_may_be_open(soft: int, state: str) -> None:
    found = open_files(soft, 10**6)
    assert found.state == state and (state == "ok" or found.advice == "ulimit -n 4096")


def test_more_threads_than_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(machine, "bound_cores", lambda: frozenset(range(8)))
    monkeypatch.setattr(machine, "CPU_QUOTA", tmp_path / "none")
    assert threads().state == "ok"
    quota = tmp_path / "cpu.max"
    quota.write_text("150000 100000\n")
    monkeypatch.setattr(machine, "CPU_QUOTA", quota)
    found = threads()
    assert found.state == "warning" and "may use 1.5" in found.message
    assert "OMP_NUM_THREADS=1" in found.advice
    for text, expected in (("max 100000\n", None), ("x", None), ("1 0", None)):
        quota.write_text(text)
        assert cpu_quota(quota) is expected


def test_a_disk_that_cannot_be_written_is_full_or_slow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert disk(tmp_path / "none").state == "wrong"
    clock = iter([0.0, 100.0, 0.0, 1.0, 0.0, 1.0])
    monkeypatch.setattr(machine.time, "perf_counter", lambda: next(clock))
    states = []
    for free in (10**6, 1000, 10):
        usage = SimpleNamespace(free=free * 2**20)
        monkeypatch.setattr(machine.shutil, "disk_usage", lambda path, u=usage: u)
        states.append(disk(tmp_path).state)
    assert states == ["warning", "warning", "wrong"]


def test_a_check_that_fails_is_a_finding() -> None:
    def fail() -> Finding:
        raise ValueError("of several\nlines")

    found = examine("thing", fail)
    assert (found.state, found.message) == ("wrong", "cannot be checked: of several lines")
