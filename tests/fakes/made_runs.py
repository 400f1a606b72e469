"""A run folder whose agents are known exactly: perfect, always wrong, and random."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from gala.config.sections import EnvConfig, NetworkConfig
from gala.envs import make_vector_env
from gala.networks import build_network
from gala.networks.build import network_of
from gala.parameters.flat import FlatParameters
from gala.run import checkpoint
from gala.run.config import Config
from gala.run.folder import RunFolder

IDENTITY = Config(
    env=EnvConfig(id="gala/Identity-v0", num_envs=4), network=NetworkConfig(kind="mlp", hidden=(4,))
)

MakeRun = Callable[..., Path]


def write_run(path: Path, config: Config, vectors: dict[int, torch.Tensor], agents: int) -> Path:
    """A run folder as training leaves it, with one checkpoint for each of ``vectors``."""
    env = make_vector_env(config.env, seed=0)
    network = network_of(config, env.observation_space, env.action_space)
    flat = FlatParameters(network, buffers=network.statistics)
    env.close()
    run = RunFolder(path)
    path.mkdir(parents=True)
    run.config.write_text(config.to_yaml())
    run.meta.write_text(json.dumps({"agents": agents, "env_id": config.env.id}))
    for rank, vector in vectors.items():
        state: dict[str, Any] = {
            "params": vector,
            "layout": [[name, list(shape)] for name, shape in flat.layout],
            "update": 100 + rank,
            "step": 1000 * (rank + 1),
        }
        checkpoint.save(checkpoint.folder_of(path, rank), 100 + rank, state, keep=2)
    return path


def identity_parameters(gain: float) -> torch.Tensor:
    """Parameters whose logits are ``gain`` times (nearly) the observed one-hot number.

    A large gain names every number, a large negative gain never does, gain 0 draws at random. The
    parameters are linear in the gain.
    """
    env = make_vector_env(IDENTITY.env, seed=0)
    policy = build_network(env.observation_space, env.action_space, IDENTITY.network, seed=1)
    flat = FlatParameters(policy)
    flat.data.zero_()
    hidden = next(m for m in policy.actor.modules() if isinstance(m, torch.nn.Linear))
    with torch.no_grad():
        hidden.weight.copy_(3 * torch.eye(4))
        policy.logits.weight.copy_(gain * torch.eye(4))
    return flat.data.clone()


@pytest.fixture
def identity_run(tmp_path: Path) -> MakeRun:
    """Make a run of the identity environment from the gain of each agent (None: no checkpoint)."""

    def make(*gains: float | None) -> Path:
        vectors = {r: identity_parameters(g) for r, g in enumerate(gains) if g is not None}
        return write_run(tmp_path / "runs" / "identity", IDENTITY, vectors, len(gains))

    return make


@pytest.fixture
def normalizing_run(tmp_path: Path) -> Callable[[float], Path]:
    """Make a run of one perfect agent, whose observations had ``mean`` and the deviation 1."""

    def make(mean: float) -> Path:
        config = replace(IDENTITY, env=replace(IDENTITY.env, normalize_observation=True))
        moments = [torch.full((4,), mean), torch.full((4,), mean**2 + 1), torch.ones(1)]
        vector = torch.cat([identity_parameters(40.0), *moments])
        return write_run(tmp_path / f"mean {mean}", config, {0: vector}, 1)

    return make


@pytest.fixture
def atari_run(tmp_path: Path) -> MakeRun:
    """Make a run of two untrained agents on an Atari game, from its configuration."""

    def make(config: Config) -> Path:
        env = make_vector_env(config.env, seed=0)
        vectors = {
            rank: FlatParameters(
                build_network(env.observation_space, env.action_space, config.network, seed=rank)
            ).data.clone()
            for rank in range(2)
        }
        env.close()
        return write_run(tmp_path / "runs" / "atari", config, vectors, 2)

    return make
