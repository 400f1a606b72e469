"""What bfloat16 does to learning: the same 1,000 updates in both precisions, on Pong.

    python experiments/bench/precision.py [--updates 1000]

A float32 learner plays, all learn from what it plays, each with its own values. Beside the bfloat16
learner there is one that is float32, too, but began with parameters rounded to bfloat16 once: what
two exact runs drift apart anyway. Writes experiments/results/precision.{json,md}.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from recording import ROOT, table, write

from gala.envs import make_vector_env
from gala.experience import Collector
from gala.experience.collector import Rollout
from gala.learning.a2c import A2C, scaled_lr
from gala.networks import Network, build_network
from gala.networks.model import Model
from gala.parameters.flat import FlatParameters
from gala.run.config import Config, load

EVERY = 100


@dataclass
class Learner:
    """Parameters that learn from somebody else's games."""

    policy: Network
    flat: FlatParameters
    compute: Model
    algorithm: A2C
    start: torch.Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.start = self.flat.data.clone()


def learner(config: Config, spaces: Sequence[object], dtype: torch.dtype, rounded: bool) -> Learner:
    """A learner at the common start."""
    policy = build_network(*spaces, config.network, seed=config.seed)  # type: ignore[arg-type]
    flat = FlatParameters(policy)
    if rounded:
        flat.data.copy_(flat.data.to(torch.bfloat16).float())
    compute = Model(policy, flat, dtype)
    rate = scaled_lr(config.a2c, config.env.num_envs)
    return Learner(policy, flat, compute, A2C(config.a2c, flat, compute, lr=rate))


@torch.no_grad()
def with_own_values(each: Learner, rollout: Rollout) -> Rollout:
    """The rollout as if ``each`` had judged it; Pong's games are not cut off, they end."""
    steps, envs = rollout.reward.shape
    value = each.compute.module(rollout.obs.flatten(0, 1))[1].view(steps + 1, envs)
    following = torch.where(rollout.cut, rollout.next_value, value[1:])
    return dataclasses.replace(rollout, value=value[:-1], next_value=following)


def compare(exact: Learner, other: Learner, obs: torch.Tensor) -> dict[str, float]:
    """How far ``other`` is from ``exact``, over how far both came; and their policies, in nats."""
    travelled = (exact.flat.data - exact.start).norm()
    with torch.no_grad():
        (dist, value), (other_dist, other_value) = (
            each.compute.module(obs) for each in (exact, other)
        )
        return {
            "distance": float((other.model.flat.data - exact.flat.data).norm() / travelled),
            "kl": float(exact.policy.head.kl(dist, other_dist).mean()),
            "value": float((value - other_value).abs().mean()),
        }


def main() -> None:
    """Play and learn, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--updates", type=int, default=1000)
    options = parser.parse_args()
    config = load(ROOT / "experiments" / "pong.yaml")
    env = make_vector_env(config.env, seed=config.seed, threads=1)
    spaces = (env.observation_space, env.action_space)
    exact = learner(config, spaces, torch.float32, rounded=False)
    others = {
        "bfloat16": learner(config, spaces, torch.bfloat16, rounded=False),
        "float32 from a rounded start": learner(config, spaces, torch.float32, rounded=True),
    }
    collector = Collector(
        [env], exact.compute.act, exact.policy.head, n_step=config.learning.n_step,
        gamma=config.learning.gamma, reward_clip=True,
        generator=torch.Generator().manual_seed(config.seed),
    )  # fmt: skip
    rows = []
    for update in range(1, options.updates + 1):
        rollout = collector.collect()
        for each in (exact, *others.values()):
            each.algorithm.update(with_own_values(each, rollout))
        if update % EVERY == 0:
            found = {n: compare(exact, each, collector.recent()) for n, each in others.items()}
            rows.append({"update": update} | found)
            print(rows[-1], flush=True)
    lines = [
        [f"{row['update']:,}"]
        + [f"{row[name][key]:.2g}" for name in others for key in ("distance", "kl", "value")]
        for row in rows
    ]
    words = ("distance / travelled", "KL, nats", "value, reward")
    header = ["updates", *(f"{name}: {word}" for name in others for word in words)]
    text = f"""# bfloat16 beside float32

Pong as shipped, one agent with {config.env.num_envs} environments: all learn from the games of one
float32 learner, each with its own values. Distance of the parameters from its own, over how far
these have come; mean KL divergence between the policies, and mean difference of the values, on the
newest observations. The second learner is as exact as the first, but all its parameters were
rounded to bfloat16 once, at the start: that much two exact learners drift apart anyway. Without the
outputs kept from acting, whose gradients are the same (tests/networks).

{table(header, lines)}
"""
    write("precision", {"updates": options.updates, "rows": rows}, text)


if __name__ == "__main__":
    main()
