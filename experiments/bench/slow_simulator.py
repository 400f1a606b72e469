"""What a slow environment costs: two milliseconds a step, in processes of their own, or none.

    python experiments/bench/slow_simulator.py [--rounds 3] [--seconds 15]

Observations are images in shared memory. While some environments of an agent play, its network acts
for the others; while it waits for them, other agents compute. All take turns. Writes
experiments/results/slow-simulator.{json,md}.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from recording import table, write

from gala.bench.measurement import WARM_UP_S, Case, measure
from gala.bench.past import cores

QUICK, SLOW = "slow_env:Slow0-v0", "slow_env:Slow2-v0"
WAIT_MS = 2.0


@dataclass(frozen=True, kw_only=True)
class LocalGroup:
    """How many agents, each with how many environments and threads (None: as many as it gets)."""

    agents: int
    envs: int
    threads: int | None = None

    def __str__(self) -> str:
        threads = f", --threads {self.threads}" if self.threads is not None else ""
        return f"{self.agents} x {self.envs}{threads}"


GROUPS = (
    LocalGroup(agents=1, envs=16),
    LocalGroup(agents=1, envs=32),
    LocalGroup(agents=1, envs=32, threads=1),
    LocalGroup(agents=2, envs=16),
    LocalGroup(agents=4, envs=16),
)

Found = Mapping[LocalGroup, Mapping[str, Sequence[float]]]


def case(local_group: LocalGroup, env: str) -> Case:
    """Such agents with such environments."""
    arguments: tuple[object, ...] = (
        "pong-paper", "--env.id", env, "--env.workers", "async",
        "--env.num-envs", local_group.envs,
    )  # fmt: skip
    if local_group.threads is not None:
        arguments += ("--threads", local_group.threads)
    return Case(name=f"{local_group}, {env}", agents=local_group.agents, arguments=arguments)


def of_quick(each: Mapping[str, Sequence[float]]) -> list[float]:
    """Speed with slow environments over that with quick ones, round by round."""
    return [slow / quick for slow, quick in zip(each[SLOW], each[QUICK], strict=True)]


def text_of(found: Found, rounds: int, seconds: float) -> str:
    """The results for people."""
    lines = []
    for local_group, each in found.items():
        shares = of_quick(each)
        lines.append([
            str(local_group),
            *(f"{statistics.median(each[env]):,.0f}" for env in (QUICK, SLOW)),
            f"{1e3 * local_group.agents * local_group.envs / WAIT_MS:,.0f}",
            f"{statistics.median(shares):.2f}",
            f"{min(shares):.2f} - {max(shares):.2f}",
        ])  # fmt: skip
    header = ["agents x environments", "steps/s, no wait", f"steps/s, {WAIT_MS:g} ms a step",
              "environments alone at most", "slow / quick, same round", "range"]  # fmt: skip
    return f"""# Environments that take their time

Each in a process of its own (`--env.workers async`), images of 4 x 84 x 84 in shared memory, the
network of Pong, {cores()} cores; {rounds} interleaved rounds of {seconds:g} s each, after the
start and {WARM_UP_S:g} s of training. Where the ratio is 1, the time that environments take passes
while the network acts for the other half of them, or while other agents compute.

{table(header, lines)}
"""


def main() -> None:
    """Measure in turns, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=15.0)
    options = parser.parse_args()
    paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    found: dict[LocalGroup, dict[str, list[float]]] = {c: {QUICK: [], SLOW: []} for c in GROUPS}
    for number in range(options.rounds):
        for local_group, each in found.items():
            for env, speeds in each.items():
                made = measure(case(local_group, env), options.seconds)
                speeds.append(made.steps_per_second)
                print(f"round {number + 1}: {made.case}: {made.steps_per_second:,.0f} steps/s",
                      flush=True)  # fmt: skip
    data = {
        "rounds": options.rounds, "seconds": options.seconds,
        "steps_per_second": {str(local_group): each for local_group, each in found.items()},
        "of_quick": {str(local_group): of_quick(each) for local_group, each in found.items()},
    }  # fmt: skip
    write("slow-simulator", data, text_of(found, options.rounds, options.seconds))


if __name__ == "__main__":
    main()
