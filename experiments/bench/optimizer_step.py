"""An optimizer's step in one kernel, and in a pass for each of its operations.

    python experiments/bench/optimizer_step.py [--rounds 5]

RMSProp on one thread, for as many parameters as Pong's networks have; both take turns. Prints a
table.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import gymnasium
import numpy as np
import torch
from recording import table
from torch import Tensor

from gala.config.sections import NetworkConfig
from gala.learning.a2c_config import A2CConfig
from gala.networks import build_network
from gala.parameters.flat import FlatParameters
from gala.parameters.optimizer import build_optimizer

STEPS = 50
FILTERS = {"32 filters": (32, 64, 32), "64 filters": (32, 64, 64)}
ALPHA, EPS, LR = 0.99, 1e-5, 1e-6

Way = tuple[Callable[[], None], Tensor]
"""Takes a step; the parameters that it changes."""


def network(filters: tuple[int, int, int]) -> FlatParameters:
    """Of Pong, with a gradient."""
    space = gymnasium.spaces.Box(0, 255, (4, 84, 84), np.uint8)
    config = NetworkConfig(filters=filters)
    flat = FlatParameters(build_network(space, gymnasium.spaces.Discrete(6), config, seed=0))
    flat.grad.normal_(generator=torch.Generator().manual_seed(1))
    return flat


def one_kernel(flat: FlatParameters) -> Way:
    """What gala does."""
    optimizer = build_optimizer(A2CConfig(rmsprop_alpha=ALPHA, optimizer_eps=EPS), flat, LR)

    def step() -> None:
        optimizer.advance()
        optimizer.apply()

    return step, flat.data


def passes(flat: FlatParameters) -> Way:
    """An operation after the other, in place."""
    x, g = flat.data, flat.grad
    v, d = torch.zeros_like(x), torch.empty_like(x)

    def step() -> None:
        v.mul_(ALPHA).addcmul_(g, g, value=1 - ALPHA)
        torch.sqrt(v, out=d).add_(EPS)
        x.addcdiv_(g, d, value=-LR)

    return step, x


def milliseconds(step: Callable[[], None]) -> float:
    """Of one step, the mean of some."""
    began = time.perf_counter()
    for _ in range(STEPS):
        step()
    return (time.perf_counter() - began) / STEPS * 1e3


def main() -> None:
    """Measure in turns, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    lines = []
    for name, filters in FILTERS.items():
        ways = [one_kernel(network(filters)), passes(network(filters))]
        size = len(ways[0][1])
        found = [[milliseconds(step) for step, _ in ways] for _ in range(1 + options.rounds)][1:]
        ratio = statistics.median(one / many for one, many in found)
        medians = [f"{statistics.median(times):.2f}" for times in zip(*found, strict=True)]
        lines.append([name, f"{size:,}", *medians, f"{ratio:.2f}"])
    print(table(["network", "parameters", "one kernel, ms", "passes, ms", "ratio"], lines))


if __name__ == "__main__":
    main()
