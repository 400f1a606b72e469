"""Who am I: torchrun's environment, read."""

import ctypes
import json
import os
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path

import pytest
import torch.distributed as dist

from gala.agent.plan import last_incarnation
from gala.errors import UserError
from gala.launch import launch
from gala.launch.cores import available_cores
from gala.launch.environment import MALLOC_VARIABLES, worker_environment
from gala.launch.launch import Launch, from_environment, rank_from_environment
from gala.launch.rendezvous import Rendezvous


def test_without_torchrun_there_is_one_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert rank_from_environment() == (0, 1)
    launch = from_environment()
    assert launch.leads and launch.share("x", {"a": 1}) == {"a": 1}
    assert launch.threads == available_cores()


def test_cores_are_shared_among_the_agents_of_a_host() -> None:
    assert Launch(agents=999, local_agents=999).threads == 1
    assert Launch(agents=4, local_agents=1).threads == available_cores()


def test_rank_zero_tells_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    master = dist.TCPStore("127.0.0.1", 0, None, True)
    environment = {
        "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(master.port), "TORCHELASTIC_USE_AGENT_STORE": "True",
        "TORCHELASTIC_RESTART_COUNT": "0",
    }  # fmt: skip
    launches = []
    for rank in ("0", "1"):
        for name, value in (environment | {"RANK": rank, "LOCAL_RANK": rank}).items():
            monkeypatch.setenv(name, value)
        launches.append(from_environment())
    assert [each.rank for each in launches] == [0, 1] and not launches[1].leads
    received = []
    waiting = threading.Thread(target=lambda: received.append(launches[1].share("plan")))
    waiting.start()
    assert launches[0].share("plan", {"run_dir": "runs/a"}) == {"run_dir": "runs/a"}
    waiting.join(30)
    assert received == [{"run_dir": "runs/a"}]


class Counting(Rendezvous):
    """Keys that were waited for, and keys that were read."""

    def __init__(self, client: dist.Store) -> None:
        super().__init__(client, lambda: client)
        self.waited: list[str] = []
        self.read: list[str] = []

    def wait(self, keys: list[str], timeout: timedelta, by: int | None = None) -> None:
        self.waited += keys
        super().wait(keys, timeout, by)

    def get(self, key: str, by: int | None = None) -> bytes:
        self.read.append(key)
        return super().get(key, by)


def test_what_all_agents_say_is_waited_for_and_read_once() -> None:
    store = dist.HashStore()
    for rank in (0, 2):
        Launch(rank=rank, agents=3, rendezvous=Rendezvous(store, lambda: store)).put("x", [rank])
    counting = Counting(store)
    assert Launch(rank=1, agents=3, rendezvous=counting).gather("x", [1]) == {
        0: [0], 1: [1], 2: [2],
    }  # fmt: skip
    assert counting.waited == counting.read == ["gala/x/0", "gala/x/1", "gala/x/2"]


def test_who_does_not_come_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "START_TIMEOUT", timedelta(milliseconds=50))
    store = dist.HashStore()
    alone = Launch(rank=1, agents=3, rendezvous=Rendezvous(store, lambda: store))
    with pytest.raises(UserError, match="ranks 0, 2 did not come this far"):
        alone.gather("x", 1)
    for ask in (alone.share, lambda name: alone.share_bytes(name, b"1234")):
        with pytest.raises(UserError, match=r"^rank 0 did not come this far within 0 s$"):
            ask("plan")


