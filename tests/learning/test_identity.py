"""A working learner solves the identity environment in seconds; a sign error anywhere fails."""

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from gala.agent.actor_learner import ActorLearner
from gala.config.sections import EnvConfig, LogConfig, NetworkConfig, ReplayConfig
from gala.learning.a2c_config import A2CConfig
from gala.learning.impact_config import ImpactConfig
from gala.learning.ppo_config import PPOConfig
from gala.learning.r2d2_config import R2D2Config
from gala.learning.sac_config import SACConfig
from gala.learning.vmpo_config import VMPOConfig
from gala.learning.vtrace_config import VTraceConfig
from gala.run.config import Config

SOLVED = 18.5  # of 20; chance is 5


Train = Callable[..., ActorLearner]


def identity(**a2c: object) -> Config:
    return Config(
        env=EnvConfig(id="gala/Identity-v0", num_envs=8),
        network=NetworkConfig(hidden=(32,)),
        a2c=A2CConfig(**{"lr": 3e-3, "optimizer": "adam", "gamma": 0.9, **a2c}),  # type: ignore[arg-type]
        log=LogConfig(tensorboard=False),
        total_steps=30_000,
        seed=3,
    )


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimizer": "rmsprop"},
        {"gae_lambda": 0.9, "n_step": 8},
        {"normalize_advantage": True, "lr_schedule": "linear"},
    ],
)
def test_identity_is_solved(train_here: Train, changes: dict[str, object]) -> None:
    agent = train_here(identity(**changes))
    returns = agent.source.returns
    assert sum(returns) / len(returns) > SOLVED


LEARNERS = {
    "a2c": {},
    "ppo": {"ppo": PPOConfig(n_step=16, gamma=0.9, lr=3e-3, minibatches=2)},
    "vmpo": {"vmpo": VMPOConfig(n_step=5, gamma=0.9, lr=3e-3, act_every=4)},
    "vtrace": {"vtrace": VTraceConfig(n_step=5, gamma=0.9, lr=3e-3, optimizer="adam")},
    "impact": {"impact": ImpactConfig(n_step=5, gamma=0.9, lr=3e-3)},
    "r2d2": {
        "r2d2": R2D2Config(
            n_step=5,
            burn_in=0,
            sequences=32,
            updates=2,
            gamma=0.9,
            lr=3e-3,
            target_every=10,
            horizon=3,
            epsilon=0.05,
            epsilon_spread=0.0,
            optimizer_eps=1e-8,
        ),
        "replay": ReplayConfig(capacity=10_000, warm_up=200),
    },
    "sac": {
        "sac": SACConfig(n_step=2, gamma=0.9, lr=3e-3, target_entropy=0.05),
        "replay": ReplayConfig(batch=64, warm_up=200, updates_per_step=1 / 16),
    },
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("algorithm", "autoreset", "limit"),
    [
        # truncated games after which a row is not real: the harder half; the others are long
        pytest.param(*each, marks=() if each[1:] == ("next-step", 10) else pytest.mark.long)
        for each in itertools.product(LEARNERS, ["next-step", "same-step"], [None, 10])
    ],
)
def test_identity_is_solved_in_every_autoreset_mode(
    train_here: Train, algorithm: str, autoreset: str, limit: int | None
) -> None:
    config = Config(**{**vars(identity()), "algorithm": algorithm, **LEARNERS[algorithm]})
    env = EnvConfig(
        id="gala/Identity-v0",
        num_envs=8,
        autoreset=autoreset,  # type: ignore[arg-type]
        max_episode_steps=limit,
    )
    agent = train_here(Config(**{**vars(config), "env": env}))
    returns = agent.source.returns
    assert sum(returns) / len(returns) > SOLVED * (limit or 20) / 20


def test_training_twice_gives_the_same_bits(train_here: Train) -> None:
    first = train_here(identity(), "a")
    second = train_here(identity(), "b")
    assert torch.equal(first.model.flat.data, second.model.flat.data)
    other = train_here(Config(**{**vars(identity()), "seed": 4}), "c")
    assert not torch.equal(first.model.flat.data, other.model.flat.data)


def test_a_gaussian_policy_learns_pendulum_values(train_here: Train, tmp_path: Path) -> None:
    """Box actions: the swing-up is too long for a test; its value function is not."""
    config = Config(
        env=EnvConfig(id="Pendulum-v1", num_envs=8),
        a2c=A2CConfig(lr=1e-3, optimizer="adam", n_step=20, gae_lambda=0.95, gamma=0.9),
        log=LogConfig(
            tensorboard=False, every_s=1e-6
        ),  # a record per update: the same on any machine
        total_steps=40_000,
        seed=1,
    )
    train_here(config)
    import json

    lines = (tmp_path / "run" / "rank_00" / "metrics.jsonl").read_text().splitlines()
    losses = [r for r in map(json.loads, lines) if "losses/explained_variance" in r]
    assert max(r["losses/explained_variance"] or -1 for r in losses[len(losses) // 2 :]) > 0.3
