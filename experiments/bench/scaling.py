"""How speed, memory and start change with the number of agents, on Pong.

    python experiments/bench/scaling.py [--agents 1 2 4 8] [--rounds 3] [--seconds 20]

Numbers of agents take turns, so that all see the same machine. Writes
experiments/results/scaling.{json,md}.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial

from recording import table, write

from gala.bench.measurement import WARM_UP_S, Case, Measurement, measure
from gala.bench.past import cores
from gala.telemetry.phases import PHASES

Found = dict[int, list[Measurement]]


def case(agents: int, envs: int, arguments: Sequence[str]) -> Case:
    """Pong with so many agents of so many environments."""
    return Case(
        name=f"{agents} agents x {envs}",
        agents=agents,
        arguments=("pong-paper", "--env.num-envs", envs, *arguments),
    )


def of_best(found: Found) -> dict[int, float]:
    """Median over rounds of steps/s over the best number of agents of the same round."""
    rounds = list(zip(*found.values(), strict=True))
    best = [max(each.steps_per_second for each in turn) for turn in rounds]
    return {
        agents: statistics.median(
            each.steps_per_second / top for each, top in zip(runs, best, strict=True)
        )
        for agents, runs in found.items()
    }


def _median(
    runs: Sequence[Measurement], value: Callable[[Measurement], float | None], form: str
) -> str:
    known = [each for each in map(value, runs) if each is not None]
    return format(statistics.median(known), form) if known else "-"


def _phase(name: str, measurement: Measurement) -> float:
    return measurement.phases_ms[name]


def text_of(found: Found, options: argparse.Namespace) -> str:
    """The results for people."""
    share, lines = of_best(found), []
    for agents, runs in found.items():
        speeds = [each.steps_per_second for each in runs]
        lines.append([
            str(agents),
            f"{statistics.median(speeds):,.0f}",
            f"{min(speeds):,.0f} - {max(speeds):,.0f}",
            f"{share[agents]:.2f}",
            _median(runs, lambda m: m.memory_mb, ",.0f"),
            _median(runs, lambda m: m.start_s, ".1f"),
        ])  # fmt: skip
    split = [
        [
            str(agents),
            *(_median(runs, partial(_phase, phase), ".2f") for phase in PHASES),
            _median(runs, lambda m: m.overhead, ".1%"),
        ]
        for agents, runs in found.items()
    ]
    speed = table(
        ["agents", "steps/s of all, median", "range", "of the best in the same round",
         "MB per agent", "launch to last first update, s"],
        lines,
    )  # fmt: skip
    game = " ".join(["Pong", *options.arguments])
    return f"""# From one agent to many

{game}, {options.simulators} environments per agent, {cores()} cores;
medians of {options.rounds} interleaved rounds of {options.seconds:g} s each, after the start and
{WARM_UP_S:g} s of training, with gossip, records and divergence tracking on. MB: largest resident
memory of an agent's process, shared libraries included.

{speed}

Where the time of an update goes, ms of wall time: agents that share a core wait for it within every
phase. Overhead is what is neither collecting nor learning.

{table(["agents", *PHASES, "overhead"], split)}
"""


def main() -> None:
    """Measure in turns, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--agents", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--simulators", type=int, default=16, help="of each agent")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20.0)
    options, rest = parser.parse_known_args()
    options.arguments = rest  # gala train's
    found: Found = {agents: [] for agents in options.agents}
    for number in range(options.rounds):
        for agents in options.agents:
            made = measure(case(agents, options.simulators, options.arguments), options.seconds)
            found[agents].append(made)
            print(f"round {number + 1}: {made.case}: {made.steps_per_second:,.0f} steps/s",
                  flush=True)  # fmt: skip
    data = {
        "rounds": options.rounds,
        "seconds": options.seconds,
        "simulators": options.simulators,
        "of_best": {str(agents): share for agents, share in of_best(found).items()},
        "measurements": {str(n): [asdict(each) for each in runs] for n, runs in found.items()},
    }
    write("scaling", data, text_of(found, options))


if __name__ == "__main__":
    main()
