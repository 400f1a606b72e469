"""What one agent's observer leaves behind, besides its records."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.metadata import SESSION_START_INFO_TAG

from gala.agent.actor_learner import ActorLearner
from gala.config.sections import EnvConfig, LogConfig, NetworkConfig
from gala.learning.a2c_config import A2CConfig
from gala.run.config import Config
from gala.run.folder import RunFolder

SMALL = {
    "env": EnvConfig(id="gala/Identity-v0", num_envs=4),
    "network": NetworkConfig(hidden=(8,)),
    "a2c": A2CConfig(n_step=5),
    "total_steps": 400,
}


Train = Callable[[LogConfig], RunFolder]


@pytest.fixture
def train(train_here: Callable[..., ActorLearner]) -> Train:
    """One agent of 20 updates; returns its run folder."""
    return lambda log: train_here(Config(log=log, **SMALL)).setting.run  # type: ignore[arg-type]


def read(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder))
    events.Reload()
    return events


def test_tensorboard_gets_a_run_for_the_agent_and_one_for_all(train: Train) -> None:
    run = train(LogConfig(every_s=1e-6))
    agent = read(run.path / "tensorboard" / "rank_00")
    whole = read(run.path / "tensorboard" / "aggregate")
    assert [each.step for each in agent.Scalars("charts/SPS")] == list(range(20, 401, 20))
    assert [each.step for each in whole.Scalars("charts/SPS")] == list(range(20, 401, 20))
    assert whole.SummaryMetadata(SESSION_START_INFO_TAG).plugin_data.plugin_name == "hparams"
    assert {"run", "topology"} <= set(whole.Tags()["tensors"])


def test_without_weights_and_biases_there_is_one_event_and_a_whole_run(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    run = train(LogConfig(every_s=1e-6, tensorboard=False, wandb="pong"))
    lines = [json.loads(line) for line in run.metrics(0).read_text().splitlines()]
    (error,) = [each["message"] for each in lines if each.get("event") == "error"]
    assert error.startswith("Weights & Biases: not installed")
    assert [each["event"] for each in lines if "event" in each][-1] in ("done", "error")
    assert max(each["step"] for each in lines) == 400


def test_no_tensorboard_on_request(train: Train) -> None:
    run = train(LogConfig(tensorboard=False))
    assert not (run.path / "tensorboard").exists()
