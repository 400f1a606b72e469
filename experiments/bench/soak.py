"""Half an hour of faults of every kind: is anything torn, does anything grow, is anything left?

    python experiments/bench/soak.py [--minutes 30] [--agents 12] [--every 5] [--seed 1]

Agents train over shared memory and then over gloo, half of the time each, while a seeded dice kills
(SIGKILL), crashes (SIGSEGV) and stops (SIGSTOP) them, and `--faults.at` brings NaN, full disks,
deadlocks and cut networks from within. Two agents, the witnesses, are never killed: what grows
with each return of a neighbour grows there. Writes experiments/results/soak.{json,md}; exit code 1
when a check fails.
"""

from __future__ import annotations

import argparse
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recording import table, write

from gala.agent.faults import continue_after
from gala.bench.live_run import LiveRun
from gala.files import shipped
from gala.gossip.shared_memory import folder_of
from gala.run.config import load

BLOWS = {"kill": signal.SIGKILL, "segv": signal.SIGSEGV, "stop": signal.SIGSTOP}
INJECTED = ("nan", "disk-full", "drop-network", "deadlock")
LINES = ("collect", "learn", "publish", "mix", "save")
INCARNATIONS = 6
"""Of each agent that faults are prepared for."""
START_S = 900.0
"""Twelve agents on two cores need minutes to load their libraries."""
CALIBRATION_S = 15.0
TORN = tuple(
    f"gossip/refused/{reason}" for reason in ("magic", "format", "header", "numbers", "checksum")
)
GROWTH = {"threads": (1.0, 2.0), "files": (1.0, 4.0), "mib": (1.2, 32.0)}
"""What the last third of a witness' life may have: so many times the first third, and so much."""


