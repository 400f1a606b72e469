"""The zoo: presets and algorithms, agents that gossip, several seeds each.

    python experiments/zoo.py                                  what is missing of all rows
    python experiments/zoo.py --only cartpole-* pendulum-sac --minutes 60
    python experiments/zoo.py --write                          the tables of what is there

A run is trained into a folder, goes on there if it was cut off, and its averaged policy is
evaluated by ``gala eval``. What experiments/results/zoo.json holds by the same command is not run
again. Writes experiments/results/zoo.{json,md} after each run, and the table in docs/zoo.md.
``--steps 2000 --results /tmp/zoo`` tries it elsewhere, with short runs.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

sys.path.insert(0, str(Path(__file__).parent / "bench"))
from algorithms import GAMES, evaluated
from recording import RESULTS, ROOT, go_on, provenance, records, table, train, write

from gala.evaluation.statistics import bootstrap, iqm
from gala.files.atomic import write_atomic
from gala.files.shipped import resolve
from gala.run.config import load

PAGE = ROOT / "docs" / "zoo.md"
BEGIN, END = "<!-- rows: written by experiments/zoo.py -->", "<!-- end of rows -->"

Result = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Row:
    """A preset with an algorithm.

    Attributes:
        variant: what its options are about, where a preset and an algorithm have several rows.
        options: of ``gala train``, besides agents, algorithm and seed.
    """

    preset: str
    algorithm: str
    variant: str = ""
    options: tuple[str, ...] = ()
    agents: int = 2
    seeds: tuple[int, ...] = (1, 2, 3, 4, 5)

    @property
    def name(self) -> str:
        """Unlike that of any other row."""
        return "-".join(word for word in (self.preset, self.algorithm, self.variant) if word)

    @property
    def arguments(self) -> list[str]:
        """What ``gala train`` is given besides the seed."""
        chosen = ["--agents", str(self.agents), "--algorithm", self.algorithm]
        return [self.preset, *chosen, *self.options]

    @property
    def command(self) -> str:
        """The command, without a seed."""
        return shlex.join(["gala", "train", *self.arguments])

    @property
    def env_id(self) -> str:
        """Of its preset."""
        env_id: str = load(resolve("experiments", self.preset)).env.id
        return env_id


UNSCALED = (
    "--env.normalize-observation", "false", "--env.normalize-reward", "false",
    "--network.hidden", "[256, 256]", "--network.activation", "relu", "--gossip.every", "4",
    "--total-steps", "300000",
)  # fmt: skip
"""SAC of robots: observations and rewards as they are, the networks of its paper."""

ROWS = (
    *(
        Row(preset="cartpole", algorithm=name)
        for name in ("a2c", "ppo", "vtrace", "vmpo", "impact", "r2d2", "sac")
    ),
    Row(preset="acrobot", algorithm="ppo"),
    Row(preset="mountaincar", algorithm="ppo"),
    Row(preset="pendulum", algorithm="sac"),
    Row(preset="lunarlander", algorithm="ppo"),
    *(
        Row(preset="repeat-previous", algorithm="ppo", variant=memory,
            options=("--network.memory", memory))
        for memory in ("none", "gru", "lstm", "gtrxl")
    ),
    *(
        Row(preset="minigrid-memory", algorithm="ppo", variant=memory,
            options=("--network.memory", memory))
        for memory in ("none", "lstm", "gtrxl")
    ),
    *(
        Row(preset=robot, algorithm=name)
        for robot in ("halfcheetah", "hopper")
        for name in ("ppo", "a2c")
    ),
    *(
        Row(preset=robot, algorithm="sac", options=UNSCALED, seeds=(1, 2, 3))
        for robot in ("halfcheetah", "hopper")
    ),
    Row(preset="minatar-breakout", algorithm="ppo"),
)  # fmt: skip


def threshold(env_id: str) -> float | None:
    """Mean return at which the environment's spec calls it solved; None where it does not say."""
    spec = gymnasium.registry.get(env_id)
    return None if spec is None else spec.reward_threshold


