"""Every discrete algorithm on CartPole and on the identity environment: four agents that gossip.

    python experiments/bench/algorithms.py --seeds 1 2 3 4 5 --folder runs/algorithms

CartPole with ``gala train cartpole --agents 4 --algorithm NAME`` alone. Runs that are in the folder
already are not trained again. Writes experiments/results/algorithms.{json,md}; what it did not
measure this time stays there, with the commit that it is of.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from recording import RESULTS, ROOT, provenance, records, table, train, write

from gala.evaluation.statistics import bootstrap, iqm
from gala.launch.processes import bound_to
from gala.learning.table import ALGORITHMS

AGENTS = 4
GAMES = 100
SOLVED = {"CartPole-v1": 475.0, "gala/Identity-v0": 18.5}
"""Mean return to reach; the most are 500 and 20, chance gives 22 and 5."""


def task_arguments(task: str, algorithm: str) -> list[object]:
    """What ``gala train`` is given for a task besides agents, algorithm and seed."""
    if task == "CartPole-v1":
        return ["cartpole"]
    section = f"--{algorithm}"
    return [
        "--env.id", task, "--env.num-envs", 4, "--network.hidden", "[32]",
        "--total-steps", 100_000, f"{section}.lr", "3e-3", f"{section}.gamma", 0.9,
        f"{section}.optimizer", "adam", f"{section}.n-step", 8,
    ]  # fmt: skip


def evaluated(run: Path) -> float:
    """Mean return of the averaged policy over fresh games, most likely actions."""
    command = [sys.executable, "-m", "gala", "eval", str(run), "--episodes", str(GAMES)]
    command += ["--agent", "mean", "--policy", "greedy", "--json"]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        preexec_fn=bound_to(os.getpid()),
    )
    return float(json.loads(done.stdout)["results"][0]["mean_return"])


def measure(task: str, algorithm: str, seed: int, folder: Path) -> dict[str, Any]:
    """Train and evaluate once, unless that was done before; what came out."""
    name = f"{task.rpartition('/')[2]}-{algorithm}-{seed}"
    run, note = folder / name, folder / f"{name}.json"
    if note.exists():
        found: dict[str, Any] = json.loads(note.read_text())
        return found
    seconds = train(
        run, *task_arguments(task, algorithm), "--agents", AGENTS, "--algorithm", algorithm,
        "--seed", seed, "--log.tensorboard", "false",
    )  # fmt: skip
    last = [each[-1] for each in records(run).values()]
    result = {
        "task": task,
        "algorithm": algorithm,
        "seed": seed,
        "return": evaluated(run),
        "steps": int(sum(r["step"] for r in last)),
        "seconds": seconds,
        "commit": provenance()["commit"],
    }
    note.write_text(json.dumps(result))
    return result


def with_those_of_before(results: list[dict[str, Any]], path: Path) -> list[dict[str, Any]]:
    """What was measured now, and what else the results' file holds, in one order."""
    before = json.loads(path.read_text()) if path.exists() else {"results": []}
    old = [{"commit": before["commit"]} | each for each in before["results"]]
    found = {(each["task"], each["algorithm"], each["seed"]): each for each in [*old, *results]}
    return [found[key] for key in sorted(found)]


def rows_of(results: list[dict[str, Any]]) -> list[list[str]]:
    """A row of the table for each task and algorithm."""
    rows = []
    for task, goal in SOLVED.items():
        for algorithm in ALGORITHMS:
            mine = [r for r in results if r["task"] == task and r["algorithm"] == algorithm]
            if not mine:
                continue
            returns = np.array([[r["return"]] for r in mine])
            interval = bootstrap(iqm, returns)
            rows.append(
                [
                    task,
                    algorithm,
                    " ".join(f"{r['return']:.1f}" for r in mine),
                    f"{sum(r['return'] >= goal for r in mine)} of {len(mine)} >= {goal:g}",
                    f"{float(interval.value):.1f} "
                    f"({float(interval.low):.1f} to {float(interval.high):.1f})",
                    f"{np.median([r['steps'] for r in mine]):,.0f}",
                    f"{np.median([r['seconds'] for r in mine]):.0f}",
                    ", ".join(sorted({r["commit"] for r in mine})),
                ]
            )
    return rows


def main() -> None:
    """Measure, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--algorithms", nargs="+", default=list(ALGORITHMS), choices=ALGORITHMS)
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "algorithms")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    measured = [
        measure(task, algorithm, seed, options.folder)
        for seed in options.seeds
        for task in SOLVED
        for algorithm in options.algorithms
    ]
    results = with_those_of_before(measured, RESULTS / "algorithms.json")
    header = [
        "task", "algorithm", f"mean return of {GAMES} games, by seed", "solved",
        "IQM (95 % interval)", "steps of all agents", "seconds", "commit",
    ]  # fmt: skip
    text = f"""# Algorithms: {AGENTS} agents that gossip

Final evaluation of the averaged policy, most likely actions, fresh games. With five runs a nominal
95 % interval covers less than its name says. Seconds are for orientation: other work ran beside.

{table(header, rows_of(results))}
"""
    write("algorithms", {"results": results}, text)


if __name__ == "__main__":
    main()
