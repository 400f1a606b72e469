"""The main job, measured: agents that gossip learn Pong, then the averaged policy is evaluated.

    python experiments/bench/pong.py [--run runs/pong] [--seed 1] [--agents 4]

An existing finished run is evaluated without training again. Writes
experiments/results/pong.{json,md} and pong-learning.png, pong-ball.png beside them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from learning import mean_curve, reached
from recording import RESULTS, ROOT, records, table, train, write

sys.path.insert(0, str(ROOT / "experiments"))
import figures

from gala.launch.processes import bound_to

STEPS = 500_000
"""Of each agent, as ``make train`` has it."""
GOAL = 18.0


def main() -> None:
    """Train unless done, evaluate, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, default=ROOT / "runs" / "pong")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--episodes", type=int, default=30)
    parser.add_argument("--agents", type=int, default=4)
    options = parser.parse_args()
    if not (options.run / "meta.json").exists():
        train(options.run, "experiments/pong.yaml", "--agents", options.agents,
              "--total-steps", options.agents * STEPS, "--seed", options.seed)  # fmt: skip
    meta = json.loads((options.run / "meta.json").read_text())
    done = subprocess.run(
        [sys.executable, "-m", "gala", "eval", str(options.run), "--agent", "mean", "--json",
         "--episodes", str(options.episodes)],
        check=True, capture_output=True, text=True, cwd=ROOT,
        preexec_fn=bound_to(os.getpid()),
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
    curve = mean_curve(rows)
    goal = reached(curve, GOAL)
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
        "agents": len(rows),
        "mean_return_last_100": float(curve.returns[-1]),
        "goal": GOAL,
        "seconds_and_steps_to_goal": goal,
        "largest_epsilon_ratio": max(ratios, default=None),
        "evaluation": evaluation,
    }
    lines = [
        [
            str(result["agent"]),
            result["policy"],
            f"{result['mean_return']:.2f}",
            "-" if result["standard_error"] is None else f"{result['standard_error']:.2f}",
            f"{result['min_return']:.0f}",
            f"{result['max_return']:.0f}",
        ]
        for result in evaluation["results"]
    ]
    there = f"{goal[0] / 60:.1f} minutes, {goal[1] / 1e6:.2f} M steps" if goal else "not reached"
    largest = f"{max(ratios):.3g}" if ratios else "no bound applies"
    text = f"""# Pong, {len(rows)} gossiping agents

Trained with `{meta["command"]}` (commit {meta["commit"]}): {steps:,} steps of all agents in
{seconds / 60:.1f} minutes, {steps / seconds:,.0f} steps/s. Mean raw return of the last 100 games of
all agents at the end: {facts["mean_return_last_100"]:.2f}; {GOAL:.0f} reached after: {there}.
Largest divergence / bound: {largest}.

{table(["agent", "policy", "mean return", "standard error", "min", "max"], lines)}

{evaluation["episodes"]} episodes each, raw returns, full games.

![learning curves](pong-learning.png)
![the epsilon-ball](pong-ball.png)
"""
    write("pong", facts, text)


if __name__ == "__main__":
    main()
