"""How long until Pong is learned: the shipped preset, and Stable-Baselines3's A2C beside it.

    python experiments/bench/time_to_goal.py [--seeds 1 2 3] [--agents N] [--program gala]
                                             [--limit-minutes 40] [--pip-args "..."]
                                             [--a2c.lr 2e-3, or another option of gala train]
    python experiments/bench/time_to_goal.py --write        write table and picture again

Learned: the mean raw return of the last 100 games of all agents is 18. Time counts from the launch.
A run ends when the game is learned, at the limit, or at the preset's total_steps. Each is kept at
once, and replaces one of the same program, options and seed:
experiments/results/time-to-goal.{json,md,png}.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shlex
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from learning import Curve, mean_curve, reached
from peers import PEERS, SB3, environment, running_peer
from recording import RESULTS, provenance, table

from gala.bench.live_run import LiveRun
from gala.telemetry.reader import Tail

GOAL, GAMES = 18.0, 100
LOOK_S = 5.0
SB3_ENVS = 16
DATA = RESULTS / "time-to-goal.json"
COLORS = ("#0072B2", "#D55E00", "#9A9A9A", "#009E73")


def gala_curve(seed: int, agents: int, limit_s: float, changes: Sequence[str] = ()) -> Curve:
    """Train the preset until it has learned.

    Args:
        seed: of the run.
        agents: how many.
        limit_s: seconds after which to give up.
        changes: further options of ``gala train``.

    Raises:
        RuntimeError: training failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        launched = time.time()
        run = LiveRun(Path(folder) / "run", agents, "pong", "--seed", seed, *changes)
        try:
            run.wait_until(run.all_train)
            while True:
                curve = _since(launched, run)
                print(f"gala, seed {seed}: {_now(curve)}", flush=True)
                code = run.process.poll()
                if code:
                    raise RuntimeError(f"gala ended with code {code}: {run.last_words()}")
                if reached(curve, GOAL) or code == 0 or time.time() - launched > limit_s:
                    return curve
                with contextlib.suppress(RuntimeError):  # it ended
                    run.watch(LOOK_S)
        finally:
            run.finish()


def _since(launched: float, run: LiveRun) -> Curve:
    curve = mean_curve(run.records, GAMES)
    first = min(rows[0]["t"] for rows in run.records.values())
    return curve._replace(seconds=curve.seconds + (first - launched))


def sb3_curve(python: Path, seed: int, limit_s: float) -> Curve:
    """Train Stable-Baselines3's A2C with rl-zoo's parameters until it has learned."""
    launched = time.time()
    points: list[dict[str, Any]] = []
    arguments = ("pong", SB3_ENVS, "subproc", seed)
    with running_peer(python, PEERS[SB3].driver, arguments) as (process, log):
        tail = Tail(log)
        while True:
            points += [each for each in tail.read() if "steps" in each]
            curve = Curve(
                np.array([p["t"] - launched for p in points]),
                np.array([p["steps"] for p in points], float),
                np.array([p["return"] if p["games"] >= GAMES else np.nan for p in points], float),
            )
            print(f"{SB3}, seed {seed}: {_now(curve)}", flush=True)
            if reached(curve, GOAL) or (points and time.time() - launched > limit_s):
                return curve
            if process.poll() is not None:
                raise RuntimeError(f"{SB3} ended with code {process.returncode}: {log.read_text()}")
            time.sleep(LOOK_S)


def _now(curve: Curve) -> str:
    if not len(curve.steps):
        return "it begins"
    minutes, steps = curve.seconds[-1] / 60, curve.steps[-1]
    return f"{minutes:.1f} minutes, {steps:,.0f} steps, return {curve.returns[-1]:.2f}"


def row_of(program: str, seed: int, how: str, curve: Curve) -> dict[str, Any]:
    """What is kept of a run."""
    known = curve.returns[~np.isnan(curve.returns)]
    thin = np.unique(np.linspace(0, len(curve.steps) - 1, 200).astype(int))
    return {
        "program": program,
        "seed": seed,
        "how": how,
        "goal": reached(curve, GOAL),
        "seconds": float(curve.seconds[-1]),
        "steps": float(curve.steps[-1]),
        "return": float(known[-1]) if len(known) else None,
        "curve": {
            "seconds": curve.seconds[thin].round(1).tolist(),
            "steps": curve.steps[thin].tolist(),
            "returns": [None if np.isnan(r) else round(float(r), 3) for r in curve.returns[thin]],
        },
    }


