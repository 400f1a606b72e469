"""Which device an agent gets; how environments in processes and a late start fit in."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from gala.agent import training
from gala.agent.training import choose_device, make_learner, require_streams
from gala.config.sections import EnvConfig, NetworkConfig
from gala.errors import UserError
from gala.launch.launch import Launch
from gala.learning.a2c_config import A2CConfig
from gala.run.config import Config
from gala.run.folder import RunFolder
from gala.run.request import Request, read_request
from gala.telemetry.writer import MetricsWriter


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.mark.parametrize("threads", [1, 3, 4])
def test_processes_are_dealt_out_over_devices(two_gpus: None, threads: int) -> None:
    """However many agents each of them holds."""
    found = [
        choose_device(
            "auto",
            Launch(
                rank=first,
                agents=4 * threads,
                local_rank=first,
                local_agents=4 * threads,
                local_group=tuple(range(first, first + threads)),
            ),
        )
        for first in range(0, 4 * threads, threads)
    ]
    assert found == [torch.device("cuda", k) for k in (0, 1, 0, 1)]


def test_a_device_has_the_name_that_its_tensors_give_it(two_gpus: None) -> None:
    assert choose_device("cuda", Launch()) == torch.device("cuda", 0)
    assert choose_device("cuda:1", Launch()) == torch.device("cuda", 1)
    with pytest.raises(UserError, match="this host has 2 CUDA devices"):
        choose_device("cuda:2", Launch())


def test_without_a_gpu_it_is_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto", Launch()) == torch.device("cpu") == choose_device("cpu", Launch())


CARTPOLE = Config(
    total_steps=600,
    env=EnvConfig(id="CartPole-v1", num_envs=3),
    a2c=A2CConfig(n_step=5, lr=0.01, lr_schedule="linear"),
)


@pytest.mark.timeout(120)
def test_environments_in_processes_are_learned_from(train_here: Callable[..., Any]) -> None:
    env = EnvConfig(id="CartPole-v1", num_envs=3, workers="async")
    config = Config(**{**vars(CARTPOLE), "env": env})
    first, again = (train_here(config, name) for name in ("first", "again"))
    assert first.update == 40 and first.source.episodes > 3
    assert torch.equal(first.model.flat.data, again.model.flat.data)
    # all columns of both vectors were played: 5 steps in 3 environments, no two alike
    assert len(first.source.recent().unique(dim=0)) == 15


def test_the_first_rate_is_that_of_the_time_which_others_know(
    train_here: Callable[..., Any],
) -> None:
    def all_is_done(run: RunFolder) -> None:
        writer = MetricsWriter(run.metrics(1), rank=1)
        writer.record({}, update=40, step=CARTPOLE.total_steps)
        writer.close()

    agent = train_here(CARTPOLE, before=all_is_done)
    assert agent.update == 0 and agent.learner.optimizer.lr == 0.0


def test_environments_that_no_network_fits_are_closed() -> None:
    env = EnvConfig(id="CartPole-v1", num_envs=3, workers="async")
    config = Config(env=env, network=NetworkConfig(background=87))
    with pytest.raises(UserError, match="background") as refusal:
        make_learner(config, Launch(), threads=1)
    assert not multiprocessing.active_children(), f"while {refusal!r} holds the environments"


def test_what_fails_to_close_keeps_nothing_else_open(
    train_here: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise OSError("the neighbour is gone")

    agent, closed = train_here(CARTPOLE), []
    monkeypatch.setattr(agent.coupling, "close", fail)
    monkeypatch.setattr(agent.source, "close", lambda: closed.append("environments"))
    monkeypatch.setattr(agent.recorder, "close", lambda: closed.append("files"))
    with pytest.raises(OSError, match="neighbour"):
        agent.close()
    assert closed == ["environments", "files"]


@pytest.mark.parametrize(("agents", "on_device"), [(32, True), (16, False)])
def test_agents_of_a_process_do_not_share_streams(agents: int, on_device: bool) -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda", 0)
    place = gpu if on_device else cpu
    require_streams(agents, gpu, place)
    with pytest.raises(UserError, match=rf"--agents-per-process: {agents + 1} agents.*{agents}"):
        require_streams(agents + 1, gpu, place)
    require_streams(1000, cpu, cpu)


# -- before there is a plan


class Environments:
    frames_per_step = 4

    def __init__(self, log: list[str]) -> None:
        self._log = log

    def close(self) -> None:
        self._log.append("closed")


@pytest.fixture
def second(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[Request, list[str]]:
    """What the second of two agents does before it has a plan: a request, and a log."""
    log: list[str] = []

    def find_plan(launch: Launch, run_dir: Path | None) -> None:
        log.append("waits for the plan")
        raise SystemExit(2)

    def make_learner(*_: object) -> tuple[list[Environments], torch.nn.Module]:
        log.append("makes environments")
        network = torch.nn.Linear(1, 1)
        network.hold = lambda duals: None
        return [Environments(log)], network

    place = Launch(rank=1, agents=2, local_rank=1, local_agents=2, local_group=(1,))
    monkeypatch.setattr(training, "from_environment", lambda *_: place)
    monkeypatch.setattr(training, "StopRequest", lambda: SimpleNamespace(install=lambda: None))
    monkeypatch.setattr(training, "find_plan", find_plan)
    monkeypatch.setattr(training, "make_learner", make_learner)
    return read_request(["cartpole", "--run-dir", str(tmp_path / "run")], agents=2), log


def test_environments_are_made_while_the_first_agent_makes_its_own(
    second: tuple[Request, list[str]],
) -> None:
    request, log = second
    with pytest.raises(SystemExit):
        training.train(request)
    assert log == ["makes environments", "waits for the plan", "closed"]


def test_a_mistake_that_the_first_agent_has_told_is_not_told_again(
    second: tuple[Request, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    request, log = second

    def refuse(*_: object) -> None:
        raise UserError("no such game")

    monkeypatch.setattr(training, "make_learner", refuse)
    with pytest.raises(SystemExit):
        training.train(request)
    assert log == ["waits for the plan"]
    monkeypatch.setattr(training, "find_plan", lambda *_: {"run_dir": "x"})
    with pytest.raises(UserError, match="no such game"):
        training.train(request)
