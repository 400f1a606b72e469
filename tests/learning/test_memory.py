"""Learning with a memory: whole environments in minibatches, and a task for nothing else."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from batches import filled
from gymnasium.spaces import Box, Discrete

from gala.config.sections import EnvConfig, LogConfig, NetworkConfig, ReplayConfig
from gala.errors import UserError
from gala.learning.learner import Learner
from gala.learning.ppo import PPO
from gala.learning.ppo_config import PPOConfig
from gala.learning.r2d2_config import R2D2Config
from gala.learning.table import ALGORITHMS
from gala.networks import build_network
from gala.networks.model import Model
from gala.parameters.flat import FlatParameters
from gala.run.config import Config
from gala.run.request import read_request

T, B = 5, 6


def test_minibatches_are_whole_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    config = NetworkConfig(memory="gru", memory_size=8, hidden=(8,))
    network = build_network(Box(-1, 1, (3,), np.float32), Discrete(4), config, seed=1)
    model = Model(network, FlatParameters(network), torch.float32)
    learner = Learner(PPO(PPOConfig(epochs=2, minibatches=3)), model, lr=1e-3)
    batch = filled(
        torch.zeros(T + 1, B, 3),
        torch.zeros(T, B, dtype=torch.int64),
        4,
        memory=network.initial(B),
        begin=torch.zeros(T + 1, B, dtype=torch.bool),
    )
    taken: list[Any] = []
    unroll = model.unroll
    monkeypatch.setattr(
        model, "unroll", lambda batch, rows: taken.append(rows.clone()) or unroll(batch, rows)
    )
    learner.update(batch)
    assert len(taken) == 6
    for rows in taken:
        steps, envs = rows.view(T, 2) // B, rows.view(T, 2) % B
        assert (steps == torch.arange(T)[:, None]).all() and (envs == envs[0]).all()
    for epoch in (taken[:3], taken[3:]):
        assert sorted(torch.cat(epoch).tolist()) == list(range(T * B))


def test_who_learns_without_a_memory_refuses_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert all(ALGORITHMS[name].memory for name in ("a2c", "ppo", "r2d2", "vmpo", "vtrace"))
    without = dataclasses.replace(ALGORITHMS["vtrace"], memory=False)
    monkeypatch.setitem(ALGORITHMS, "vtrace", without)  # type: ignore[arg-type]
    options = ["--algorithm", "vtrace", "--network.memory", "gru"]
    with pytest.raises(UserError, match="--network.memory: vtrace learns without a memory"):
        read_request(options, agents=1)
    read_request(options[:2], agents=1)


Train = Callable[..., Any]


def repeat(memory: str, **changes: Any) -> Config:
    """Name the number of two steps ago."""
    network = NetworkConfig(memory=memory, hidden=(32,), **changes)  # type: ignore[arg-type]
    return Config(
        env=EnvConfig(id="gala/RepeatPrevious-v0", num_envs=16, kwargs={"lag": 2}),
        network=network,
        algorithm="ppo",
        ppo=PPOConfig(n_step=32, minibatches=2, gamma=0.5, lr=4e-3),
        log=LogConfig(tensorboard=False),
        total_steps=50_000,
        seed=1,
    )


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("memory", ["lstm", "gru", "gtrxl"])
def test_what_was_seen_is_remembered(train_here: Train, memory: str) -> None:
    more = {"memory_length": 4} if memory == "gtrxl" else {}
    returns = train_here(repeat(memory, memory_size=32, **more)).source.returns
    assert sum(returns) / len(returns) > 0.5  # the best is 1


def repeat_by_values(memory: str) -> Config:
    """The same, of the number of a step ago, by values: chance is -0.5."""
    settings = R2D2Config(
        n_step=8, burn_in=8, sequences=32, updates=4, gamma=0.5, lr=3e-3, target_every=10,
        horizon=1, epsilon=0.1, optimizer_eps=1e-8,
    )  # fmt: skip
    return Config(
        env=EnvConfig(id="gala/RepeatPrevious-v0", num_envs=16, kwargs={"lag": 1}),
        network=NetworkConfig(memory=memory, memory_size=32, hidden=(32,)),  # type: ignore[arg-type]
        algorithm="r2d2",
        r2d2=settings,
        replay=ReplayConfig(capacity=10_000, warm_up=1_000),
        log=LogConfig(tensorboard=False),
        total_steps=20_000,
        seed=1,
    )


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize(("memory", "least", "most"), [("lstm", 0.5, 1), ("none", -1, -0.3)])
def test_replayed_sequences_teach_to_remember(
    train_here: Train, memory: str, least: float, most: float
) -> None:
    returns = train_here(repeat_by_values(memory)).source.returns
    assert least < sum(returns) / len(returns) < most


@pytest.mark.slow
@pytest.mark.long
def test_without_memory_there_is_nothing_to_learn(train_here: Train) -> None:
    returns = train_here(repeat("none")).source.returns
    assert sum(returns) / len(returns) < -0.4  # chance is -0.5, with a standard error of 0.013