def text_of(rows: list[dict[str, Any]]) -> str:
    """The results for people."""
    lines = []
    for row in rows:
        speed = row["steps"] / row["seconds"]
        if row["goal"]:
            goal = [f"{row['goal'][0] / 60:.1f} min", f"{row['goal'][1] / 1e6:.2f} M"]
        else:
            goal = ["not reached", "-"]
        end = "-" if row["return"] is None else f"{row['return']:.1f}"
        end = f"{end} after {row['seconds'] / 60:.1f} min"
        lines.append(
            [row["program"], row["how"], str(row["seed"]), *goal, f"{speed:,.0f}", end]
            + [row["date"], row["commit"]]
        )
    header = ["program", "how", "seed", f"time to {GOAL:g}", "steps", "steps/s"]
    header += ["return at the end", "date", "commit"]
    peer = f"""
Stable-Baselines3 has the parameters of rl-zoo and {SB3_ENVS} environments, each in a process of
its own.
"""
    return f"""# Time until Pong is learned

Mean raw return of the last {GAMES} games of all agents at {GOAL:g} or more; time from the launch,
start-up included; steps and steps/s of all agents, four frames each. A run of gala is its command
with `--seed`; options that a row has and the command of its measurement has not were those of the
preset at that commit.
{peer if any(row["program"] == SB3 for row in rows) else ""}
{table(header, lines)}

![learning curves](time-to-goal.png)

{chr(10).join(_measured(rows))}
"""


def _measured(rows: Sequence[dict[str, Any]]) -> list[str]:
    """How each row was measured, a line for those that have it in common."""
    seeds: dict[str, list[str]] = {}
    for row in rows:
        versions = "".join(f"; {name} {version}" for name, version in row["versions"].items())
        how = f"`{row['command']}` on {row['machine']}, commit {row['commit']}{versions}"
        seeds.setdefault(how, []).append(f"{row['program']}, seed {row['seed']}")
    return [f"- {'; '.join(each)}: {how}." for how, each in seeds.items()]


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """All learning curves over wall-clock time."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(7.5, 4.0), layout="constrained")
    colors: dict[tuple[str, str], str] = {}
    for row in rows:
        x = np.array(row["curve"]["seconds"]) / 60
        y = np.array([np.nan if r is None else r for r in row["curve"]["returns"]])
        kind = (row["program"], row["how"])
        how = row["how"].strip("`")  # of gala a whole command
        label = None if kind in colors else how if row["program"] == "gala" else ", ".join(kind)
        color = colors.setdefault(kind, COLORS[len(colors) % len(COLORS)])
        axis.plot(x, y, color=color, label=label, linewidth=1.3)
    axis.axhline(GOAL, color="0.5", linewidth=0.8, linestyle="--")
    axis.set_xlabel("minutes since the launch")
    axis.set_ylabel(f"mean return of the last {GAMES} games")
    axis.set_title("Pong on one machine, a line per seed", loc="left", fontsize=11)
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower left", frameon=False, fontsize=8)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def keep(row: dict[str, Any]) -> None:
    """Add a run to the results, or let it replace the one before."""
    rows = json.loads(DATA.read_text()) if DATA.exists() else []
    same = ("program", "how", "seed")
    rows = [each for each in rows if any(each[key] != row[key] for key in same)] + [row]
    rows.sort(key=_place)
    DATA.write_text(json.dumps(rows, indent=1) + "\n")
    show(rows)


def _place(row: dict[str, Any]) -> tuple[bool, int, str, int]:
    """The shipped preset first, then it with other options, then others."""
    return row["program"] != "gala", len(row["how"]), row["how"], row["seed"]


def show(rows: list[dict[str, Any]]) -> None:
    """Write table and picture."""
    draw(rows, DATA.with_suffix(".png"))
    DATA.with_suffix(".md").write_text(text_of(rows))


def main() -> None:
    """Train, keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--agents", type=int, default=2)
    parser.add_argument("--program", choices=["gala", "sb3"], default="gala")
    parser.add_argument("--limit-minutes", type=float, default=40.0)
    parser.add_argument("--pip-args", type=shlex.split, default=[])
    parser.add_argument("--write", action="store_true", help="run nothing")
    options, changes = parser.parse_known_args()  # the rest is gala train's
    if options.write:
        show(sorted(json.loads(DATA.read_text()), key=_place))
        return
    if changes and options.program != "gala":
        parser.error(f"{changes[0]} is an option of gala train, not of {SB3}")
    limit_s = 60 * options.limit_minutes
    facts = provenance()  # before the results of a seed make the tree another one
    for seed in options.seeds:
        if options.program == "gala":
            how = shlex.join(["gala", "train", "pong", "--agents", str(options.agents), *changes])
            curve = gala_curve(seed, options.agents, limit_s, changes)
            row = row_of("gala", seed, f"`{how}`", curve)
        else:
            python = environment(SB3, PEERS[SB3], options.pip_args)
            row = row_of(SB3, seed, "rl-zoo", sb3_curve(python, seed, limit_s))
        keep(row | facts)
        print(f"{row['program']}, seed {seed}: {row['goal'] or 'not reached'}", file=sys.stderr)


if __name__ == "__main__":
    main()