def test_one_that_was_started_by_itself_says_whom_it_waits_for(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GALA_STORE", "file:///tmp/anything")
    monkeypatch.setattr(launch, "SOON_S", 0.05)
    store = dist.HashStore()
    agents = [Launch(rank=r, agents=2, rendezvous=Rendezvous(store, lambda: store)) for r in (0, 1)]
    received: list[object] = []
    waiting = threading.Thread(target=lambda: received.append(agents[1].share("plan")))
    waiting.start()
    said = ""
    while not said.endswith("\n"):  # which comes by itself
        said += capfd.readouterr().err
    agents[0].share("plan", 7)
    waiting.join(30)
    assert said == "gala: waiting for rank 0, at most 120 s\n" and received == [7]


def test_workers_get_what_their_libraries_read_at_load() -> None:
    environment = worker_environment(2, {"PATH": "x"})
    assert environment["OMP_NUM_THREADS"] == str(max(1, available_cores() // 2))
    assert environment["OMP_WAIT_POLICY"] == "PASSIVE" and environment["PATH"] == "x"
    assert 0 < int(environment["GOMP_SPINCOUNT"]) < 100_000


def test_what_the_user_set_stays() -> None:
    chosen = {"OMP_NUM_THREADS": "7", "OMP_WAIT_POLICY": "ACTIVE"}
    environment = worker_environment(2, chosen)
    assert environment.items() >= chosen.items()
    assert "GOMP_SPINCOUNT" not in environment, "it would overrule the policy"
    assert worker_environment(2, {"GOMP_SPINCOUNT": "1"})["GOMP_SPINCOUNT"] == "1"


FAULTS = """
import os, resource
from gala.launch.environment import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        b"x" * (24 * 2**20 + 1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

first = faults()
print(keep_freed_memory(os.environ), first, faults())
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library is not glibc")
def test_freed_memory_is_kept_unless_somebody_has_chosen() -> None:
    def run(**chosen: str) -> tuple[bool, int, int]:
        environment = {k: v for k, v in os.environ.items() if k not in MALLOC_VARIABLES} | chosen
        command = [sys.executable, "-c", FAULTS]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        kept, before, after = done.stdout.split()
        return kept == "True", int(before), int(after)

    kept, before, after = run()
    assert kept and after < before / 5, (before, after)
    kept, before, after = run(MALLOC_MMAP_THRESHOLD_="131072")
    assert not kept and after > before / 2, (before, after)


def test_a_crowd_of_one_has_incarnations_like_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1",
        "GALA_STORE": f"file://{tmp_path}/store",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    first = from_environment().register()
    assert first.share("plan", {"run_dir": "a"}) == {"run_dir": "a"}
    second = from_environment().register()
    assert (first.incarnation, second.incarnation) == (0, 1)
    assert second.shared("plan") == {"run_dir": "a"}


def test_a_store_that_forgot_makes_nobody_younger(tmp_path: Path) -> None:
    store = dist.HashStore()
    rendezvous = Rendezvous(store, lambda: store)
    launch = Launch(rank=1, agents=2, local_group=(1,), rendezvous=rendezvous).register()
    assert launch.incarnation == 0 and launch.after(-1) is launch
    again = launch.after(4)
    assert again.incarnation == 5 and again.after(2) is again
    rendezvous.repair()
    assert launch.register().incarnation == 6


def test_the_run_folder_knows_the_last_incarnation(tmp_path: Path) -> None:
    plan = {"run_dir": str(tmp_path), "run_id": "ab" * 8}
    assert last_incarnation(plan, (0, 1)) == -1
    for rank, facts in enumerate([{"run_id": "ab" * 8, "incarnation": 3}, {"incarnation": 9}]):
        (tmp_path / f"rank_{rank:02d}").mkdir()
        (tmp_path / f"rank_{rank:02d}" / "agent.json").write_text(json.dumps(facts))
    assert last_incarnation(plan, (0, 1)) == 3, "those of another launch do not count"
    for odd in ('{"run_id": "abababababababab", "incarnation": "x"}', "[1]", "", "{" * 9999):
        (tmp_path / "rank_00" / "agent.json").write_text(odd)
        assert last_incarnation(plan, (0,)) == -1


@pytest.mark.parametrize("address", ["tcp://no-such-host.invalid:29400", "tcp://127.0.0.1:1"])
def test_a_store_that_is_waited_for_is_named_at_once_and_not_for_ever(
    address: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GALA_STORE", address)
    monkeypatch.setattr(launch, "START_TIMEOUT", timedelta(seconds=1.5))
    with pytest.raises(UserError, match=f"^--store: cannot reach the store {address}: "):
        launch.open_rendezvous(1)
    assert f"gala: waiting for the store at {address}, at most 2 s (" in capfd.readouterr().err
