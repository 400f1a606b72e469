"""What bfloat16 does to learning: the same 1,000 updates in both precisions, on Pong.

    python experiments/bench/precision.py [--updates 1000]

A float32 learner plays, all learn from what it plays, each with its own values. Beside the bfloat16
learner there is one that is float32, too, but began with parameters rounded to bfloat16 once: what
two exact runs drift apart anyway. Writes experiments/results/precision.{json,md}.
"""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any, NamedTuple

import torch
from recording import ROOT, table, write

from gala.envs import make_vector_env
from gala.experience import Collector
from gala.experience.batch import Batch
from gala.learning.learner import Learner
from gala.learning.table import make_algorithm
from gala.networks import Network
from gala.networks.build import network_of
from gala.networks.model import Model
from gala.parameters.flat import FlatParameters
from gala.parameters.schedule import scaled_lr
from gala.run.config import load

EVERY = 100


class Student(NamedTuple):
    """Parameters that learn from somebody else's games, and as they began."""

    model: Model
    learner: Learner
    start: torch.Tensor


def student(config: Any, network: Network, dtype: torch.dtype, *, rounded: bool) -> Student:
    """One at the common start; ``network`` becomes its own."""
    flat = FlatParameters(network)
    if rounded:
        flat.data.copy_(flat.data.to(torch.bfloat16).float())
    model = Model(network, flat, dtype)
    algorithm = make_algorithm(config.algorithm, config.learning)
    rate = scaled_lr(config.learning, config.env.num_envs)
    return Student(model, Learner(algorithm, model, lr=rate), flat.data.clone())


def with_own_values(model: Model, batch: Batch) -> Batch:
    """The batch as if ``model`` had judged it; Pong's games are not cut off, they end."""
    _, value = model.evaluate(batch)
    following = torch.where(batch.final, batch.next_value, value[1:])
    return dataclasses.replace(batch, value=value[:-1], next_value=following)


@torch.no_grad()
def compare(exact: Student, other: Student, obs: torch.Tensor) -> dict[str, float]:
    """How far ``other`` is from ``exact``, over how far both came; and their policies, in nats."""
    parameters = exact.model.flat.data
    (dist, value), (other_dist, other_value) = (each.model.module(obs) for each in (exact, other))
    distance = (other.model.flat.data - parameters).norm() / (parameters - exact.start).norm()
    return {
        "distance": float(distance),
        "kl": float(exact.model.module.head.kl(dist, other_dist).mean()),
        "value": float((value - other_value).abs().mean()),
    }


def main() -> None:
    """Play and learn, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--updates", type=int, default=1000)
    options = parser.parse_args()
    config = dataclasses.replace(load(ROOT / "experiments" / "pong.yaml"), algorithm="a2c")
    env = make_vector_env(config.env, seed=config.seed, threads=1)

    def begin(dtype: torch.dtype, *, rounded: bool = False) -> Student:
        network = network_of(config, env.observation_space, env.action_space)
        return student(config, network, dtype, rounded=rounded)

    exact = begin(torch.float32)
    others = {
        "bfloat16": begin(torch.bfloat16),
        "float32 from a rounded start": begin(torch.float32, rounded=True),
    }
    collector = Collector(
        [env], exact.model.act, exact.model.module.head, n_step=config.learning.n_step,
        gamma=config.learning.gamma, reward_clip=config.env.reward_clip,
        generator=torch.Generator().manual_seed(config.seed),
    )  # fmt: skip
    rows: list[dict[str, Any]] = []
    for update in range(1, options.updates + 1):
        batch = collector.next()
        for each in (exact, *others.values()):
            each.learner.update(with_own_values(each.model, batch))
        collector.learned(exact.model.revision)
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
