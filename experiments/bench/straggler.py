"""One agent of four is ten times slower: what does that cost the others?

    python experiments/bench/straggler.py [--slowdown 10] [--seconds 15] [--repeats 3]

Gossip, allreduce and independent agents, with and without the straggler, interleaved. Writes
experiments/results/straggler.{json,md}.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from recording import table, write

from gala.bench.live_run import LiveRun

AGENTS = 4
COUPLINGS = ("gossip", "allreduce", "none")


def rates(coupling: str, slowdown: float, seconds: float) -> list[float]:
    """Steps per second of each agent over a window in which all of them train."""
    with tempfile.TemporaryDirectory() as folder:
        live = LiveRun(
            Path(folder) / "run", AGENTS, "cartpole", "--coupling", coupling, "--total-steps",
            10**9, "--log.every-s", 0.25, "--log.no-tensorboard", "--threads", 1,
            "--checkpoint.every-steps", 10**9, "--faults.agents", AGENTS - 1,
            "--faults.slowdown", slowdown,
        )  # fmt: skip
        live.wait_until(live.all_train)
        live.watch(1.0)
        start = time.time()
        live.watch(seconds)
        end = time.time()
        found = [live.rate([rank], start, end) for rank in range(AGENTS)]
        live.finish()
    return found


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slowdown", type=float, default=10.0)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    found: dict[str, dict[str, list[list[float]]]] = {
        coupling: {"equal": [], "straggler": []} for coupling in COUPLINGS
    }
    for _ in range(options.repeats):
        for coupling in COUPLINGS:
            for case, slowdown in (("equal", 1.0), ("straggler", options.slowdown)):
                found[coupling][case].append(rates(coupling, slowdown, options.seconds))
    lines = []
    for coupling in COUPLINGS:
        totals = {
            case: statistics.median(sum(each) for each in runs)
            for case, runs in found[coupling].items()
        }
        others = {
            case: statistics.median(sum(each[:-1]) for each in runs)
            for case, runs in found[coupling].items()
        }
        lines.append([
            coupling,
            f"{totals['equal']:,.0f}",
            f"{totals['straggler']:,.0f}",
            f"{totals['straggler'] / totals['equal']:.2f}",
            f"{others['straggler'] / others['equal']:.2f}",
        ])  # fmt: skip
    header = [
        "coupling", "steps/s, all equal", "steps/s, one straggler", "ratio",
        "the other agents alone: ratio",
    ]  # fmt: skip
    text = f"""# One straggler among {AGENTS} agents

CartPole; agent {AGENTS - 1} needs {options.slowdown:.0f} times as long for each update. Medians of
{options.repeats} interleaved runs of {options.seconds:.0f} s each. Its own share is 1/{AGENTS}, so
that without any loss to the others the ratio is at least
{1 - (1 - 1 / options.slowdown) / AGENTS:.2f}; on a machine with fewer cores than agents the others
inherit what the straggler does not use, and the ratio may exceed that.

{table(header, lines)}
"""
    write("straggler", {"slowdown": options.slowdown, "steps_per_second": found}, text)


if __name__ == "__main__":
    main()
