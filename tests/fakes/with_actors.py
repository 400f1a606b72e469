"""Actors of an agent that does not learn, as real processes."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from gala.actors.building import ActorSetting, actor_seed, build_source
from gala.config.sections import ActorsConfig, EnvConfig, NetworkConfig, SupervisorConfig
from gala.device.streams import Direct
from gala.envs import make_vector_env
from gala.experience import Collector
from gala.experience.unroll_queue import UnrollQueue
from gala.launch.processes import children
from gala.learning.table import values_of
from gala.networks.build import network_of
from gala.networks.memory import Recall
from gala.networks.model import Model
from gala.parameters.flat import FlatParameters
from gala.run.config import Config

DEADLINE_S = 100.0


class WithActors:
    """Actors of an agent that does not learn."""

    def __init__(
        self,
        actors: int,
        *,
        env: str = "CartPole-v1",
        acting_s: float = 60.0,
        memory: Literal["none", "gru"] = "none",
        envs: int = 2,
        more: dict[str, Any] | None = None,
        epsilon: tuple[float, ...] | None = None,
        **options: Any,
    ) -> None:
        self.config = config = Config(
            algorithm="vtrace" if epsilon is None else "r2d2",
            env=EnvConfig(id=env, num_envs=envs * actors, **(more or {})),
            actors=ActorsConfig(count=actors, **options),
            network=NetworkConfig(memory=memory),
            supervisor=SupervisorConfig(acting_s=acting_s),
        )
        shown = make_vector_env(dataclasses.replace(config.env, num_envs=1), seed=0)
        self.epsilon, values = epsilon, values_of(config.algorithm)
        spaces = shown.observation_space, shown.action_space
        network = network_of(config, *spaces, values=values)
        self.flat = FlatParameters(network)
        self.model = Model(network, self.flat, torch.float32)
        setting = ActorSetting(
            config=config, rank=3, incarnation=0, run_id="0123456789abcdef", env_seed=5,
            action_seed=6, values=values, epsilon=epsilon,
        )  # fmt: skip
        before = set(children(os.getpid()))
        self.source: UnrollQueue = build_source(setting, shown, self.model, Direct())
        self.before = before

    @property
    def processes(self) -> list[int]:
        """Of the actors that live, the oldest first."""
        return sorted(set(children(os.getpid())) - self.before)

    def until(self, happened: Callable[[str], bool]) -> str:
        """Take batches until an event has happened; returns it."""
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            self.source.next()
            for kind, text in self.source.events():
                assert kind == "actor"
                if happened(text):
                    return text
        raise AssertionError("it has not happened")

    def collector(self) -> Collector:
        """What the first actor does, in this thread."""
        remembers = self.model.module.memory

        def act(
            obs: Tensor,
            rows: slice | None = None,
            mask: Tensor | None = None,
            recall: Recall | None = None,
        ) -> tuple[Tensor, Tensor]:
            return self.model.act(obs, rows, mask, recall)

        return Collector(
            [make_vector_env(self.config.env, seed=actor_seed(5, 0, 0) % 2**31)],
            act,
            self.model.module.head,
            n_step=self.config.learning.n_step,
            gamma=self.config.learning.gamma,
            reward_clip=self.config.env.reward_clip,
            generator=torch.Generator().manual_seed(actor_seed(6, 0, 0)),
            memory=None if remembers is None else remembers.shape,
            epsilon=self.epsilon,
        )


def assert_alike(theirs: Any, ours: Any, *, version: int) -> None:
    """Two batches are the same, numbers of the network but for rounding."""
    assert set(theirs.version.ravel().tolist()) == {version}
    for name in ("obs", "action", "reward", "discount", "cut", "valid", "final", "mask", "begin"):
        mine, other = getattr(ours, name), getattr(theirs, name)
        assert (mine is None) == (other is None), name
        assert mine is None or torch.equal(mine, other), name
    for name in ("dist", "value", "next_value", *["memory"] * (ours.memory is not None)):
        torch.testing.assert_close(getattr(theirs, name), getattr(ours, name))


def alive(pid: int) -> bool:
    """Whether a process is there and has not ended."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            return b") Z" not in stat.read()
    except OSError:
        return False


def own_megabytes(pid: int) -> float:
    """What a process does not share with others."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    found = {line.split()[0]: line.split()[1] for line in lines[1:]}
    return (int(found["Private_Clean:"]) + int(found["Private_Dirty:"])) / 1024
