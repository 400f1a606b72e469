"""Two hundred kills in ten minutes: actors and workers die, does training go on?

    python experiments/bench/actor_kills.py [--minutes 10] [--kills 200] [--agents 2] [--actors 4]

V-trace on CartPole, first with actors that have a policy each, then with workers that only step,
half of the time each. Always the process that has lived longest is killed (SIGKILL). Writes
experiments/results/actor-kills.{json,md}; exit code 1 when a check fails.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recording import table, write
from soak import footprint, grown, too_much

from gala.bench.live_run import LiveRun
from gala.gossip.shared_memory import folder_of

MODES = {"actors with a policy each": "own", "workers that only step": "central"}
START_S = 300.0
PAUSE_S = 30.0
"""Longest time that an agent may be without an update, on a machine that starts processes."""


def children(pid: int) -> list[int]:
    """Actor processes of an agent, those that have lived longest first."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with contextlib.suppress(OSError, IndexError):
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            command = (folder / "cmdline").read_bytes()
            if int(fields[1]) == pid and b"gala.actors." in command:
                found.append((int(fields[19]), int(folder.name)))
    return [child for _, child in sorted(found)]


def longest_pause(run: LiveRun, began: float, ended: float) -> float:
    """Longest time between two records of an agent with new updates, in seconds."""
    pauses = [0.0]
    for rows in run.records.values():
        last_t, last_update = began, -1
        for row in [r for r in rows if began <= r["t"] <= ended]:
            if row["update"] > last_update:
                pauses.append(row["t"] - last_t)
                last_t, last_update = row["t"], row["update"]
        pauses.append(ended - last_t)
    return max(pauses)


def under_fire(options: argparse.Namespace, mode: str, folder: Path) -> dict[str, Any]:
    """One way of acting, from the launch to the end."""
    live = LiveRun(
        folder / mode, options.agents, "cartpole", "--algorithm", "vtrace",
        "--actors.count", options.actors, "--actors.inference", mode, "--total-steps", 10**9,
        "--threads", 1, "--log.no-tensorboard", "--log.every-s", 1,
    )  # fmt: skip
    kills, samples = 0, [[] for _ in range(options.agents)]  # type: ignore[var-annotated]
    seconds, wanted = 60 * options.minutes / len(MODES), options.kills // len(MODES)
    try:
        live.wait_until(live.all_train, timeout_s=START_S)
        run_id, began = live._reader.meta["run_id"], time.time()
        pids = [live.pid(rank) for rank in range(options.agents)]
        while kills < wanted:
            live.watch(max(began + (kills + 1) * seconds / wanted - time.time(), 0.0))
            rank = kills % options.agents
            alive = children(pids[rank])
            if alive:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(alive[0], signal.SIGKILL)
                    kills += 1
            for pid, mine in zip(pids, samples, strict=True):
                found = footprint(pid)
                if found is not None:
                    mine.append(found)
        live.wait_until(lambda: time.time() > began + kills * seconds / wanted + 10.0)
        ended, same = time.time(), pids == [live.pid(rank) for rank in range(options.agents)]
        actors = sum(len(children(pid)) for pid in pids)
    finally:
        code = live.finish()
    told = sum(event["event"] == "actor" for event in live.events)
    damaged = sum("is damaged" in event["message"] for event in live.events)
    pause, left = longest_pause(live, began, ended), folder_of(run_id).exists()
    growth = {rank: grown(mine) for rank, mine in enumerate(samples)}
    failures = [f"exit code {code}"] * (code != 0)
    failures += ["an agent was restarted"] * (not same)
    failures += [f"{actors} actors at the end"] * (actors != options.agents * options.actors)
    failures += [f"{told} deaths were told of {kills}"] * (told < kills)
    failures += [f"{damaged} unrolls were torn"] * (damaged > 0)
    failures += [f"no update for {pause:.0f} s"] * (pause > PAUSE_S)
    failures += ["something is left in shared memory"] * left
    failures += [
        f"{key} of agent {rank} grew from {before:.0f} to {after:.0f}"
        for rank, found in growth.items()
        for key, (before, after) in found.items()
        if too_much(before, after, key)
    ]
    updates = sum(rows[-1]["update"] for rows in live.records.values())
    return {
        "kills": kills, "told": told, "seconds": ended - began, "updates": updates,
        "longest_pause_s": pause, "damaged": damaged, "exit_code": code, "growth": growth,
        "failures": failures,
    }  # fmt: skip


def text_of(results: dict[str, dict[str, Any]], options: argparse.Namespace) -> str:
    """The page."""
    rows = [
        [
            shown, f"{r['kills']} in {r['seconds'] / 60:.1f} minutes", str(r["told"]),
            f"{r['updates']:,}", f"{r['longest_pause_s']:.1f}", str(r["damaged"]),
            str(r["exit_code"]), "; ".join(r["failures"]) or "none",
        ]
        for shown, r in results.items()
    ]  # fmt: skip
    header = [
        "who acts", "kills (SIGKILL)", "told", "updates",
        "longest time between records with new updates, s", "torn unrolls", "exit code", "failures",
    ]  # fmt: skip
    return f"""# Actors that are killed

{options.agents} agents that gossip, V-trace on CartPole, {options.actors} actors each; always the
one that has lived longest is killed. Checked: every death is told and every actor replaced, no
agent is restarted, no unroll is torn, nothing is left in shared memory, threads, files and memory
of the agents do not grow, exit code 0.

{table(header, rows)}
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Kill, check, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--agents", type=int, default=2)
    parser.add_argument("--actors", type=int, default=4)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        results = {shown: under_fire(options, mode, Path(folder)) for shown, mode in MODES.items()}
    write("actor-kills", {"results": results}, text_of(results, options))
    return int(any(found["failures"] for found in results.values()))


if __name__ == "__main__":
    sys.exit(main())
