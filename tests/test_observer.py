"""What one agent's observer leaves behind, besides its records."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.metadata import SESSION_START_INFO_TAG

from gala.actor_learner import ActorLearner, Setting
from gala.config import A2CConfig, Config, EnvConfig, LogConfig, NetworkConfig
from gala.launch import Launch
from gala.run_folder import RunFolder, prepare
from gala.signals import StopRequest
from gala.topology import load_topology
from gala.training import make_learner

SMALL = {
    "env": EnvConfig(id="gala/Identity-v0", num_envs=4),
    "network": NetworkConfig(hidden=(8,)),
    "a2c": A2CConfig(n_step=5),
    "total_steps": 400,
}


def train(folder: Path, log: LogConfig) -> RunFolder:
    """One agent of 20 updates, in this process."""
    topology = load_topology("ring", 1)
    config = Config(log=log, **SMALL)  # type: ignore[arg-type]
    facts = {"torch": torch.__version__, "parameters": 0, "frames_per_step": 1}
    run = prepare(
        folder, config=config, agents=1, topology=topology.to_json(), facts=facts, resume=False
    )
    setting = Setting(
        config=config,
        launch=Launch(),
        run=run,
        run_id="00" * 8,
        topology=topology,
        device=torch.device("cpu"),
        threads=1,
    )
    env, policy = make_learner(config, setting.launch, 1)
    agent = ActorLearner(setting, env, policy, StopRequest())
    agent.run()
    agent.close()
    return run


def read(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder))
    events.Reload()
    return events


def test_tensorboard_gets_a_run_for_the_agent_and_one_for_all(tmp_path: Path) -> None:
    run = train(tmp_path / "run", LogConfig(every_s=1e-6))
    agent = read(run.path / "tensorboard" / "rank_00")
    whole = read(run.path / "tensorboard" / "aggregate")
    assert [each.step for each in agent.Scalars("charts/SPS")] == list(range(20, 401, 20))
    assert [each.step for each in whole.Scalars("charts/SPS")] == list(range(20, 401, 20))
    assert whole.SummaryMetadata(SESSION_START_INFO_TAG).plugin_data.plugin_name == "hparams"
    assert {"run", "topology"} <= set(whole.Tags()["tensors"])


def test_without_weights_and_biases_there_is_one_event_and_a_whole_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    run = train(tmp_path / "run", LogConfig(every_s=1e-6, tensorboard=False, wandb="pong"))
    lines = [json.loads(line) for line in run.metrics(0).read_text().splitlines()]
    (error,) = [each["message"] for each in lines if each.get("event") == "error"]
    assert error.startswith("Weights & Biases: not installed")
    assert [each["event"] for each in lines if "event" in each][-1] in ("done", "error")
    assert max(each["step"] for each in lines) == 400


def test_no_tensorboard_on_request(tmp_path: Path) -> None:
    run = train(tmp_path / "run", LogConfig(tensorboard=False))
    assert not (run.path / "tensorboard").exists()
