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

import torch
from recording import table

from gala.algorithms.optimizers import build_optimizer
from gala.config import A2CConfig
from gala.flat import FlatParameters

STEPS = 50
SIZES = {"32 filters": 866_439, "64 filters": 1_687_719}
ALPHA, EPS, LR = 0.99, 1e-5, 1e-6


def one_kernel(size: int) -> Callable[[], None]:
    """What gala does."""
    flat = FlatParameters(torch.nn.Linear(size, 1, bias=False))
    flat.grad.normal_()
    optimizer = build_optimizer(A2CConfig(rmsprop_alpha=ALPHA, optimizer_eps=EPS), flat, LR)

    def step() -> None:
        optimizer.advance()
        optimizer.apply()

    return step


def passes(size: int) -> Callable[[], None]:
    """An operation after the other, in place."""
    x, g, v, d = torch.zeros(size), torch.randn(size), torch.zeros(size), torch.empty(size)

    def step() -> None:
        v.mul_(ALPHA).addcmul_(g, g, value=1 - ALPHA)
        torch.sqrt(v, out=d).add_(EPS)
        x.addcdiv_(g, d, value=-LR)

    return step


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
    for name, size in SIZES.items():
        ways = [one_kernel(size), passes(size)]
        found = [[milliseconds(way) for way in ways] for _ in range(1 + options.rounds)][1:]
        ratio = statistics.median(one / many for one, many in found)
        medians = [f"{statistics.median(times):.2f}" for times in zip(*found, strict=True)]
        lines.append([name, f"{size:,}", *medians, f"{ratio:.2f}"])
    print(table(["network", "parameters", "one kernel, ms", "passes, ms", "ratio"], lines))


if __name__ == "__main__":
    main()
