"""What each choice is worth: two agents on Pong as in the paper, and with one thing different.

    python experiments/bench/levers.py [--rounds 3] [--seconds 20] [--only float32 ...]

All take turns, so that they see the same machine. Writes experiments/results/levers.{json,md}.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from unittest import mock

from recording import table, write

from gala.bench.measurement import WARM_UP_S, Case, measure
from gala.bench.past import cores

AGENTS, SIMULATORS = 2, 16
SHIPPED = "as shipped"


@dataclass(frozen=True)
class Lever:
    """One thing that is different.

    Attributes:
        arguments: of ``gala train``.
        environment: of its processes.
        agents: how many share the simulators.
    """

    arguments: tuple[object, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    agents: int = AGENTS


LEVERS = {
    SHIPPED: Lever(),
    "float32": Lever(("--network.precision", "float32")),
    "one agent with all simulators": Lever(agents=1),
    "the same, OpenMP threads that spin": Lever(
        environment={"OMP_WAIT_POLICY": "ACTIVE"}, agents=1
    ),
    "the same, OpenMP threads that sleep at once": Lever(
        environment={"OMP_WAIT_POLICY": "PASSIVE"}, agents=1
    ),
    "large blocks of memory given back at once": Lever(
        environment={"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}
    ),
    "four agents with all simulators": Lever(agents=4),
    "gradients averaged (allreduce)": Lever(("--coupling", "allreduce")),
    "no gossip": Lever(("--coupling", "none")),
    "lock-step gossip": Lever(("--gossip.max-staleness", 0)),
    "messages of bfloat16": Lever(("--gossip.wire-format", "bfloat16")),
    "no trust radius": Lever(("--gossip.trust-radius", "null")),
    "no TensorBoard": Lever(("--log.no-tensorboard",)),
    "64 filters": Lever(("--network.filters", "[32, 64, 64]")),
}


def speed(lever: Lever, seconds: float) -> float:
    """Steps per second of all agents."""
    simulators = AGENTS * SIMULATORS // lever.agents
    arguments = ("pong-paper", "--env.num-envs", simulators, *lever.arguments)
    with mock.patch.dict(os.environ, lever.environment):
        return measure(
            Case(name="lever", agents=lever.agents, arguments=arguments), seconds
        ).steps_per_second


def ratios(found: dict[str, list[float]], name: str) -> list[float]:
    """Speed over that of what is shipped, round by round."""
    return [each / shipped for each, shipped in zip(found[name], found[SHIPPED], strict=True)]


def text_of(found: dict[str, list[float]], rounds: int, seconds: float) -> str:
    """The results for people."""
    lines = []
    for name, speeds in found.items():
        lever, over = LEVERS[name], ratios(found, name)
        settings = [f"{k}={v}" for k, v in lever.environment.items()]
        settings += [" ".join(map(str, lever.arguments))] if lever.arguments else []
        lines.append([
            name,
            f"`{' '.join(settings)}`" if settings else "",
            f"{statistics.median(speeds):,.0f}",
            f"{statistics.median(over):.2f}",
            f"{min(over):.2f} - {max(over):.2f}",
        ])  # fmt: skip
    header = ["what", "setting", "steps/s, median", "of shipped, same round", "range"]
    return f"""# What each choice is worth

Pong, {AGENTS * SIMULATORS} simulators in all, {AGENTS} agents unless said otherwise, {cores()}
cores; {rounds} interleaved rounds of {seconds:g} s each, after the start and {WARM_UP_S:g} s of
training. Below 1: slower than what is shipped.

{table(header, lines)}
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure in turns, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--only", nargs="+", choices=list(LEVERS), default=list(LEVERS))
    options = parser.parse_args(arguments)
    names = [name for name in LEVERS if name in {SHIPPED, *options.only}]
    found: dict[str, list[float]] = {name: [] for name in names}
    for number in range(options.rounds):
        for name in names:
            found[name].append(speed(LEVERS[name], options.seconds))
            print(f"round {number + 1}: {name}: {found[name][-1]:,.0f} steps/s", flush=True)
    data = {"rounds": options.rounds, "seconds": options.seconds, "steps_per_second": found}
    write("levers", data, text_of(found, options.rounds, options.seconds))


if __name__ == "__main__":
    main()
