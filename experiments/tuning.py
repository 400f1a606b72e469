"""Pong with other choices: how many steps each needs, one seed that is never reported elsewhere.

    python experiments/tuning.py NAME [NAME ...] [--steps N] [--seed 101]
    python experiments/tuning.py --list
    python experiments/tuning.py --write            write the table again

Every trial that was run is kept, the bad ones too: experiments/results/tuning.{json,md}. A hopeless
one can be stopped with SIGTERM to its ``gala train``; it is kept as far as it came. What is
reported of the shipped preset (experiments/bench/time_to_goal.py) comes from seeds below 100.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent / "bench"))
from learning import at_steps, mean_curve, reached
from recording import RESULTS, provenance, records, table, train

DATA = RESULTS / "tuning.json"
GOAL = 18.0
FIRST_SEED = 101
MARKS = (250_000, 500_000, 750_000, 1_000_000, 1_500_000, 2_000_000, 2_500_000)

STEPS = 800_000
"""Of all agents, in trials that do not say how many."""

BASE: dict[str, object] = {
    "agents": 2,
    "env.num-envs": 16,
    "a2c.n-step": 5,
    "a2c.optimizer": "rmsprop",
    "a2c.adam-betas": "[0.9, 0.999]",
    "a2c.lr": 7e-4,
    "a2c.lr-scaling": "sqrt",
}
ONE: dict[str, object] = {"agents": 1, "threads": 1}
TEN: dict[str, object] = {"a2c.n-step": 10, "a2c.gae-lambda": 0.95}
TWENTY: dict[str, object] = {"a2c.n-step": 20, "a2c.gae-lambda": 0.95}
ADAM: dict[str, object] = {"a2c.optimizer": "adam", "a2c.lr": 7e-4}
LITTLE: dict[str, object] = {"a2c.entropy-coef": 0.002}
GENTLE: dict[str, object] = {"a2c.optimizer": "adam", "a2c.adam-betas": "[0, 0.99]"}
BACKGROUND: dict[str, object] = GENTLE | {"network.background": 87, "a2c.lr": 1e-3}
THIRD: dict[str, object] = {"a2c.entropy-coef": 0.003}
SMALL: dict[str, object] = BACKGROUND | TEN | THIRD | {"env.num-envs": 8}
FALLING: dict[str, object] = SMALL | {
    "a2c.lr": 2e-3,
    "a2c.lr-schedule": "linear",
    "total-steps": 2_000_000,
}
BEGINNINGS: dict[str, object] = {
    "env.atari.noop-min": 0,
    "env.atari.noop-max": 29,
    "env.atari.fire-second": "false",
}
A2C: dict[str, object] = (
    FALLING
    | BEGINNINGS
    | {
        "a2c.lr": 1.4e-3,
        "a2c.lr-scaling": "none",
        "a2c.entropy-schedule": "linear",
    }
)
SHIPPED: dict[str, object] = BEGINNINGS | {
    "algorithm": "ppo",
    "env.num-envs": 8,
    "network.background": 87,
    "ppo.n-step": 64,
    "ppo.epochs": 3,
    "ppo.minibatches": 4,
    "ppo.clip": 0.1,
    "ppo.lr": 7e-4,
    "ppo.lr-schedule": "linear",
    "ppo.entropy-schedule": "linear",
    "total-steps": 1_000_000,
}
STEADY: dict[str, object] = SHIPPED | {"ppo.entropy-schedule": "constant"}
LESS: dict[str, object] = {"network.filters": "[16, 32, 32]", "network.hidden": "[256]"}
TRIALS: dict[str, dict[str, object]] = {
    "paper": {},
    "one agent": ONE,
    "one agent, float32": ONE | {"network.precision": "float32"},
    "one agent, gentle": GENTLE | ONE,
    "one agent, gentle, rate x2, entropy / 2": GENTLE
    | ONE
    | {"a2c.lr": 1.4e-3, "a2c.entropy-coef": 0.005},
    "one agent, gentle, rate x2, 8 x 10 steps, gae .95": GENTLE
    | ONE
    | TEN
    | {"a2c.lr": 2e-3, "env.num-envs": 8},
    "one agent, gentle, eps 1e-3, rate x3": GENTLE
    | ONE
    | {"a2c.lr": 2.1e-3, "a2c.optimizer-eps": 1e-3},
    "one agent, gentle, eps 3e-4, rate x2, entropy / 2": GENTLE
    | ONE
    | {"a2c.lr": 1.4e-3, "a2c.optimizer-eps": 3e-4, "a2c.entropy-coef": 0.005},
    "one agent, gentle, rate x1.4": GENTLE | ONE | {"a2c.lr": 1e-3},
    "one agent, background": BACKGROUND | ONE,
    "one agent, background, rate x2": BACKGROUND | ONE | {"a2c.lr": 2e-3},
    "one agent, background, entropy / 3": BACKGROUND | ONE | THIRD,
    "one agent, background, entropy / 3, 8 x 10 steps, gae .95": SMALL | ONE | {"a2c.lr": 1.4e-3},
    "one agent, background, entropy / 3, 8 x 10 steps, gae .95, rate x2": SMALL
    | ONE
    | {"a2c.lr": 2.8e-3},
    "one agent, background, 8 x 10 steps, gae .95, normalised": SMALL
    | ONE
    | {"a2c.lr": 1.4e-3, "a2c.entropy-coef": 0.01, "a2c.normalize-advantage": "true"},
    "one agent, background, entropy / 3, 16 x 10 steps, gae .95, rate x2": SMALL
    | ONE
    | {"a2c.lr": 2e-3, "env.num-envs": 16},
    "one agent, background, entropy / 3, 4 x 10 steps, gae .95, rate x2": SMALL
    | ONE
    | {"a2c.lr": 2.8e-3, "env.num-envs": 4},
    "background, entropy / 3, 8 x 10 steps, gae .95": SMALL,
    "background, entropy / 3, 8 x 10 steps, gae .95, rate x1.4": SMALL | {"a2c.lr": 1.4e-3},
    "background, entropy / 3, 8 x 10 steps, gae .95, rate x2": SMALL | {"a2c.lr": 2e-3},
    "background, entropy / 3, 8 x 10 steps, gae .95, rate x2, to 0 at 2 M steps": FALLING,
    "background, entropy / 3, 8 x 10 steps, gae .95, rate x1.4, to 0 at 3 M steps": FALLING
    | {"a2c.lr": 1.4e-3, "total-steps": 3_000_000},
    "a2c of the preset": A2C,
    "a2c of the preset, without background": A2C | {"network.background": 0},
    "a2c of the preset, 16 x 5 steps, no gae": A2C
    | {"env.num-envs": 16, "a2c.n-step": 5, "a2c.gae-lambda": 1.0},
    "a2c of the preset, paper's entropy": A2C | {"a2c.entropy-coef": 0.01},
    "a2c of the preset, paper's optimizer and rate": A2C
    | {"a2c.optimizer": "rmsprop", "a2c.lr": 7e-4},
    "shipped": SHIPPED,
    "shipped, without background": SHIPPED | {"network.background": 0},
    "steady entropy": STEADY,
    "steady entropy, rate 5e-4": STEADY | {"ppo.lr": 5e-4},
    "steady entropy, 2 epochs": STEADY | {"ppo.epochs": 2},
    "steady entropy, 4 epochs": STEADY | {"ppo.epochs": 4},
    "steady entropy, 2 epochs, rate 1e-3": STEADY | {"ppo.epochs": 2, "ppo.lr": 1e-3},
    "steady entropy, 32 steps, rate 1e-3": STEADY
    | {"ppo.n-step": 32, "ppo.minibatches": 2, "ppo.lr": 1e-3},
    "steady entropy, half the network, rate 6e-4": STEADY | LESS | {"ppo.lr": 6e-4},
    "steady entropy, half the network, rate 1e-3": STEADY | LESS | {"ppo.lr": 1e-3},
    "rate x2": {"a2c.lr": 1.4e-3},
    "20 steps, gae .95, rate x3": TWENTY | {"a2c.lr": 2.1e-3},
    "adam": {"a2c.optimizer": "adam", "a2c.lr": 3.5e-4},
    "20 steps, gae .95, adam": TWENTY | ADAM,
    "20 steps, gae .95, adam, normalised": TWENTY | ADAM | {"a2c.normalize-advantage": "true"},
    "adam, entropy / 5": ADAM | LITTLE,
    "adam, entropy / 5, 8 simulators, 10 steps": ADAM | LITTLE | TEN | {"env.num-envs": 8},
    "adam, entropy / 5, 4 simulators, 20 steps": ADAM | LITTLE | TWENTY | {"env.num-envs": 4},
    "adam x2, entropy / 3, 8 simulators": ADAM
    | {"a2c.lr": 1.4e-3, "a2c.entropy-coef": 0.003, "env.num-envs": 8},
    "gentle": GENTLE,
    "gentle, rate x1.4": GENTLE | {"a2c.lr": 1e-3},
    "gentle, rate x1.4, entropy / 2": GENTLE | {"a2c.lr": 1e-3, "a2c.entropy-coef": 0.005},
    "gentle, rate x2": GENTLE | {"a2c.lr": 1.4e-3},
    "normalised advantages": {"a2c.normalize-advantage": "true"},
    "64 filters, rate x2": {"network.filters": "[32, 64, 64]", "a2c.lr": 1.4e-3},
}


def arguments(name: str, steps: int | None = None) -> list[object]:
    """Of ``gala train`` for a trial.

    Args:
        name: of the trial.
        steps: of all agents, where schedules end; None: as many as the trial says.
    """
    settings = BASE | {"total-steps": STEPS} | TRIALS[name]
    if steps is not None:
        settings["total-steps"] = steps
    if settings.get("algorithm", "a2c") != "a2c":  # which refuses options of another one
        settings = {key: value for key, value in settings.items() if not key.startswith("a2c.")}
    return [word for key, value in settings.items() for word in (f"--{key}", value)]


def changed(words: list[object]) -> str:
    """Those of a trial's options that BASE does not have."""
    pairs = zip(words[::2], words[1::2], strict=True)
    base = {(f"--{key}", str(value)) for key, value in BASE.items()}
    return " ".join(f"{key} {value}" for key, value in pairs if (key, str(value)) not in base)


