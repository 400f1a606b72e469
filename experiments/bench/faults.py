"""What the death of one agent costs the others, and how soon it is back.

    python experiments/bench/faults.py [--experiments cartpole pong] [--window 12] [--standby]

Four agents train; each in turn is killed (SIGKILL), crashed (SIGSEGV) and stopped for 10 s
(SIGSTOP). Before each blow the others' steps/s are measured over a window, after it over another of
the same length that begins with the blow: their ratio says what they noticed. The same ratio of two
windows without a blow is the noise. Writes experiments/results/faults.{json,md},
or faults-standby.{json,md}.
"""

from __future__ import annotations

import argparse
import signal
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from recording import table, write

from gala.bench.live_run import LiveRun

AGENTS = 4
STOPPED_S = 10.0
BLOWS = {"SIGKILL": signal.SIGKILL, "SIGSEGV": signal.SIGSEGV, "SIGSTOP": signal.SIGSTOP}


def strike(live: LiveRun, victim: int, name: str, window: float) -> dict[str, Any]:
    """One blow; what the others and the victim did."""
    others = [rank for rank in range(AGENTS) if rank != victim]
    live.watch(2 * window)
    end = time.time()
    middle, start = end - window, end - 2 * window
    quiet = live.rate(others, middle, end) / live.rate(others, start, middle)
    before = live.records[victim][-1]["incarnation"]
    struck = live.signal(victim, BLOWS[name])
    resumed, stopped = struck, name == "SIGSTOP"
    if stopped:
        live.watch(STOPPED_S)
        resumed = live.signal(victim, signal.SIGCONT)

    def back(row: dict[str, Any]) -> bool:
        return bool(row["t"] > resumed if stopped else row["incarnation"] > before)

    live.wait_until(lambda: any(back(row) for row in live.records[victim]))
    first = next(row for row in live.records[victim] if back(row))
    # the first measurement of the ball that the victim took part in after it had mixed
    live.wait_until(
        lambda: any(
            back(row) and row["gossip/mixes"] > 0 and row.get("divergence/to_mean") is not None
            and row["t"] > first["t"] + 1.0
            for row in live.records[victim]
        )
    )  # fmt: skip
    ball = next(
        row for row in live.records[victim]
        if back(row) and row.get("divergence/to_mean") is not None and row["t"] > first["t"] + 1.0
    )  # fmt: skip
    live.watch(max(window - (time.time() - struck), 0.0) + 0.5)
    after = live.rate(others, struck, struck + window)
    return {
        "blow": name,
        "victim": victim,
        "others_ratio": after / live.rate(others, middle, end),
        "quiet_ratio": quiet,
        "back_s": first["t"] - resumed,
        "epsilon_ratio": ball["divergence/epsilon_ratio"],
        "relative_distance": ball["divergence/relative"],
    }


def measure(experiment: str, window: float, standby: bool) -> list[dict[str, Any]]:
    """Every blow to every agent of one run."""
    with tempfile.TemporaryDirectory() as folder:
        live = LiveRun(
            Path(folder) / "run", AGENTS, experiment, "--total-steps", 10**9,
            "--log.every-s", 0.25, "--divergence.every-s", 0.5, "--log.no-tensorboard",
            "--checkpoint.every-steps", 100_000, *(["--standby"] if standby else []),
        )  # fmt: skip
        try:
            live.wait_until(live.all_train)
            rows = [
                strike(live, victim, name, window) for name in BLOWS for victim in range(AGENTS)
            ]
        finally:
            code = live.finish()
        assert code == 0, f"the run ended with {code}"
    return rows


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiments", nargs="+", default=["cartpole", "pong"])
    parser.add_argument("--window", type=float, default=12.0, help="seconds")
    parser.add_argument("--standby", action="store_true", help="next incarnations in waiting")
    options = parser.parse_args()
    results = {name: measure(name, options.window, options.standby) for name in options.experiments}
    lines = []
    for experiment, rows in results.items():
        for name in BLOWS:
            some = [row for row in rows if row["blow"] == name]
            lines.append([
                experiment,
                name,
                f"{statistics.median(row['others_ratio'] for row in some):.2f}",
                f"{min(row['others_ratio'] for row in some):.2f}",
                f"{statistics.median(row['quiet_ratio'] for row in some):.2f}",
                f"{statistics.median(row['back_s'] for row in some):.1f}",
                f"{max(row['back_s'] for row in some):.1f}",
                f"{max(row['epsilon_ratio'] or 0 for row in some):.2g}",
                f"{100 * max(row['relative_distance'] or 0 for row in some):.2g} %",
            ])  # fmt: skip
    header = [
        "experiment", "blow", "others' steps/s, after / before: median", "least",
        "noise: the same without a blow", "trains again after s: median", "most",
        "divergence / bound then: most", "distance to the mean then: most",
    ]  # fmt: skip
    how = ", with --standby" if options.standby else ""
    text = f"""# One agent of {AGENTS} is killed, crashed, stopped

Each agent in turn{how}; SIGSTOP lasts {STOPPED_S:.0f} s. The others' steps/s are those of the other
{AGENTS - 1} agents over {options.window:.0f} s from the blow on, against the {options.window:.0f} s
before it. On a machine with fewer cores than agents the others inherit the cores of the victim, so
that the ratio may exceed 1; while the victim starts again, it needs them back. Seconds to train
again count from the blow (SIGSTOP: from its end) to the first record of the new incarnation,
import time included. Divergence is the first that was measured after the victim had mixed again.

{table(header, lines)}
"""
    write(
        "faults-standby" if options.standby else "faults",
        {"window_s": options.window, "blows": results},
        text,
    )


if __name__ == "__main__":
    main()
