"""The main job, measured: train Pong with 4 gossiping agents, then evaluate the averaged policy.

    python experiments/bench/pong.py [--run runs/pong] [--seed 1]

An existing finished run is evaluated without training again. Writes
experiments/results/pong.{json,md} and pong-learning.png, pong-ball.png beside them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from recording import RESULTS, ROOT, records, table, train, write

sys.path.insert(0, str(ROOT / "experiments"))
import figures

AGENTS = 4
GOAL = 18.0


def time_to(rows: dict[int, list[dict[str, float]]], goal: float) -> tuple[float, float] | None:
    """Seconds and steps of all agents until the mean return of the last 100 games reaches goal."""
    start = min(each[0]["t"] for each in rows.values())
    end = max(each[-1]["t"] for each in rows.values())
    grid = np.arange(start, end, 1.0)
    mean = np.mean(
        [
            np.interp(
                grid,
                [r["t"] for r in each],
                [-21.0 if r["charts/episodic_return"] is None else r["charts/episodic_return"]
                 for r in each],
            )
            for each in rows.values()
        ],
        axis=0,
    )  # fmt: skip
    reached = np.flatnonzero(mean >= goal)
    if not len(reached):
        return None
    at = grid[reached[0]]
    return float(at - start), float(figures.total_steps(rows, np.array([at]))[0])


def main() -> None:
    """Train unless done, evaluate, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, default=ROOT / "runs" / "pong")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--episodes", type=int, default=30)
    options = parser.parse_args()
    if not (options.run / "meta.json").exists():
        train(options.run, "experiments/pong.yaml", "--agents", AGENTS, "--seed", options.seed)
    meta = json.loads((options.run / "meta.json").read_text())
    done = subprocess.run(
        [sys.executable, "-m", "gala", "eval", str(options.run), "--agent", "mean", "--json",
         "--episodes", str(options.episodes)],
        check=True, capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    evaluation = json.loads(done.stdout)
    rows = records(options.run)
    last = [each[-1] for each in rows.values()]
    ratios = [
        r["divergence/epsilon_ratio"]
        for each in rows.values()
        for r in each
        if r.get("divergence/epsilon_ratio") is not None
    ]
    seconds = max(r["t"] for r in last) - min(each[0]["t"] for each in rows.values())
    steps = sum(r["step"] for r in last)
    reached = time_to(rows, GOAL)
    RESULTS.mkdir(exist_ok=True)
    for kind, draw in (("learning", figures.draw_learning), ("ball", figures.draw_ball)):
        draw(options.run, RESULTS / f"pong-{kind}.png")
    facts = {
        "run_commit": meta["commit"],
        "train_command": meta["command"],
        "seed": meta["seed"],
        "steps": steps,
        "seconds": seconds,
        "steps_per_second": steps / seconds,
        "mean_return_last_100": float(np.mean([r["charts/episodic_return"] for r in last])),
        "goal": GOAL,
        "seconds_and_steps_to_goal": reached,
        "largest_epsilon_ratio": max(ratios),
        "evaluation": evaluation,
    }
    lines = [
        [
            str(result["agent"]),
            result["policy"],
            f"{result['mean_return']:.2f}",
            f"{result['standard_error']:.2f}",
            f"{result['min_return']:.0f}",
            f"{result['max_return']:.0f}",
        ]
        for result in evaluation["results"]
    ]
    goal = (
        f"{reached[0] / 60:.1f} minutes, {reached[1] / 1e6:.2f} M steps"
        if reached
        else "not reached"
    )
    text = f"""# Pong, {AGENTS} gossiping agents

Trained with `{meta["command"]}` (commit {meta["commit"]}): {steps:,} steps of all agents in
{seconds / 60:.1f} minutes, {steps / seconds:,.0f} steps/s. Mean raw return of the last 100 games of
each agent at the end: {facts["mean_return_last_100"]:.2f}; {GOAL:.0f} reached after: {goal}.
Largest divergence / bound: {max(ratios):.3g}.

{table(["agent", "policy", "mean return", "standard error", "min", "max"], lines)}

{evaluation["episodes"]} episodes each, raw returns, full games.

![learning curves](pong-learning.png)
![the epsilon-ball](pong-ball.png)
"""
    write("pong", facts, text)


if __name__ == "__main__":
    main()
