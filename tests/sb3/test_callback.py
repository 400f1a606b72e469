"""Stable-Baselines3: what of each algorithm goes along, and what its run folder holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("stable_baselines3")

from stable_baselines3 import DQN, PPO, SAC, TD3
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

import gala
from gala.library.carrying import carry
from gala.library.optimizers import find_optimizers
from gala.sb3.callback import parts_of


def small() -> dict[str, Any]:
    """New each time: algorithms write into it."""
    return {"policy_kwargs": {"net_arch": [8]}, "device": "cpu"}


def layout(model: Any) -> tuple[list[str], list[str], int]:
    """Names of parameters, of what lies behind them, and how many optimizers there are."""
    parts = parts_of(model)
    known = {name: parts[name] for name in ("extra", "lagging", "statistics") if name in parts}
    carried = carry(parts["model"], **known)
    behind = len(carried.statistics)
    names = [name for name, _ in carried.layout]
    learned = []
    for name, size in zip(names, carried.sizes, strict=True):
        if sum(carried.sizes[: len(learned)]) < carried.learned:
            learned.append(name)
        assert size > 0
    assert (behind > 0) == (len(names) > len(learned))
    return learned, names[len(learned) :], len(find_optimizers(parts["optimizer"]))


def test_ppo_is_its_policy_and_its_normaliser() -> None:
    env = VecNormalize(make_vec_env("CartPole-v1", 2))
    learned, behind, optimizers = layout(PPO("MlpPolicy", env, n_steps=8, batch_size=8, **small()))
    assert "action_net.weight" in learned and "value_net.bias" in learned and optimizers == 1
    assert behind == [f"statistics[0].{name}.{moment}" for name in ("obs_rms", "ret_rms")
                      for moment in ("first", "second")]  # fmt: skip


def test_dqn_copies_its_target_and_does_not_send_it() -> None:
    learned, behind, optimizers = layout(DQN("MlpPolicy", "CartPole-v1", **small()))
    assert learned and all(name.startswith("q_net.") for name in learned)
    assert behind == [] and optimizers == 1
    soft = DQN("MlpPolicy", "CartPole-v1", tau=0.01, **small())
    learned, behind, _ = layout(soft)
    assert len(behind) == len(learned)


def test_sac_is_actor_critics_targets_and_temperature() -> None:
    model = SAC("MlpPolicy", "Pendulum-v1", **small())
    learned, behind, optimizers = layout(model)
    assert {name.split(".")[0] for name in learned} == {"actor", "critic", "log_ent_coef"}
    assert len(behind) == sum(name.startswith("critic.") for name in learned)
    assert optimizers == 3 and parts_of(model)["after"] is model.actor.optimizer
    fixed = SAC("MlpPolicy", "Pendulum-v1", ent_coef=0.1, **small())
    assert "extra" not in parts_of(fixed) and layout(fixed)[2] == 2


def test_td3_has_two_targets() -> None:
    learned, behind, optimizers = layout(TD3("MlpPolicy", "Pendulum-v1", **small()))
    assert len(behind) == len(learned) and optimizers == 2


def test_a_run_of_it_is_recorded(tmp_path: Path) -> None:
    run = tmp_path / "run"
    callback = gala.sb3.GossipCallback(
        "ring", run_dir=run, env_id="CartPole-v1", options={"log.every_s": 1e-6}
    )
    env = make_vec_env("CartPole-v1", 2)
    PPO("MlpPolicy", env, n_steps=32, batch_size=32, **small()).learn(192, callback=callback)
    lines = (run / "rank_00" / "metrics.jsonl").read_text().splitlines()
    last = [each for each in map(json.loads, lines) if "losses/value_loss" in each][-1]
    assert last["step"] == 192 and last["charts/episodic_return"] > 5
    assert json.loads(lines[-1])["event"] == "done"
    assert callback.node.update == 192 // 32 * 10  # ten epochs of each batch
