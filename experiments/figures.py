"""The two pictures of a run: every agent's learning curve, and divergence within its bound.

    python experiments/figures.py runs/NAME docs/images

Writes NAME-learning.png and NAME-ball.png into the folder.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from gala.telemetry.reader import RunReader, Tail

Record = dict[str, Any]
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")


def load(run: Path) -> dict[int, list[Record]]:
    """Metric records of each agent."""
    found = {}
    for path in sorted(run.glob("rank_*/metrics.jsonl")):
        found[int(path.parent.name[5:])] = [r for r in Tail(path).read() if "event" not in r]
    return found


def total_steps(rows: dict[int, list[Record]], times: np.ndarray) -> np.ndarray:
    """Steps of all agents at ``times``."""
    steps = [
        np.interp(times, [r["t"] for r in each], [r["step"] for r in each])
        for each in rows.values()
    ]
    return np.asarray(np.sum(steps, axis=0))


def series(rows: dict[int, list[Record]], rank: int, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Million steps of all agents and values of one metric of one agent, where it has any."""
    mine = [r for r in rows[rank] if r.get(name) is not None]
    times = np.array([r["t"] for r in mine])
    return total_steps(rows, times) / 1e6, np.array([r[name] for r in mine])


def _axes(title: str) -> tuple[Any, Any]:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(7.5, 4.0), layout="constrained")
    axis.set_title(title, loc="left", fontsize=11)
    axis.set_xlabel("million steps of all agents")
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
    return figure, axis


def draw_learning(run: Path, path: Path) -> None:
    """Mean return of the last 100 games of each agent, over steps of all agents."""
    rows, meta = load(run), RunReader(run).meta
    figure, axis = _axes(f"{meta['env_id']}: {meta['agents']} agents, {meta['coupling']}")
    for rank in rows:
        x, y = series(rows, rank, "charts/episodic_return")
        axis.plot(x, y, color=COLORS[rank % len(COLORS)], linewidth=1.4, label=f"agent {rank}")
    axis.set_ylabel("raw return, last 100 games")
    axis.legend(frameon=False)
    figure.savefig(path, dpi=130)


def draw_ball(run: Path, path: Path) -> None:
    """Divergence of all agents, its expectation and its bound, over steps of all agents."""
    rows, meta = load(run), RunReader(run).meta
    figure, axis = _axes(f"{meta['env_id']}: the epsilon-ball of {meta['agents']} agents")
    lines = (
        ("divergence/epsilon", "#D55E00", "bound: worst case", 1.4),
        ("divergence/expected", "#E69F00", "expectation: independent updates", 1.0),
        ("divergence/total", "#0072B2", "measured", 1.4),
    )
    for name, color, label, width in lines:
        x, y = series(rows, 0, name)
        if len(x):
            axis.semilogy(x, y, color=color, linewidth=width, label=label)
    axis.set_ylabel("distance from consensus, L2 norm")
    axis.legend(frameon=False)
    _, ratio = series(rows, 0, "divergence/epsilon_ratio")
    if len(ratio):
        axis.annotate(
            f"largest measured / bound: {ratio.max():.2g}",
            (0.99, 0.02), xycoords="axes fraction", ha="right", fontsize=9, color="0.3",
        )  # fmt: skip
    figure.savefig(path, dpi=130)


def main() -> None:
    """Draw both pictures of one run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--name", help="of the files; the run's name when not given")
    options = parser.parse_args()
    name = options.name or options.run.resolve().name
    options.folder.mkdir(parents=True, exist_ok=True)
    draw_learning(options.run, options.folder / f"{name}-learning.png")
    draw_ball(options.run, options.folder / f"{name}-ball.png")


if __name__ == "__main__":
    main()
