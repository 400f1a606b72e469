"""Ten minutes of random kills, crashes and stops: is anything left behind, does anything grow?

    python experiments/bench/soak.py [--minutes 11] [--every 5] [--seed 1]

Writes experiments/results/soak.{json,md}.
"""

from __future__ import annotations

import argparse
import random
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

from recording import table, write

from gala.bench.live_run import LiveRun
from gala.gossip.shared_memory import folder_of

AGENTS = 4


def footprint(live: LiveRun) -> dict[int, dict[str, float]]:
    """Threads, open files and resident MiB of each living agent."""
    found = {}
    for rank in range(AGENTS):
        proc = Path(f"/proc/{live.pid(rank)}")
        try:
            status = dict(line.split(":", 1) for line in (proc / "status").read_text().splitlines())
            found[rank] = {
                "threads": int(status["Threads"]),
                "files": len(list((proc / "fd").iterdir())),
                "mib": int(status["VmRSS"].split()[0]) / 1024,
                "life": live.records[rank][-1]["incarnation"],
            }
        except (OSError, KeyError, IndexError):
            continue
    return found


def main() -> None:
    """Disturb a run, look what is left, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=11.0)
    parser.add_argument("--every", type=float, default=5.0, help="mean seconds between blows")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    dice = random.Random(options.seed)
    blows = {"SIGKILL": 0, "SIGSEGV": 0, "SIGSTOP": 0}
    with tempfile.TemporaryDirectory() as folder:
        live = LiveRun(
            Path(folder) / "run", AGENTS, "cartpole", "--total-steps", 10**9,
            "--log.no-tensorboard", "--checkpoint.every-steps", 100_000,
        )  # fmt: skip
        live.wait_until(live.all_train)
        run_id = live._reader.meta["run_id"]
        live.watch(20)
        before = footprint(live)
        began = time.monotonic()
        while time.monotonic() - began < 60 * options.minutes:
            live.watch(dice.expovariate(1 / options.every))
            victim, name = dice.randrange(AGENTS), dice.choice(list(blows))
            live.signal(victim, getattr(signal, name))
            blows[name] += 1
            if name == "SIGSTOP":
                live.watch(dice.uniform(0.5, 3.0))
                live.signal(victim, signal.SIGCONT)
        seconds = time.monotonic() - began
        marks = {rank: live.records[rank][-1]["t"] for rank in range(AGENTS)}
        live.wait_until(
            lambda: all(live.records[rank][-1]["t"] > marks[rank] + 20 for rank in range(AGENTS))
        )
        after = footprint(live)
        code = live.finish()
        steps = {rank: rows[-1]["step"] for rank, rows in live.records.items()}
        returns = [rows[-1]["charts/episodic_return"] for rows in live.records.values()]
        ratios = [
            row["divergence/epsilon_ratio"]
            for rows in live.records.values()
            for row in rows
            if row.get("divergence/epsilon_ratio") is not None
        ]
        # steps must never be forgotten: each agent's count only grows, over all of its incarnations
        forgot = sum(
            later["step"] < earlier["step"]
            for rows in live.records.values()
            for earlier, later in zip(rows, rows[1:], strict=False)
        )
    left = folder_of(run_id).exists()
    lives = {rank: int(facts["life"]) + 1 for rank, facts in after.items()}
    facts: dict[str, Any] = {
        "seconds": seconds, "blows": blows, "exit_code": code, "lives": lives, "steps": steps,
        "returns": returns, "largest_epsilon_ratio": max(ratios), "steps_forgotten": forgot,
        "left_in_shared_memory": left, "footprint_before": before, "footprint_after": after,
    }  # fmt: skip
    lines = [
        [
            str(rank), str(lives[rank]), f"{steps[rank]:,}",
            *(f"{before[rank][key]:.0f} / {after[rank][key]:.0f}" for key in ("threads", "files")),
            f"{before[rank]['mib']:.0f} / {after[rank]['mib']:.0f}",
        ]
        for rank in sorted(before.keys() & after.keys())
    ]  # fmt: skip
    header = ["agent", "lives", "steps", "threads before / after", "open files", "resident MiB"]
    text = f"""# Soak: {sum(blows.values())} blows in {seconds / 60:.0f} minutes

CartPole, {AGENTS} agents under torchrun; {blows["SIGKILL"]} SIGKILL, {blows["SIGSEGV"]} SIGSEGV,
{blows["SIGSTOP"]} SIGSTOP of 0.5 to 3 s, at random. Exit code after Ctrl-C: {code}.
Steps forgotten: {forgot}. Left in shared memory: {"yes" if left else "nothing"}.
Largest divergence / bound: {max(ratios):.2g}.
Mean return at the end: {sum(returns) / len(returns):.0f}.

{table(header, lines)}
"""
    write("soak", facts, text)


if __name__ == "__main__":
    main()