def measure(row: Row, seed: int, folder: Path) -> Result:
    """Train, or go on with what was cut off, and evaluate.

    Raises:
        SystemExit: the folder holds a run of another command.
    """
    run, note = folder / f"{row.name}-{seed}", folder / f"{row.name}-{seed}.command"
    seconds: float | None = None  # of a run that was cut off nobody knows
    if list(run.glob("rank_*/checkpoints/*.pt")):
        if note.read_text() != row.command:
            raise SystemExit(f"zoo: {run} is a run of another command: {note.read_text()}")
        go_on(run)
    else:
        shutil.rmtree(run, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        note.write_text(row.command)
        seconds = train(run, *row.arguments, "--seed", seed, "--log.tensorboard", "false")
    last, facts = [each[-1] for each in records(run).values()], provenance()
    return {
        "row": row.name, "seed": seed, "command": row.command, "return": evaluated(run),
        "steps": int(sum(r["step"] for r in last)), "seconds": seconds,
        "commit": facts["commit"], "date": facts["date"], "machine": facts["machine"],
    }  # fmt: skip


def known(results: Path) -> list[Result]:
    """Results that are there, of whatever command."""
    path = results / "zoo.json"
    found: list[Result] = json.loads(path.read_text())["results"] if path.exists() else []
    return found


def of(row: Row, results: Sequence[Result]) -> list[Result]:
    """The results of a row by its present command, in the order of their seeds."""
    mine = [r for r in results if r["row"] == row.name and r["command"] == row.command]
    return sorted(mine, key=lambda r: int(r["seed"]))


def cells(row: Row, results: Sequence[Result]) -> list[str]:
    """Runs, IQM, threshold, steps and seconds of a row; ``-`` where nothing was measured."""
    mine, goal = of(row, results), threshold(row.env_id)
    if not mine:
        return ["-", "-", "-" if goal is None else f"- (>= {goal:g})", "-", "-"]
    returns = np.array([[r["return"]] for r in mine])
    interval = bootstrap(iqm, returns)
    estimate = f"{float(interval.value):.1f}"
    if len(mine) > 1:
        estimate += f" ({float(interval.low):.1f} to {float(interval.high):.1f})"
    reached = "-" if goal is None else f"{(returns >= goal).sum()} of {len(mine)} (>= {goal:g})"
    seconds = [r["seconds"] for r in mine if r["seconds"] is not None]
    return [
        str(len(mine)),
        estimate,
        reached,
        f"{np.median([r['steps'] for r in mine]):,.0f}",
        f"{np.median(seconds):,.0f}" if seconds else "-",
    ]


def rows_table(rows: Sequence[Row], results: Sequence[Result]) -> str:
    """All rows, those without runs, too."""
    header = [
        "preset", "algorithm", "runs", "IQM (95 % interval)", "reached", "steps of all agents",
        "seconds", "command",
    ]  # fmt: skip
    lines = [
        [row.preset, " ".join(word for word in (row.algorithm, row.variant) if word),
         *cells(row, results), f"`{row.command}`"]
        for row in rows
    ]  # fmt: skip
    return table(header, lines)


def page(text: str, rows: Sequence[Row], results: Sequence[Result]) -> str:
    """The page with its table written anew."""
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    return f"{before}{BEGIN}\n\n{rows_table(rows, results)}\n\n{END}{after}"


def write_results(rows: Sequence[Row], results: Sequence[Result], folder: Path) -> None:
    """Write ``zoo.{json,md}`` into ``folder``, and the page where they are the real ones."""
    text = f"""# Zoo: presets, algorithms, agents that gossip

Mean return of {GAMES} fresh games of the averaged policy at the end of training, most likely
actions: IQM over the seeds. With five runs or fewer a nominal 95 % interval covers less than its
name says. Reached: seeds at or above the threshold of the environment's spec, where it has one.
`-`: not measured. Seconds are medians, for orientation: other work ran beside. Each run in
`zoo.json` has its return, commit and machine.

{rows_table(rows, results)}
"""
    kept = [result for row in rows for result in of(row, results)]
    write("zoo", {"results": kept}, text, folder=folder)
    if folder == RESULTS:
        write_atomic(PAGE, page(PAGE.read_text(), rows, results))


def chosen(rows: Sequence[Row], patterns: Sequence[str], steps: int | None) -> list[Row]:
    """Rows whose names fit one of the patterns.

    Args:
        steps: of all agents, instead of what the rows say; None: those.

    Raises:
        SystemExit: a pattern that fits none.
    """
    for pattern in patterns:
        if not any(fnmatch(row.name, pattern) for row in rows):
            names = " ".join(row.name for row in rows)
            raise SystemExit(f"zoo: no row is called {pattern}: {names}")
    found = [row for row in rows if any(fnmatch(row.name, each) for each in patterns)]
    if steps is None:
        return found
    short = ("--total-steps", str(steps))
    return [replace(row, options=(*row.options, *short)) for row in found]


def run_missing(rows: Sequence[Row], options: argparse.Namespace) -> list[str]:
    """Run what is missing, first seeds first, and write after each run.

    Returns:
        Names of runs that failed.
    """
    failed: list[str] = []
    until, results = time.monotonic() + 60 * options.minutes, known(options.results)
    wanted = [(row, seed) for row in rows for seed in options.seeds or row.seeds]
    wanted.sort(key=lambda each: each[1])
    missing = [
        (row, seed) for row, seed in wanted if seed not in [r["seed"] for r in of(row, results)]
    ]
    everything = rows if options.steps else ROWS
    for index, (row, seed) in enumerate(missing):
        if time.monotonic() > until:
            print(f"zoo: time is up, {len(missing) - index} runs are left")
            break
        try:
            result = measure(row, seed, options.folder)
        except subprocess.CalledProcessError as error:  # told above, a missing extra for example
            failed.append(f"{row.name}-{seed} (exit code {error.returncode})")
            continue
        results.append(result)
        write_results(everything, results, options.results)
        print(f"zoo: {index + 1} of {len(missing)}: {row.name} {seed}: {result['return']:.1f}")
    return failed


def main() -> None:
    """Measure, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", default=["*"], help="names of rows, or patterns")
    parser.add_argument("--seeds", type=int, nargs="+", help="instead of those of the rows")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no run after")
    parser.add_argument("--steps", type=int, help="instead of the rows', with --results elsewhere")
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "zoo")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--write", action="store_true", help="write the tables, run nothing")
    options = parser.parse_args()
    if options.steps is not None and options.results == RESULTS:
        parser.error("--steps is for a try: give --results another folder")
    rows = chosen(ROWS, options.only, options.steps)
    if options.write:
        write_results(ROWS, known(options.results), options.results)
    elif failed := run_missing(rows, options):
        raise SystemExit(f"zoo: failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
