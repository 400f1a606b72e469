"""What a slow simulator costs: two milliseconds a step, in processes of their own, or none.

    python experiments/bench/slow_simulator.py [--agents 1 2 4] [--simulators 16] [--rounds 3]

Observations are images in shared memory. While one agent waits for its simulators, others compute:
with enough agents the simulators' time is not seen any more. All take turns. Writes
experiments/results/slow-simulator.{json,md}.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from recording import table, write

from gala.bench.measurement import WARM_UP_S, Case, measure
from gala.bench.past import cores

QUICK, SLOW = "slow_env:Slow0-v0", "slow_env:Slow2-v0"
WAIT_MS = 2.0

Found = Mapping[int, Mapping[str, Sequence[float]]]


def case(agents: int, simulators: int, env: str) -> Case:
    """``simulators`` in all, shared by so many agents."""
    arguments = (
        "pong-paper", "--env.id", env, "--env.workers", "async",
        "--env.num-envs", simulators // agents,
    )  # fmt: skip
    return Case(name=f"{agents} agents, {env}", agents=agents, arguments=arguments)


def of_quick(found: Found) -> dict[int, list[float]]:
    """Speed with slow simulators over that with quick ones, round by round."""
    return {
        agents: [slow / quick for slow, quick in zip(each[SLOW], each[QUICK], strict=True)]
        for agents, each in found.items()
    }


def text_of(found: Found, simulators: int, rounds: int, seconds: float) -> str:
    """The results for people."""
    shares = of_quick(found)
    lines = [
        [
            str(agents),
            *(f"{statistics.median(each[env]):,.0f}" for env in (QUICK, SLOW)),
            f"{1e3 * simulators / WAIT_MS:,.0f}",
            f"{statistics.median(shares[agents]):.2f}",
            f"{min(shares[agents]):.2f} - {max(shares[agents]):.2f}",
        ]
        for agents, each in found.items()
    ]
    header = ["agents", "steps/s, no wait", f"steps/s, {WAIT_MS:g} ms a step",
              "simulators alone at most", "slow / quick, same round", "range"]  # fmt: skip
    return f"""# Simulators that take their time

{simulators} simulators in all, each in a process of its own (`--env.workers async`), images of
4 x 84 x 84 in shared memory, the network of Pong, {cores()} cores; {rounds} interleaved rounds of
{seconds:g} s each, after the start and {WARM_UP_S:g} s of training. Where the ratio is 1, the time
that simulators take passes while the network acts for the other half of them, or while other agents
compute. The agents share the simulators, so that more agents act for fewer at a time.

{table(header, lines)}
"""


def main() -> None:
    """Measure in turns, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--agents", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--simulators", type=int, default=16, help="in all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=15.0)
    options = parser.parse_args()
    if uneven := [n for n in options.agents if options.simulators % n]:
        parser.error(f"--agents: {uneven[0]} agents cannot share {options.simulators} simulators")
    paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    found: dict[int, dict[str, list[float]]] = {
        agents: {QUICK: [], SLOW: []} for agents in options.agents
    }
    for number in range(options.rounds):
        for agents in options.agents:
            for env in (QUICK, SLOW):
                made = measure(case(agents, options.simulators, env), options.seconds)
                found[agents][env].append(made.steps_per_second)
                print(f"round {number + 1}: {made.case}: {made.steps_per_second:,.0f} steps/s",
                      flush=True)  # fmt: skip
    data = {
        "rounds": options.rounds, "seconds": options.seconds, "simulators": options.simulators,
        "steps_per_second": found, "of_quick": of_quick(found),
    }  # fmt: skip
    text = text_of(found, options.simulators, options.rounds, options.seconds)
    write("slow-simulator", data, text)


if __name__ == "__main__":
    main()
