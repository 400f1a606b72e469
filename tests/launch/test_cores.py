"""Cores: of the process, of its container, of its Slurm task, and shared with whom is beside it."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from gala.launch import cores, launch
from gala.launch.cores import available_cores, cpu_quota
from gala.launch.launch import Launch, from_environment


@pytest.fixture(autouse=True)
def eight(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (cores, launch):
        monkeypatch.setattr(module, "bound_cores", lambda: frozenset(range(8)))
    monkeypatch.delenv(cores.SLURM_VARIABLE, raising=False)


@pytest.mark.parametrize(
    ("environment", "quota", "count"),
    [
        ({}, "max 100000\n", 8),
        ({}, "250000 100000\n", 2),
        ({}, "50000 100000\n", 1),
        ({"SLURM_CPUS_PER_TASK": "3"}, "max 100000\n", 3),
        ({"SLURM_CPUS_PER_TASK": "16"}, "max 100000\n", 8),
        ({"SLURM_CPUS_PER_TASK": "all"}, "", 8),
        ({"SLURM_CPUS_PER_TASK": "0"}, "", 8),
    ],
)
def test_the_smallest_limit_holds(
    environment: Mapping[str, str], quota: str, count: int, tmp_path: Path
) -> None:
    (tmp_path / "cpu.max").write_text(quota)
    assert available_cores(environment, tmp_path / "cpu.max") == count


def test_no_quota_is_none(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path / "none") is None


def test_agents_started_one_by_one_count_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cores, "CPU_QUOTA", tmp_path / "none")
    monkeypatch.setenv("GALA_STORE", f"file://{tmp_path}/store")
    common = {"WORLD_SIZE": "3", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1", "RANK": "0"}
    for name, value in common.items():
        monkeypatch.setenv(name, value)
    elsewhere = json.dumps({"host": "another", "cores": list(range(8))})
    here = json.dumps({"host": launch.host_identity(), "cores": [6, 7, 8, 9]})
    store = launch.open_rendezvous(0)

    def others() -> None:
        store.set("company/1", here)
        store.set("company/2", elsewhere)

    late = threading.Timer(0.3, others)
    late.start()
    found = from_environment()
    late.join()
    assert (found.sharing, found.threads) == (2, 4)
    assert found.local_agents == 1


def test_a_task_of_slurm_has_its_cores_to_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "4")
    monkeypatch.setenv("GALA_STORE", f"file://{tmp_path}/store")
    for name, value in {"WORLD_SIZE": "9", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("RANK", "3")
    assert from_environment().threads == 4
    assert Launch(local_agents=2).threads == 2
