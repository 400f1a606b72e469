"""What each choice is worth: two agents on Pong as in the paper, and with one thing different.

    python experiments/bench/levers.py [--rounds 3] [--seconds 10] [--only float32 ...]

Each is measured right beside what it is held against, first or second in turns: the speed of a
shared machine changes by more, within a quarter of an hour, than most choices are worth. Writes
experiments/results/levers.{json,md}; with --only some of them it prints.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

from recording import table, write

from gala.bench.live_run import LiveRun
from gala.bench.measurement import WARM_UP_S, Case, measure
from gala.bench.past import cores

AGENTS, ENVS = 2, 16
SHIPPED, ALONE = "as shipped", "one agent with all simulators"

Pairs = list[tuple[float, float]]
"""Steps per second of a lever and of what it is held against, side by side."""


@dataclass(frozen=True)
class Lever:
    """One thing that is different.

    Attributes:
        arguments: of ``gala train``.
        environment: of its processes.
        agents: how many share the environments.
        base: what it is held against.
        prepare: done to the agents when they train.
    """

    arguments: tuple[object, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    agents: int = AGENTS
    base: str = SHIPPED
    prepare: Callable[[LiveRun], object] = lambda run: None


def pin(run: LiveRun) -> None:
    """Each agent, with all its threads, stays on a core of its own as far as there are enough."""
    cpus = sorted(os.sched_getaffinity(0))
    for rank in range(run.agents):
        for thread in Path(f"/proc/{run.pid(rank)}/task").iterdir():
            os.sched_setaffinity(int(thread.name), {cpus[rank % len(cpus)]})


BASES = {SHIPPED: Lever(), ALONE: Lever(agents=1)}
LEVERS = {
    "float32": Lever(("--network.precision", "float32")),
    ALONE: BASES[ALONE],
    "one agent, OpenMP threads that spin": Lever(
        environment={"OMP_WAIT_POLICY": "ACTIVE"}, agents=1, base=ALONE
    ),
    "one agent, OpenMP threads that sleep at once": Lever(
        environment={"OMP_WAIT_POLICY": "PASSIVE"}, agents=1, base=ALONE
    ),
    "large blocks of memory given back at once": Lever(
        environment={"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}
    ),
    "four agents with all simulators": Lever(agents=4),
    "gradients averaged (allreduce)": Lever(("--coupling", "allreduce")),
    "each agent on a core of its own": Lever(prepare=pin),
    "no gossip": Lever(("--coupling", "none")),
    "lock-step gossip": Lever(("--gossip.max-staleness", 0)),
    "messages of bfloat16": Lever(("--gossip.wire-format", "bfloat16")),
    "no trust radius": Lever(("--gossip.trust-radius", "null")),
    "no TensorBoard": Lever(("--log.no-tensorboard",)),
    "64 filters": Lever(("--network.filters", "[32, 64, 64]")),
}


def speed(lever: Lever, seconds: float) -> float:
    """Steps per second of all agents."""
    envs = AGENTS * ENVS // lever.agents
    arguments = ("pong-paper", "--env.num-envs", envs, *lever.arguments)
    with mock.patch.dict(os.environ, lever.environment):
        return measure(
            Case(name="lever", agents=lever.agents, arguments=arguments, prepare=lever.prepare),
            seconds,
        ).steps_per_second


def pair(name: str, seconds: float, base_first: bool) -> tuple[float, float]:
    """Steps per second of a lever and of its base."""
    lever, base = LEVERS[name], BASES[LEVERS[name].base]
    if base_first:
        of_base = speed(base, seconds)
        return speed(lever, seconds), of_base
    return speed(lever, seconds), speed(base, seconds)


def ratios(pairs: Pairs) -> list[float]:
    """Speed over that of what it is held against, pair by pair."""
    return [each / base for each, base in pairs]


def text_of(found: dict[str, Pairs], rounds: int, seconds: float) -> str:
    """The results for people."""
    lines = []
    for name, pairs in found.items():
        lever, over = LEVERS[name], ratios(pairs)
        settings = [f"{k}={v}" for k, v in lever.environment.items()]
        settings += [" ".join(map(str, lever.arguments))] if lever.arguments else []
        lines.append([
            name,
            f"`{' '.join(settings)}`" if settings else "",
            *(f"{statistics.median(speeds):,.0f}" for speeds in zip(*pairs, strict=True)),
            f"{statistics.median(over):.2f} of {lever.base}",
            f"{min(over):.2f} - {max(over):.2f}",
        ])  # fmt: skip
    header = ["what", "setting", "steps/s", "beside it", "ratio", "range"]
    return f"""# What each choice is worth

Pong, {AGENTS * ENVS} environments in all, {AGENTS} agents unless a row tells otherwise, {cores()}
cores; {rounds} pairs of {seconds:g} s each, after the start and {WARM_UP_S:g} s of training: the
choice and, right before or after it in turns, what it is held against. Medians. Below 1: slower.

{table(header, lines)}
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure in turns, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--only", nargs="+", choices=list(LEVERS), default=list(LEVERS))
    options = parser.parse_args(arguments)
    found: dict[str, Pairs] = {name: [] for name in LEVERS if name in options.only}
    for number in range(options.rounds):
        for name, pairs in found.items():
            pairs.append(pair(name, options.seconds, base_first=number % 2 == 0))
            print(f"round {number + 1}: {name}: {pairs[-1][0]:,.0f} steps/s, "
                  f"{LEVERS[name].base}: {pairs[-1][1]:,.0f}", flush=True)  # fmt: skip
    data = {"rounds": options.rounds, "seconds": options.seconds, "steps_per_second": found}
    text = text_of(found, options.rounds, options.seconds)
    if len(found) == len(LEVERS):
        write("levers", data, text)
    else:  # a part does not replace the whole
        print(text)


if __name__ == "__main__":
    main()
