"""Who am I: torchrun's environment, read."""

import threading

import pytest
import torch.distributed as dist

from gala.launch import Launch, available_cores, from_environment, rank_from_environment
from gala.launch_environment import worker_environment


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
    heard = []
    waiting = threading.Thread(target=lambda: heard.append(launches[1].share("plan")))
    waiting.start()
    assert launches[0].share("plan", {"run_dir": "runs/a"}) == {"run_dir": "runs/a"}
    waiting.join(30)
    assert heard == [{"run_dir": "runs/a"}]


def test_workers_get_what_their_libraries_read_at_load() -> None:
    environment = worker_environment(2, {"PATH": "x"})
    assert environment["OMP_NUM_THREADS"] == str(max(1, available_cores() // 2))
    assert environment["OMP_WAIT_POLICY"] == "PASSIVE" and environment["PATH"] == "x"
    assert 0 < int(environment["GOMP_SPINCOUNT"]) < 100_000
    assert int(environment["MALLOC_TRIM_THRESHOLD_"]) > 2**20


def test_what_the_user_set_stays() -> None:
    chosen = {"OMP_NUM_THREADS": "7", "OMP_WAIT_POLICY": "ACTIVE"}
    environment = worker_environment(2, chosen)
    assert environment.items() >= chosen.items()
    assert "GOMP_SPINCOUNT" not in environment, "it would overrule the policy"
    assert worker_environment(2, {"GOMP_SPINCOUNT": "1"})["GOMP_SPINCOUNT"] == "1"