def trial(name: str, steps: int | None, seed: int) -> dict[str, Any]:
    """Train once; what came out."""
    words = arguments(name, steps)
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        seconds = train(run, "pong-paper", *words, "--seed", seed,
                        "--log.tensorboard", "false", "--log.console-s", 30)  # fmt: skip
        return outcome(name, words, seed, run, seconds)


def outcome(name: str, words: list[object], seed: int, run: Path, seconds: float) -> dict[str, Any]:
    """What is kept of a trial, whose run may have been stopped."""
    curve = mean_curve(records(run))
    thin = np.unique(np.linspace(0, len(curve.steps) - 1, 100).astype(int))
    return {
        "name": name,
        "arguments": words,
        "seed": seed,
        "steps": float(curve.steps[-1]),
        "seconds": seconds,
        "marks": {str(mark): at_steps(curve, mark) for mark in MARKS},
        "goal": reached(curve, GOAL),
        "curve": {
            "steps": curve.steps[thin].tolist(),
            "seconds": curve.seconds[thin].round(1).tolist(),
            "returns": [None if np.isnan(r) else round(float(r), 3) for r in curve.returns[thin]],
        },
    }


def write_table(trials: list[dict[str, Any]]) -> None:
    """For people, the best first."""

    def last(each: dict[str, Any]) -> float:
        known = [r for r in each["curve"]["returns"] if r is not None]
        return known[-1] if known else -math.inf

    lines = []
    for each in sorted(trials, key=last, reverse=True):
        options = changed(each["arguments"])
        goal = f"{each['goal'][1] / 1e6:.2f} M" if each["goal"] else "-"
        marks = ["-" if each["marks"][str(m)] is None else f"{each['marks'][str(m)]:.1f}"
                 for m in MARKS]  # fmt: skip
        end = f"{last(each):.1f} after {each['steps'] / 1e6:.2f} M".replace("-inf", "-")
        lines.append([each["name"], f"`{options}`" if options else "", str(each["seed"]), *marks,
                      end, goal, each["commit"]])  # fmt: skip
    base = " ".join(f"--{key} {value}" for key, value in BASE.items())
    header = ["trial", "options", "seed", *(f"at {mark / 1e6:g} M" for mark in MARKS), "at its end",
              f"steps to {GOAL:g}", "commit"]  # fmt: skip
    text = f"""# Trials for the preset of Pong

The trials, the best first, with those that were stopped: `gala train pong-paper {base}` and the
options of the row. Mean raw return of the last 100 games of all agents after so many steps of all
agents. Seeds from {FIRST_SEED} on are for choosing; what is reported elsewhere uses others.

{table(header, lines)}

Written by `python experiments/tuning.py`.
"""
    (RESULTS / "tuning.md").write_text(text)


def main() -> None:
    """Run what was asked for, one after the other; keep each at once."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--steps", type=int, help="of all agents, not as the trial says")
    parser.add_argument("--seed", type=int, default=FIRST_SEED)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--write", action="store_true", help="run nothing")
    options = parser.parse_args()
    if options.seed < FIRST_SEED:
        parser.error(f"--seed: seeds below {FIRST_SEED} are for reporting")
    if unknown := [name for name in options.names if name not in TRIALS]:
        parser.error(f"{unknown[0]!r} is no trial: see --list")
    if options.list:
        print("\n".join(TRIALS))
        return
    trials = json.loads(DATA.read_text()) if DATA.exists() else []
    for name in options.names:
        facts = {k: v for k, v in provenance().items() if k in ("date", "machine", "commit")}
        trials.append(facts | trial(name, options.steps, options.seed))
        DATA.write_text("[\n" + ",\n".join(map(json.dumps, trials)) + "\n]\n")
        write_table(trials)
        print(name, trials[-1]["marks"], flush=True)
    write_table(trials)


if __name__ == "__main__":
    main()