def witnesses(agents: int) -> tuple[int, ...]:
    """Agents that are never killed."""
    return (0, agents // 2) if agents > 3 else (0,)


def prepared(dice: random.Random, agents: int, updates: int) -> list[str]:
    """Faults from within, of each agent and incarnation; deadlocks once an agent.

    A disk is full in first incarnations only, and early: the end has to be recorded.
    """
    found = []
    for rank in range(agents):
        last = 1 if rank in witnesses(agents) else INCARNATIONS
        for incarnation in range(last):
            alone = incarnation > 0 or rank in witnesses(agents)
            kinds = [kind for kind in INJECTED if not (alone and kind == "deadlock")]
            kinds = [kind for kind in kinds if incarnation == 0 or kind != "disk-full"]
            kind, latest = dice.choice(kinds), updates // 2 if incarnation == 0 else updates
            seconds = f",seconds={dice.uniform(0.5, 5.0):.1f}" if kind in INJECTED[1:3] else ""
            found.append(
                f"rank={rank},update={dice.randint(1, max(latest, 1))},kind={kind},"
                f"where={dice.choice(LINES)},incarnation={incarnation}{seconds}"
            )
    return found


def footprint(pid: int) -> dict[str, float] | None:
    """Threads, open files and resident MiB of a process; None when it is gone."""
    proc = Path(f"/proc/{pid}")
    try:
        status = dict(line.split(":", 1) for line in (proc / "status").read_text().splitlines())
        return {
            "threads": int(status["Threads"]),
            "files": len(list((proc / "fd").iterdir())),
            "mib": int(status["VmRSS"].split()[0]) / 1024,
        }
    except (OSError, KeyError, ValueError):
        return None


def grown(samples: Sequence[dict[str, float]]) -> dict[str, tuple[float, float]]:
    """Medians of the first and the last third."""
    third = max(len(samples) // 3, 1)
    return {
        key: (
            statistics.median(each[key] for each in samples[:third]),
            statistics.median(each[key] for each in samples[-third:]),
        )
        for key in GROWTH
        if samples
    }


def too_much(before: float, after: float, key: str) -> bool:
    """Whether that is growth."""
    factor, more = GROWTH[key]
    return after > before * factor + more


class Soak:
    """One run under fire.

    Args:
        live: the run.
        dice: decides.
        every: mean seconds between blows.
        settle: an agent that trained for so many seconds may be struck.
    """

    def __init__(self, live: LiveRun, dice: random.Random, every: float, settle: float) -> None:
        self.live, self._dice, self._every, self._settle = live, dice, every, settle
        self.blows: Counter[str] = Counter()
        self.samples: dict[int, list[dict[str, float]]] = {r: [] for r in witnesses(live.agents)}
        self.mailboxes = 0
        self._continuing: list[subprocess.Popen[bytes]] = []

    def run(self) -> int:
        """Strike until all steps are done; returns the exit code."""
        live = self.live
        live.wait_until(lambda: all(live.records.values()), timeout_s=START_S)
        self.run_id = live._reader.meta["run_id"]
        strike_at = time.monotonic() + self._dice.expovariate(1 / self._every)
        look_at = 0.0
        while live.process.poll() is None:
            live.poll()
            now = time.monotonic()
            if now >= look_at:
                self._look()
                look_at = now + 1.0
            if now >= strike_at:
                self._strike()
                strike_at = now + self._dice.expovariate(1 / self._every)
            time.sleep(0.05)
        for process in self._continuing:
            process.wait()
        return live.finish(stop=False)

    def _look(self) -> None:
        for rank, samples in self.samples.items():
            found = footprint(self.live.pid(rank))
            if found is not None:
                samples.append(found)
        folder = folder_of(self.run_id)
        self.mailboxes = max(self.mailboxes, len(list(folder.glob("*"))) if folder.exists() else 0)

    def _strike(self) -> None:
        rank = self._dice.randrange(self.live.agents)
        name = self._dice.choice(list(BLOWS))
        if rank in self.samples:
            name = "stop"
        if not self._settled(rank):
            return
        pid = self.live.pid(rank)
        if name == "stop":  # a process of its own continues it: also when this one is killed
            self._continuing.append(continue_after(pid, self._dice.uniform(0.5, 3.0)))
        self.live.signal(rank, BLOWS[name])
        self.blows[name] += 1

    def _settled(self, rank: int) -> bool:
        rows = self.live.records[rank]
        first = next(r for r in rows if r["incarnation"] == rows[-1]["incarnation"])
        return bool(rows[-1]["t"] - first["t"] >= self._settle)


def facts_of(soak: Soak, code: int, total: int, seconds: float) -> dict[str, Any]:
    """What happened, and what of it should not have."""
    live = soak.live
    injected = Counter(
        event["message"].split()[1] for event in live.events
        if event["event"] == "fault" and event["message"].startswith("injected: ")
    )  # fmt: skip
    rows = [row for each in live.records.values() for row in each]
    steps = dict.fromkeys(live.records, 0)
    for row in [*rows, *live.events]:  # who was killed at the very end tells it in an event
        steps[row["rank"]] = max(steps[row["rank"]], row["step"])
    torn = sum(
        max((row.get(name) or 0 for row in rows), default=0) for name in TORN
    )  # each counts from 0 in an incarnation
    growth = {rank: grown(samples) for rank, samples in soak.samples.items()}
    left = folder_of(soak.run_id).exists()
    lives = {rank: each[-1]["incarnation"] + 1 for rank, each in live.records.items()}
    failures = [f"exit code {code}"] * (code != 0)
    failures += [f"{torn} messages were torn"] * (torn > 0)
    failures += ["steps are missing"] * (sum(steps.values()) < total)
    failures += ["mailboxes are left in shared memory"] * left
    failures += ["more mailboxes than agents"] * (soak.mailboxes > live.agents)
    failures += [
        f"{key} of agent {rank} grew from {before:.0f} to {after:.0f}"
        for rank, found in growth.items()
        for key, (before, after) in found.items()
        if too_much(before, after, key)
    ]
    return {
        "seconds": seconds, "exit_code": code, "total_steps": total, "steps": steps,
        "blows": dict(soak.blows), "injected": dict(injected), "incarnations": lives,
        "torn": torn, "left_in_shared_memory": left, "most_mailboxes": soak.mailboxes,
        "growth": growth, "failures": failures,
    }  # fmt: skip


def arguments_of(options: argparse.Namespace, transport: str, total: int) -> list[object]:
    """Of ``gala train``."""
    return [
        options.experiment, "--total-steps", total, "--gossip.transport", transport,
        "--topology", "ring", "--log.no-tensorboard", "--threads", 1,
        "--checkpoint.every-steps", max(total // 200, 1),
    ]  # fmt: skip


def steps_for(options: argparse.Namespace, transport: str, seconds: float, folder: Path) -> int:
    """Steps of all agents that take so long, from a short run without faults."""
    arguments = arguments_of(options, transport, 10**9)
    live = LiveRun(folder / f"calibration-{transport}", options.agents, *arguments)
    try:
        live.wait_until(live.all_train, timeout_s=START_S)
        began = time.time()
        live.watch(CALIBRATION_S)
        rate = live.rate(list(range(options.agents)), began, time.time())
    finally:
        live.finish()
    return max(int(rate * seconds), 1)


def soak_over(options: argparse.Namespace, transport: str, folder: Path) -> dict[str, Any]:
    """One transport, from the launch to the end."""
    dice = random.Random(f"{options.seed}/{transport}")
    seconds = 60 * options.minutes / len(options.transports)
    total = options.total_steps or steps_for(options, transport, seconds, folder)
    config = load(shipped.resolve("experiments", options.experiment))
    updates = total // (config.learning.n_step * config.env.num_envs * options.agents)
    faults = prepared(dice, options.agents, updates)
    began = time.monotonic()
    live = LiveRun(
        folder / transport, options.agents, *arguments_of(options, transport, total),
        "--faults.at", ";".join(faults),
    )  # fmt: skip
    soak = Soak(live, dice, options.every, options.settle)
    try:
        code = soak.run()
    finally:
        live.finish()
    return facts_of(soak, code, total, time.monotonic() - began)


def text_of(results: dict[str, dict[str, Any]], options: argparse.Namespace) -> str:
    """The page."""
    counts = sum(sum((r["blows"] | r["injected"]).values()) for r in results.values())
    minutes = sum(r["seconds"] for r in results.values()) / 60
    lines = []
    for transport, found in results.items():
        blows = Counter(found["blows"]) + Counter(found["injected"])
        lines.append([
            transport, f"{found['seconds'] / 60:.0f}",
            ", ".join(f"{count} {kind}" for kind, count in sorted(blows.items())),
            f"{sum(found['incarnations'].values()) - options.agents}", str(found["exit_code"]),
            f"{sum(found['steps'].values()):,} of {found['total_steps']:,}", str(found["torn"]),
            "; ".join(found["failures"]) or "none",
        ])  # fmt: skip
    header = ["transport", "minutes", "faults", "restarts", "exit code", "steps", "torn messages",
              "failed checks"]  # fmt: skip
    growth = [
        [
            transport, str(rank),
            *(f"{found[key][0]:.0f} / {found[key][1]:.0f}" for key in GROWTH if key in found),
        ]
        for transport, each in results.items() for rank, found in each["growth"].items()
    ]  # fmt: skip
    return f"""# Soak: {counts} faults in {minutes:.0f} minutes

{Path(options.experiment).stem}, {options.agents} agents on a ring; faults at random, seed
{options.seed}. Kill, segv and some of the stops are signals; the others come from within
(`--faults.at`), at any line of the loop.

{table(header, lines)}

Agents that were never killed: medians of the first and the last third of their life.

{table(["transport", "agent", "threads", "open files", "resident MiB"], growth)}
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Disturb runs, look what is left, write; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="of all transports together")
    parser.add_argument("--agents", type=int, default=12)
    parser.add_argument("--every", type=float, default=5.0, help="mean seconds between signals")
    parser.add_argument("--settle", type=float, default=6.0, help="seconds after a restart")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--experiment", default="cartpole")
    parser.add_argument("--total-steps", type=int, help="instead of as many as the minutes take")
    parser.add_argument("--transports", nargs="+", default=["shared-memory", "gloo"])
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        results = {name: soak_over(options, name, Path(folder)) for name in options.transports}
    write("soak", {"agents": options.agents, "seed": options.seed, "transports": results},
          text_of(results, options))  # fmt: skip
    failures = [f"{name}: {each}" for name, r in results.items() for each in r["failures"]]
    for failure in failures:
        print(f"soak: {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
