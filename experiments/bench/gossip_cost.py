"""What gossip costs: its share of an update on Pong, and what smaller messages lose on CartPole.

    python experiments/bench/gossip_cost.py [--rounds 3] [--seconds 15] [--seeds 1 2 3]

All take turns, so that they see the same machine. Writes experiments/results/gossip-cost.{json,md}.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from recording import records, table, train, write

from gala.bench.live_run import LiveRun
from gala.bench.past import cores

AGENTS = 4
PHASES = ("collect", "learn", "gossip", "log", "other")
CASES = {
    "shared memory, float32": ("--gossip.transport", "shared-memory"),
    "shared memory, bfloat16": (
        "--gossip.transport", "shared-memory", "--gossip.wire-format", "bfloat16",
    ),
    "shared memory, int8": ("--gossip.transport", "shared-memory", "--gossip.wire-format", "int8"),
    "gloo, float32": ("--gossip.transport", "gloo"),
    "gloo, int8": ("--gossip.transport", "gloo", "--gossip.wire-format", "int8"),
    "none": ("--coupling", "none"),
}  # fmt: skip
ENVS = {
    4: tuple(CASES),
    16: ("shared memory, float32", "gloo, float32", "none"),
}
"""Per agent: few, and as many as in the paper."""


def shares(arguments: tuple[str, ...], envs: int, seconds: float) -> dict[str, float]:
    """Mean milliseconds per update in each phase, and steps per second of all agents."""
    with tempfile.TemporaryDirectory() as folder:
        live = LiveRun(
            Path(folder) / "run", AGENTS, "pong-paper", "--total-steps", 10**9,
            "--log.no-tensorboard", "--env.num-envs", envs, *arguments,
        )  # fmt: skip
        live.wait_until(live.all_train)
        live.watch(3.0)
        start = time.time()
        live.watch(seconds)
        end = time.time()
        rows = [r for each in live.records.values() for r in each if start <= r["t"] <= end]
        found = {p: statistics.fmean(r[f"time/{p}_ms"] for r in rows) for p in PHASES}
        found["steps_per_second"] = live.rate(list(range(AGENTS)), start, end)
        found["mixes_per_update"] = statistics.fmean(
            (each[-1].get("gossip/mixes") or 0) / each[-1]["update"]
            for each in live.records.values()
        )
        found["parameters"] = json.loads((live.run / "meta.json").read_text())["parameters"]
        live.finish()
    return found


def learned(wire: str, seed: int) -> dict[str, Any]:
    """Return, divergence and megabytes of a whole run on CartPole."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        train(run, "cartpole", "--agents", AGENTS, "--seed", seed, "--gossip.wire-format", wire)
        rows = records(run)
    last = [each[-1] for each in rows.values()]
    relative = [
        r["divergence/relative"] for each in rows.values() for r in each[len(each) // 4 :]
        if r.get("divergence/relative") is not None
    ]  # fmt: skip
    return {
        "return": statistics.fmean(r["charts/episodic_return"] for r in last),
        "relative_distance": statistics.median(relative),
        "megabytes": sum(r["gossip/bytes_sent"] for r in last) / 1e6,
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    options = parser.parse_args()
    cases = [(name, envs) for envs, names in ENVS.items() for name in names]
    cost: dict[str, list[dict[str, float]]] = {f"{name}; {number}": [] for name, number in cases}
    for number in range(options.rounds):
        for name, envs in cases:
            found = shares(CASES[name], envs, options.seconds)
            cost[f"{name}; {envs}"].append(found)
            print(f"round {number + 1}: {name}, {envs}: {found['gossip']:.2f} ms", flush=True)
    wires = {
        wire: [learned(wire, seed) for seed in options.seeds]
        for wire in ("float32", "bfloat16", "int8")
    }
    lines = []
    for case, rounds in cost.items():
        medians = {key: statistics.median(each[key] for each in rounds) for key in rounds[0]}
        update = sum(medians[phase] for phase in PHASES)
        lines.append([
            *case.split("; "),
            f"{update:.1f}",
            f"{medians['gossip']:.2f}",
            f"{100 * medians['gossip'] / update:.1f} %",
            f"{100 * (medians['log'] + medians['other']) / update:.1f} %",
            f"{medians['mixes_per_update']:.2f}",
        ])  # fmt: skip
    header = [
        "mailboxes", "environments per agent", "update, ms", "publish + mix, ms", "share",
        "records, sketches, rest: share", "mixes per update",
    ]  # fmt: skip
    learning = [
        [
            wire,
            " ".join(f"{run['return']:.0f}" for run in runs),
            f"{100 * statistics.median(run['relative_distance'] for run in runs):.2g} %",
            f"{statistics.median(run['megabytes'] for run in runs):.0f}",
        ]
        for wire, runs in wires.items()
    ]
    parameters = int(next(iter(cost.values()))[0]["parameters"])
    text = f"""# What gossip costs

Pong, {AGENTS} agents on {cores()} cores, {parameters:,} parameters, ring; medians of
{options.rounds} interleaved rounds of {options.seconds:.0f} s, wall time: where agents share cores,
everything takes so much longer than its own time.

{table(header, lines)}

What smaller messages lose: CartPole to the end, {AGENTS} agents, a run per seed. The distance is
the median of each agent's distance to the mean, relative to the norm of the mean.

{table(["wire format", "return by seed", "distance to the mean", "MB sent"], learning)}
"""
    write("gossip-cost", {"cost": cost, "wires": wires}, text)


if __name__ == "__main__":
    main()
