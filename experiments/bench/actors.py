"""Who should act: the learner's thread, actors with a policy each, or workers that only step.

    python experiments/bench/actors.py [--rounds 3] [--seconds 20] [--tasks pong identity slow]

V-trace, one agent, the same environments in all modes, which take turns. Writes
experiments/results/actors.{json,md}.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from recording import table, write

from gala.bench.live_run import LiveRun
from gala.bench.measurement import WARM_UP_S, Case, measure
from gala.bench.past import cores

TASKS: dict[str, tuple[object, ...]] = {
    "pong": ("pong", "--env.num-envs", 16),
    "identity": ("cartpole", "--env.id", "gala/Identity-v0", "--env.num-envs", 16),
    "slow": ("pong", "--env.id", "slow_env:Slow5-v0", "--env.num-envs", 16),
}
SHOWN = {
    "pong": "Pong",
    "identity": "gala/Identity-v0, steps that cost nothing",
    "slow": "images, 5 ms a step without a core",
}
MODES: dict[str, tuple[object, ...]] = {
    "in-thread": (),
    "in-thread, async": ("--env.workers", "async"),
    "processes": ("--actors.count", 4),
    "central": ("--actors.count", 4, "--actors.inference", "central"),
}
WHO = {
    "in-thread": "the learner's thread",
    "in-thread, async": "the same, environments in processes",
    "processes": "4 actors with a policy each",
    "central": "4 workers that step, one inference",
}


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What a mode did in a round.

    Attributes:
        steps_per_second: environment steps.
        lag: mean policy lag in changes of the parameters.
        learner_idle: share of its time that the learner waited; None where it acts.
        actors_idle: share of their time that actors waited; None likewise.
        curve: steps and return of each record, in turn.
    """

    steps_per_second: float
    lag: float
    learner_idle: float | None
    actors_idle: float | None
    curve: list[tuple[int, float]]


def modes_of(task: str) -> list[str]:
    """Atari and our own environments have a vector of their own, which knows no processes."""
    return [mode for mode in MODES if task == "slow" or "async" not in mode]


def play(task: str, mode: str, seconds: float) -> Turn:
    """One run."""
    held: list[LiveRun] = []
    arguments = (*TASKS[task], "--algorithm", "vtrace", *MODES[mode])
    case = Case(name=f"{task}, {mode}", agents=1, arguments=arguments, prepare=held.append)
    speed = measure(case, seconds).steps_per_second
    return turn_of(held[0].records[0], speed, seconds)


def turn_of(records: Sequence[Mapping[str, Any]], speed: float, seconds: float) -> Turn:
    """What the records of a run say, the last ``seconds`` of them."""
    since = records[-1]["t"] - seconds

    def mean(name: str) -> float | None:
        found = [r[name] for r in records if r["t"] >= since and r.get(name) is not None]
        return statistics.fmean(found) if found else None

    return Turn(
        steps_per_second=speed,
        lag=mean("policy/lag") or 0.0,
        learner_idle=mean("actors/learner_idle"),
        actors_idle=mean("actors/idle"),
        curve=[
            (r["step"], r["charts/episodic_return"])
            for r in records
            if r.get("charts/episodic_return") is not None
        ],
    )


def return_at(turn: Turn, steps: int) -> float | None:
    """The return that was on record when so many steps were done."""
    known = [value for step, value in turn.curve if step <= steps]
    return known[-1] if known else None


def rows_of(found: Mapping[str, Sequence[Turn]]) -> list[list[str]]:
    """A row a mode; equal steps are those of the slowest one, round by round."""
    rows = []
    rounds = range(min(len(turns) for turns in found.values()))
    ends = [[turns[k].curve[-1][0] for turns in found.values() if turns[k].curve] for k in rounds]
    for mode, turns in found.items():
        equal = [return_at(turns[k], min(ends[k], default=0)) for k in rounds]
        last = [turns[k].curve[-1][1] if turns[k].curve else None for k in rounds]
        rows.append([
            WHO[mode],
            _median([turn.steps_per_second for turn in turns], ",.0f"),
            _median([turn.lag for turn in turns], ".1f"),
            _median([turn.learner_idle for turn in turns], ".0%"),
            _median([turn.actors_idle for turn in turns], ".0%"),
            _median(equal, ".2f"),
            _median(last, ".2f"),
        ])  # fmt: skip
    return rows


def _median(values: Sequence[float | None], form: str) -> str:
    known = [value for value in values if value is not None]
    return format(statistics.median(known), form) if known else "-"


def text_of(found: Mapping[str, Mapping[str, Sequence[Turn]]], rounds: int, seconds: float) -> str:
    """The results for people."""
    header = ["who acts", "steps/s", "policy lag", "learner waits", "actors wait",
              "return, equal steps", "return, equal seconds"]  # fmt: skip
    parts = [f"## {SHOWN[task]}\n\n{table(header, rows_of(each))}" for task, each in found.items()]
    tables = "\n\n".join(parts)
    return f"""# Actors: who should act

V-trace, one agent with 16 environments, {cores()} cores; medians of {rounds} interleaved rounds of
{seconds:g} s each, after the start and {WARM_UP_S:g} s of training. Policy lag in changes of the
parameters. Equal steps are those of the mode that was slowest in the round.

{tables}
"""


def main() -> None:
    """Measure in turns, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--tasks", nargs="+", choices=[*TASKS], default=[*TASKS])
    options = parser.parse_args()
    paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    found: dict[str, dict[str, list[Turn]]] = {
        task: {mode: [] for mode in modes_of(task)} for task in options.tasks
    }
    for number in range(options.rounds):
        for task, modes in found.items():
            for mode, turns in modes.items():
                turns.append(play(task, mode, options.seconds))
                print(f"round {number + 1}: {task}, {mode}: "
                      f"{turns[-1].steps_per_second:,.0f} steps/s", flush=True)  # fmt: skip
    data = {
        "rounds": options.rounds, "seconds": options.seconds,
        "tasks": {task: {mode: [asdict(turn) for turn in turns] for mode, turns in modes.items()}
                  for task, modes in found.items()},
    }  # fmt: skip
    write("actors", data, text_of(found, options.rounds, options.seconds))


if __name__ == "__main__":
    main()
