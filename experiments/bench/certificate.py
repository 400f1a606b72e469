"""What certificates cost: writing records at each update, and walking them at a tick.

    python experiments/bench/certificate.py [--seconds 120] [--agents 4 8 16 32 64]

First the records of an update with two and with six neighbours, beside the time of an update on
CartPole (a short run of one agent). Then N agents are made up that do 20 updates a second each, at
their own pace, and mix with whoever is fresh, as the files of a run folder; the newest cut is
certified from those files as an agent does it. Run it on a machine that does nothing else. Results:
experiments/results/certificate.{json,md}.
"""

from __future__ import annotations

import argparse
import heapq
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from recording import records, table, train, write

from gala.divergence import certifier
from gala.divergence.certificate import Certificate
from gala.divergence.certifier import Certifier
from gala.telemetry.history import NAME, History, begin_tick
from gala.telemetry.sketches import SketchWriter
from gala.topology import load_topology

RATE = 20.0
"""Updates of each agent in a second."""
EVERY_S = 5.0
"""Seconds between ticks: the default of --divergence.every-s."""
SKETCH = 256
REPEATS = 3
Row = dict[str, Any]


@dataclass(frozen=True)
class Heard:
    """What a record says of a message."""

    incarnation: int
    version: int


def record_us(neighbours: int, updates: int = 20_000) -> float:
    """Processor time of an update's records: a step, a message, a mix with all; microseconds."""
    with tempfile.TemporaryDirectory() as folder:
        history = History(Path(folder) / NAME, incarnation=0)
        weights = dict.fromkeys(range(neighbours), 1.0 / (neighbours + 1))
        messages = {j: Heard(0, 1) for j in range(neighbours)}
        began = time.process_time()
        for update in range(updates):
            history.step(update, 1.0)
            history.published(update, 0.0)
            history.mixed(weights, messages)
        took = time.process_time() - began
        history.close()
    return took / updates * 1e6


def update_us(steps: int = 60_000) -> float:
    """Microseconds of an update on CartPole, of one agent alone."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run"
        train(path, "cartpole", "--agents", 1, "--total-steps", steps, "--log.tensorboard", "false")
        rows = records(path)[0]
    first, last = rows[len(rows) // 4], rows[-1]
    return float((last["t"] - first["t"]) / (last["update"] - first["update"]) * 1e6)


def make_up(run: Path, name: str, agents: int, seconds: float) -> list[dict[int, float]]:
    """Files of agents whose parameters have as many elements as a sketch.

    Returns:
        Of each tick the time of each agent's sketch.
    """
    topology, dice = load_topology(name, agents), np.random.default_rng(0)
    histories, writers = [], []
    for rank in range(agents):
        (folder := run / f"rank_{rank:02d}").mkdir(parents=True)
        histories.append(History(folder / NAME, incarnation=0))
        writers.append(SketchWriter(folder / "sketches.bin", SKETCH))
    x = np.zeros((agents, SKETCH))
    sent, version, used = x.copy(), [0] * agents, [dict[int, int]() for _ in range(agents)]

    def cut(rank: int, tick: int, t: float) -> None:
        histories[rank].cut(tick, t)
        writers[rank].append(
            t=t, tick=tick, update=version[rank], step=0, incarnation=0, mix_every=1, delay=0,
            norm=float(np.linalg.norm(x[rank])), update_norm=1.0, sketch=x[rank].astype(np.float32),
        )  # fmt: skip

    def update(rank: int) -> None:
        step = dice.standard_normal(SKETCH)
        x[rank] += step
        version[rank] += 1
        histories[rank].step(version[rank], float(np.linalg.norm(step)))
        sent[rank] = x[rank]
        histories[rank].published(version[rank], 0.0)
        _, row = topology.row(rank, version[rank])
        row = {j: w for j, w in row.items() if version[j] > used[rank].get(j, 0)}
        x[rank] = (1 - sum(row.values())) * x[rank] + sum(w * sent[j] for j, w in row.items())
        used[rank] |= {j: version[j] for j in row}
        histories[rank].mixed(row, {j: Heard(0, version[j]) for j in row})

    cuts: list[dict[int, float]] = []
    for rank in range(agents):
        cut(rank, begin_tick(0), 0.0)
    due = [(float(dice.uniform(0, 1 / RATE)), rank) for rank in range(agents)]
    heapq.heapify(due)
    while (now := due[0][0]) < seconds:
        _, rank = heapq.heappop(due)
        update(rank)
        tick = int(now / EVERY_S)
        if tick and (len(cuts) < tick or rank not in cuts[tick - 1]):
            if len(cuts) < tick:
                cuts.append({})
            cuts[tick - 1][rank] = now
            cut(rank, tick, now)
        heapq.heappush(due, (now + float(dice.uniform(0.5, 1.5)) / RATE, rank))
    for history in histories:
        history.close()
    for writer in writers:
        writer.close()
    return cuts


def certificate(name: str, agents: int, seconds: float) -> Row:
    """Processor time of the newest cut's certificate, once the window has found its length."""
    certifier.SHARE = 1e9  # every tick: what is left out otherwise is what this is about
    with tempfile.TemporaryDirectory() as folder:
        cuts = make_up(Path(folder), name, agents, seconds)
        certify, times = Certifier(Path(folder), agents, SKETCH), []
        for tick in range(max(len(cuts) - REPEATS - 2, 1), len(cuts)):
            began = time.process_time()
            made = certify.certify(tick, cuts[tick - 1])
            times.append(time.process_time() - began)
            assert isinstance(made, Certificate), made
            found = made
    took = statistics.median(times[-REPEATS:])
    return {
        "topology": name, "agents": agents, "seconds": took, "share": took / EVERY_S,
        "steps": found.steps, "beginning": found.beginning / found.epsilon,
    }  # fmt: skip


def markdown(records_: list[Row], update: float, rows: list[Row]) -> str:
    """Both tables."""
    first = table(
        ["neighbours", "records of an update", "share of an update on CartPole"],
        [
            [str(r["neighbours"]), f"{r['us']:.1f} us", f"{100 * r['us'] / update:.2f} %"]
            for r in records_
        ],
    )
    second = table(
        ["graph", "agents", "one certificate", "of a core, one at each tick", "updates weighed",
         "measured beginning"],
        [
            [r["topology"], str(r["agents"]), f"{1e3 * r['seconds']:.0f} ms",
             f"{100 * r['share']:.1f} %", f"{r['steps']:,}", f"{100 * r['beginning']:.1f} %"]
            for r in rows
        ],
    )  # fmt: skip
    return (
        f"# What certificates cost\n\n## Records\n\nAn update on CartPole takes {update:,.0f} us; "
        f"wanted: less than 0.5 % of it.\n\n{first}\n\n## Walks\n\nAgents that do {RATE:g} updates "
        f"a second each, ticks {EVERY_S:g} s apart. An agent gives certificates "
        f"{100 * 0.01:g} % of its time at most and leaves out ticks where that is not enough."
        f"\n\n{second}\n"
    )


def main() -> None:
    """Measure, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=120.0, help="of the made-up runs")
    parser.add_argument("--agents", type=int, nargs="+", default=[4, 8, 16, 32, 64])
    options = parser.parse_args()
    written = [{"neighbours": n, "us": record_us(n)} for n in (2, 6)]
    update = update_us()
    rows = []
    for name in ("ring", "exponential"):
        for agents in options.agents:
            rows.append(certificate(name, agents, options.seconds))
            print(rows[-1], flush=True)
    data = {"update_us": update, "records": written, "walks": rows}
    write("certificate", data, markdown(written, update, rows))


if __name__ == "__main__":
    main()
