"""The simulation against real processes: 4 and 8 of them, with times injected into every update.

    python experiments/bench/simulation.py

Every agent is a process with the mailboxes and the mixing of training; its updates are random
vectors, and take as long as it is told to sleep. Messages are held up by the transport for faults.
Writes experiments/results/simulation.{json,md,png}.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import secrets
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recording import RESULTS, table, write

from gala.config.sections import FaultsConfig
from gala.gossip.connecting import with_faults
from gala.gossip.message import Identity
from gala.gossip.node import GossipNode
from gala.gossip.shared_memory import SharedMemoryTransport
from gala.simulation import Scenario, simulate
from gala.simulation.scenario import draw_factors
from gala.topology import load_topology

DIMENSION = 64
UPDATE_S = 0.05
JITTER = 0.2
SEEDS = 8
"""Predictions that are averaged."""
LATE_MS = 150.0
"""A run in which the machine held up a process for longer is repeated ..."""
MOST_TRIALS = 8
"""... so often at most."""
WARM = 0.1
"""Share of the run that is left out on both sides of the comparison."""


@dataclass(frozen=True)
class Case:
    """One run of processes."""

    topology: str
    agents: int
    speed: str
    latency_ms: float
    max_staleness: int | None
    updates: int

    @property
    def scenario(self) -> Scenario:
        return Scenario(
            updates=self.updates,
            update_s=UPDATE_S,
            speed=self.speed,
            update_jitter=JITTER,
            latency_s=self.latency_ms / 1e3,
            max_staleness=self.max_staleness,
            dimension=DIMENSION,
            parameters=DIMENSION,
        )

    @property
    def name(self) -> str:
        patience = "" if self.max_staleness is None else f", waits after {self.max_staleness}"
        return f"{self.speed}, {self.latency_ms:g} ms{patience}"


CONDITIONS = (
    ("constant", 0.0, None),
    ("constant", 75.0, None),
    ("straggler:1:3", 25.0, None),
    ("straggler:1:3", 25.0, 2),
)


def agent(case: Case, rank: int, run: str, folder: Path) -> None:
    """One process: sleep, add a random vector, publish, mix; write down what happened."""
    torch.set_num_threads(1)
    topology = load_topology(case.topology, case.agents)
    identity = Identity(run=run, topology=topology.hash, layout="00" * 8)
    vector = torch.zeros(DIMENSION)
    shared = SharedMemoryTransport(
        rank=rank, agents=case.agents, payload_bytes=4 * DIMENSION, identity=identity
    )
    transport = with_faults(shared, FaultsConfig(delay_ms=case.latency_ms), rank=rank, seed=rank)
    node = GossipNode(
        rank=rank,
        topology=topology,
        vector=vector,
        transport=transport,
        identity=identity,
        max_staleness=case.max_staleness,
    )
    dice = np.random.default_rng(rank)
    # every process draws the same speeds
    factor = draw_factors(case.speed, case.agents, np.random.default_rng(0))[rank]
    (folder / f"{rank}.ready").touch()
    while not (folder / "start").exists():
        time.sleep(0.01)
    start = float((folder / "start").read_text())
    rows: list[list[Any]] = []
    end = start + case.updates * UPDATE_S
    time.sleep(max(start + UPDATE_S * dice.random() - time.time(), 0.0))
    due = time.time()
    while True:
        due += UPDATE_S * factor * float(np.exp(JITTER * dice.standard_normal() - JITTER**2 / 2))
        if due > end:
            break
        time.sleep(max(due - time.time(), 0.0))
        step = dice.standard_normal(DIMENSION)
        vector += torch.from_numpy(step / np.linalg.norm(step)).float()
        before = node.patience.waited_s
        node.publish(update=len(rows) + 1, step=0)
        node.mix()
        late = time.time() - due - (node.patience.waited_s - before)
        due += node.patience.waited_s - before
        rows.append([time.time() - start, node.staleness, vector.tolist(), late])
    time.sleep(max(end + 0.2 - time.time(), 0.0))  # nobody leaves before the end
    (folder / f"{rank}.json").write_text(json.dumps(rows))
    node.close()


def measure(case: Case, folder: Path) -> dict[str, float]:
    """Run the processes of ``case``; mean staleness and divergence."""
    run = secrets.token_hex(8)
    fork = multiprocessing.get_context("fork")  # torch is loaded once, for all
    processes = [
        fork.Process(target=agent, args=(case, rank, run, folder)) for rank in range(case.agents)
    ]
    for process in processes:
        process.start()
    while len(list(folder.glob("*.ready"))) < case.agents:
        time.sleep(0.05)
    (folder / "start.new").write_text(repr(time.time() + 1.0))
    (folder / "start.new").rename(folder / "start")
    for process in processes:
        process.join()
    if any(process.exitcode for process in processes):
        raise SystemExit("an agent failed")
    rows = [json.loads((folder / f"{rank}.json").read_text()) for rank in range(case.agents)]
    seconds = case.updates * UPDATE_S
    grid = np.linspace(WARM * seconds, seconds, 400, endpoint=False)
    x = np.zeros((len(grid), case.agents, DIMENSION))
    staleness = []
    for rank, mine in enumerate(rows):
        times = np.array([row[0] for row in mine])
        vectors = np.vstack([np.zeros(DIMENSION), [row[2] for row in mine]])
        x[:, rank] = vectors[np.searchsorted(times, grid, side="right")]
        staleness += [row[1] for row in mine if row[0] >= WARM * seconds]
    late = max(row[3] for mine in rows for row in mine)
    centred = x - x.mean(axis=1, keepdims=True)
    return {
        "staleness": float(np.mean(staleness)),
        "divergence": float(np.linalg.norm(centred, axis=(1, 2)).mean()),
        "updates": len(staleness),
        "late_ms": 1e3 * late,
    }


def predict(case: Case) -> dict[str, float]:
    """The same from the simulation."""
    found = []
    for seed in range(SEEDS):
        p = simulate(load_topology(case.topology, case.agents), replace(case.scenario, seed=seed))
        late = np.array(p.tally.times) >= WARM * p.wall_clock_s
        found.append((p.tally.seen.mean, np.array(p.tally.divergence)[late].mean()))
    staleness, divergence = np.mean(found, axis=0)
    return {"staleness": float(staleness), "divergence": float(divergence)}


def draw(results: list[dict[str, Any]], path: Path) -> None:
    """Predicted against measured, with the corridor of 20 per cent."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9.5, 4.6), layout="constrained")
    colours = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
    names = list(dict.fromkeys(r["name"] for r in results))
    for axis, key, unit in zip(
        axes, ("staleness", "divergence"), ("updates since the last mix", "norms of one update"),
        strict=True,
    ):  # fmt: skip
        values = [r[side][key] for r in results for side in ("measured", "predicted")]
        ends = np.array([min(values) * 0.8, max(values) * 1.25])
        axis.fill_between(ends, 0.8 * ends, 1.2 * ends, color="0.93", label="within 20 %")
        axis.plot(ends, ends, color="0.6", linewidth=0.8)
        for r in results:
            axis.plot(
                r["measured"][key], r["predicted"][key], color=colours[names.index(r["name"])],
                marker={"ring": "o", "exponential": "s"}[r["case"]["topology"]],
                markerfacecolor="none" if r["case"]["agents"] == 4 else None, linestyle="none",
            )  # fmt: skip
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_xlim(*ends)
        axis.set_ylim(*ends)
        axis.set_title(f"mean {key}, {unit}", fontsize=10, loc="left")
        axis.set_xlabel("measured: processes")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("predicted: simulation")
    for name, colour in zip(names, colours, strict=False):
        axes[1].plot([], [], color=colour, marker="o", linestyle="none", label=name)
    axes[1].plot([], [], "o", color="0.3", markerfacecolor="none", label="4 agents (open)")
    axes[1].plot([], [], "s", color="0.3", label="square: exponential")
    axes[1].legend(frameon=False, fontsize=8, loc="upper left")
    figure.savefig(path, dpi=130)


