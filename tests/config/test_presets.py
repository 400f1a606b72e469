"""Ready-made experiments whose environments are extras."""

from __future__ import annotations

import re
import shlex

import pytest

from gala.config.sections import ReplayConfig
from gala.files import shipped
from gala.learning.ppo_config import PPOConfig
from gala.learning.sac_config import SACConfig
from gala.run.request import read_request


@pytest.mark.parametrize(
    ("name", "env_id", "extra"),
    [
        ("halfcheetah", "HalfCheetah-v5", "mujoco"),
        ("hopper", "Hopper-v5", "mujoco"),
        ("minigrid-memory", "MiniGrid-MemoryS7-v0", "minigrid"),
    ],
)
def test_experiments_name_their_extra_and_their_commands_parse(
    name: str, env_id: str, extra: str
) -> None:
    text = shipped.resolve("experiments", name).read_text()
    comment = "".join(re.findall(r"^# ?(.*\n)", text, re.M))
    assert f"Needs the extra {extra}." in comment
    commands = re.findall(r"^ *gala train (.*)$", comment.replace("\\\n", " "), re.M)
    assert commands
    for command in commands:
        words = shlex.split(command)
        at = words.index("--agents")
        request = read_request([*words[:at], *words[at + 2 :]], agents=int(words[at + 1]))
        assert request.config.env.id == env_id


@pytest.mark.parametrize("name", ["halfcheetah", "hopper"])
def test_robots_learn_by_published_parameters(name: str) -> None:
    """CleanRL's ppo_continuous_action.py; SAC and A2C of rl-baselines3-zoo."""
    words = ["--env.normalize-reward", "false"]
    ppo, a2c, sac = (
        read_request(
            [name, "--algorithm", each, *(words if each == "sac" else [])], agents=1
        ).config
        for each in ("ppo", "a2c", "sac")
    )
    assert ppo.env.normalize_observation and ppo.env.normalize_reward
    assert ppo.learning.n_step * ppo.env.num_envs == 2048
    assert ppo.learning == PPOConfig(
        n_step=512, epochs=10, minibatches=32, value_clip=True, lr=3e-4, lr_schedule="linear",
        optimizer_eps=1e-5, gamma=0.99, gae_lambda=0.95, clip=0.2, entropy_coef=0.0,
        value_coef=0.5, max_grad_norm=0.5,
    )  # fmt: skip
    assert (a2c.learning.n_step, a2c.learning.lr, a2c.learning.gae_lambda) == (8, 9.6e-4, 0.9)
    assert sac.learning == SACConfig() and sac.replay == ReplayConfig(warm_up=10_000)
