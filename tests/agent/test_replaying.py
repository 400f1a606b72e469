"""Agents that replay: what is said before they begin, what is refused, and what they count."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from gala.agent.equipment import make_learner, require_replayable, room_of_replay
from gala.agent.opening import opening_block
from gala.agent.plan import vector_size
from gala.agent.setting import Setting
from gala.config.sections import EnvConfig, GossipConfig, LogConfig, NetworkConfig, ReplayConfig
from gala.errors import UserError
from gala.launch.launch import Launch
from gala.learning.sac_config import SACConfig
from gala.parameters.flat import FlatParameters
from gala.run.config import Config
from gala.run.folder import RunFolder
from gala.topology import load_topology


def config(**changes: Any) -> Config:
    settings: dict[str, Any] = {
        "env": EnvConfig(id="Pendulum-v1", num_envs=2),
        "network": NetworkConfig(hidden=(16,)),
        "algorithm": "sac",
        "sac": SACConfig(n_step=3),
        "replay": ReplayConfig(capacity=3000, batch=8, warm_up=20, updates_per_step=0.5),
        "gossip": GossipConfig(every=5),
        "log": LogConfig(tensorboard=False, every_s=1e-6),
        "total_steps": 60,
    }
    return Config(**(settings | changes))


def test_memory_and_the_cost_of_gossip_are_told_before_anything_is_trained(tmp_path: Path) -> None:
    launch = Launch(agents=2)
    envs, network = make_learner(config(), launch, 1)
    setting = Setting(
        config=config(), launch=launch, run=RunFolder(tmp_path), run_id="00" * 8,
        topology=load_topology("ring", 2), device=torch.device("cpu"), threads=1,
    )  # fmt: skip
    text = "\n".join(opening_block(setting, envs, network))
    each = room_of_replay(config(), envs[0], network).each
    assert each == 4 * (3 + 3 + 1 + 2)
    assert f"replay     3,000 transitions of each agent, {3000 * each / 2**20:.1f} MiB" in text
    assert "0.5 updates a step, of 8 each, after 20" in text
    flat = FlatParameters(network, buffers=network.statistics)
    assert vector_size(network) == flat.data.numel() > flat.learned
    per_step = flat.data.numel() * 4 / (5 * 2 * 3)
    assert f"every 5 updates {flat.data.numel() * 4 / 1000:.1f} kB to each neighbour" in text
    assert f"{per_step:,.0f} bytes a step" in text
    for env in envs:
        env.close()


def test_updates_are_counted_as_steps_say(train_here: Callable[..., Any], tmp_path: Path) -> None:
    """6 steps and 3 optimizer steps an update; the first ones only fill the replay."""
    agent = train_here(config())
    assert (agent.update, agent.step) == (10, 60)
    lines = (tmp_path / "run" / "rank_00" / "metrics.jsonl").read_text().splitlines()
    found = [r for r in map(json.loads, lines) if "replay/transitions" in r]
    assert [r["replay/transitions"] for r in found] == [6.0 * k for k in range(1, 11)]
    learned = ["losses/value_loss" in r for r in found]
    assert learned == [False] * 3 + [True] * 7, "20 transitions are there after 4 updates"
    assert agent.model.revision == 7 * 3 * 2


def test_the_same_seed_gives_the_same_bits(train_here: Callable[..., Any]) -> None:
    first, second = (train_here(config(), name) for name in ("a", "b"))
    assert torch.equal(first.model.flat.data, second.model.flat.data)


def test_masked_actions_are_refused() -> None:
    masked: Any = SimpleNamespace(masks=True)
    unused: Any = None
    with pytest.raises(UserError, match="which holds no masks of actions"):
        require_replayable(config(), masked, unused, 1)