def main() -> None:
    """Measure, predict, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--updates", type=int, default=300, help="per agent of speed 1")
    given = parser.parse_args()
    results: list[dict[str, Any]] = []
    for agents in (4, 8):
        for topology in ("ring", "exponential"):
            for speed, latency_ms, patience in CONDITIONS:
                case = Case(topology, agents, speed, latency_ms, patience, given.updates)
                for _ in range(MOST_TRIALS):
                    with tempfile.TemporaryDirectory() as folder:
                        measured = measure(case, Path(folder))
                    if measured["late_ms"] <= LATE_MS:
                        break
                    print(f"held up for {measured['late_ms']:.0f} ms: again", flush=True)
                predicted = predict(case)
                results.append(
                    {"name": case.name, "case": asdict(case), "measured": measured,
                     "predicted": predicted}
                )  # fmt: skip
                print(topology, agents, case.name, measured, predicted, flush=True)
    worst = 0.0
    rows = []
    for r in results:
        cells = [r["case"]["topology"], str(r["case"]["agents"]), r["name"]]
        for key in ("staleness", "divergence"):
            measured, predicted = r["measured"][key], r["predicted"][key]
            error = predicted / measured - 1
            worst = max(worst, abs(error))
            cells += [f"{measured:.3g}", f"{predicted:.3g}", f"{100 * error:+.0f} %"]
        rows.append(cells)
    header = [
        "topology", "processes", "speed, latency", "staleness measured", "predicted", "error",
        "divergence measured", "predicted", "error",
    ]  # fmt: skip
    text = (
        "# The simulation against real processes\n\n"
        f"An update takes {1e3 * UPDATE_S:g} ms on average, with a deviation of {JITTER:g} of its "
        f"logarithm, and adds a random vector of norm 1 in {DIMENSION} dimensions; staleness is "
        "the mean number of updates since the last mix after each exchange, divergence the mean "
        "distance of all agents from consensus. Predictions know the injected times and nothing "
        f"of the processes; a run in which the machine held up a process for more than "
        f"{LATE_MS:g} ms was repeated. Largest error: {100 * worst:.0f} %.\n\n"
        f"{table(header, rows)}\n\n![predicted against measured](simulation.png)\n"
    )
    RESULTS.mkdir(exist_ok=True)
    draw(results, RESULTS / "simulation.png")
    write("simulation", {"largest_error": worst, "results": results}, text)


if __name__ == "__main__":
    main()
