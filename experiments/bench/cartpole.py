"""CartPole-v1 with 4 agents under gossip, allreduce and none, several seeds each.

    python experiments/bench/cartpole.py --seeds 1 2 3 4 5

Writes experiments/results/cartpole.{json,md,png}.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from recording import RESULTS, records, table, train, write

AGENTS = 4
SOLVED = 475.0
COUPLINGS = ("gossip", "allreduce", "none")
COLORS = {"gossip": "#0072B2", "allreduce": "#D55E00", "none": "#009E73"}


def curve(run: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Steps of all agents, seconds since the first record, mean return of the last 100 games."""
    rows = records(run)
    start = min(each[0]["t"] for each in rows.values())
    end = max(each[-1]["t"] for each in rows.values())
    grid = np.linspace(start, end, 200)
    steps = sum(
        np.interp(grid, [r["t"] for r in each], [r["step"] for r in each]) for each in rows.values()
    )
    returns = np.mean(
        [
            np.interp(
                grid,
                [r["t"] for r in each],
                [r["charts/episodic_return"] or 0.0 for r in each],
            )
            for each in rows.values()
        ],
        axis=0,
    )
    return np.asarray(steps), grid - start, returns


def measure(coupling: str, seed: int, folder: Path) -> dict[str, Any]:
    """Train once; what came out."""
    run = folder / f"{coupling}-{seed}"
    seconds = train(
        run, "experiments/cartpole.yaml", "--agents", AGENTS, "--coupling", coupling,
        "--seed", seed,
    )  # fmt: skip
    steps, since, returns = curve(run)
    last = [each[-1] for each in records(run).values()]
    ratios = [
        r["divergence/epsilon_ratio"]
        for each in records(run).values()
        for r in each
        if r.get("divergence/epsilon_ratio") is not None
    ]
    return {
        "coupling": coupling,
        "seed": seed,
        "seconds": seconds,
        "steps": int(sum(r["step"] for r in last)),
        "return": float(np.mean([r["charts/episodic_return"] for r in last])),
        "lowest_agent": float(min(r["charts/episodic_return"] for r in last)),
        "largest_epsilon_ratio": max(ratios, default=None),
        "curve": {"steps": steps.tolist(), "seconds": since.tolist(), "return": returns.tolist()},
    }


def draw(results: list[dict[str, Any]], path: Path) -> None:
    """Learning curves over steps and over time: mean and range of the seeds."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(10, 3.8), sharey=True, layout="constrained")
    for coupling in COUPLINGS:
        mine = [r for r in results if r["coupling"] == coupling]
        if not mine:
            continue
        for axis, x, unit in zip(axes, ("steps", "seconds"), (1e6, 1), strict=True):
            grid = np.linspace(0, min(max(r["curve"][x]) for r in mine), 200)
            rows = [np.interp(grid, r["curve"][x], r["curve"]["return"]) for r in mine]
            axis.plot(grid / unit, np.mean(rows, 0), color=COLORS[coupling], label=coupling)
            axis.fill_between(
                grid / unit, np.min(rows, 0), np.max(rows, 0), color=COLORS[coupling], alpha=0.15
            )
    for axis, label in zip(axes, ("million steps of all agents", "seconds"), strict=True):
        axis.axhline(SOLVED, color="0.5", linewidth=0.8, linestyle="--")
        axis.set_xlabel(label)
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("return, last 100 games of each agent")
    axes[0].legend(frameon=False, loc="lower right")
    seeds = len({r["seed"] for r in results})
    figure.suptitle(f"CartPole-v1, {AGENTS} agents: mean and range of {seeds} seeds")
    figure.savefig(path, dpi=130)


def main() -> None:
    """Measure, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--couplings", nargs="+", default=list(COUPLINGS), choices=COUPLINGS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = [
            measure(coupling, seed, Path(folder))
            for seed in options.seeds  # couplings take turns, so that all see the same machine
            for coupling in options.couplings
        ]
    rows = []
    for coupling in options.couplings:
        mine = [r for r in results if r["coupling"] == coupling]
        ratios = [
            r["largest_epsilon_ratio"] for r in mine if r["largest_epsilon_ratio"] is not None
        ]
        rows.append(
            [
                coupling,
                " ".join(f"{r['return']:.0f}" for r in mine),
                f"{sum(r['return'] >= SOLVED for r in mine)} of {len(mine)}",
                f"{np.median([r['seconds'] for r in mine]):.0f} "
                f"({max(r['seconds'] for r in mine):.0f})",
                f"{np.median([r['steps'] / r['seconds'] for r in mine]):,.0f}",
                f"{max(ratios):.2f}" if ratios else "no bound applies",
            ]
        )
    header = [
        "coupling",
        "return, last 100 games of each agent, by seed",
        f">= {SOLVED:.0f}",
        "seconds, launch included: median (most)",
        "steps/s, launch included",
        "largest divergence / bound",
    ]
    text = f"# CartPole-v1, {AGENTS} agents\n\n{table(header, rows)}\n\n![curves](cartpole.png)\n"
    draw(results, RESULTS / "cartpole.png")
    write("cartpole", {"results": results}, text)


if __name__ == "__main__":
    main()
