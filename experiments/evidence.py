"""Is gossip better, when, and why: runs what experiments/evidence/plan.yaml registers.

    python experiments/evidence.py tuning          a stage: the runs of it that are missing
    python experiments/evidence.py minatar --minutes 60
    python experiments/evidence.py report          writes docs/evidence.md and its pictures

Every run is a line of experiments/results/evidence/STAGE.jsonl: its resolved configuration, its
curve, each game of its evaluation, its commit. What is there is not run again; a run that was cut
off is run anew. Nothing is timed: other work may go on beside it (``nice``).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

sys.path.insert(0, str(Path(__file__).parent / "bench"))
sys.path.insert(0, str(Path(__file__).parent / "evidence"))
from evidence_page import write_page
from learning import mean_curve
from recording import RESULTS, ROOT, provenance, records, train

from gala.launch.processes import bound_to

PLAN = Path(__file__).parent / "evidence" / "plan.yaml"
DATA = RESULTS / "evidence"
MARKS = 100
"""Points of a curve, at equal numbers of steps."""

Tree = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of a stage.

    Attributes:
        vary: name of what the stage varies, "" if nothing.
        config: experiment file, as a tree.
    """

    stage: str
    game: str
    arm: str
    vary: str
    seed: int
    config: Tree

    @property
    def name(self) -> str:
        """Unlike that of any other run."""
        words = (self.stage, self.game, self.arm, self.vary, f"seed-{self.seed}")
        return "_".join(word for word in words if word)


def merged(*trees: Mapping[str, Any]) -> Tree:
    """Later trees replace the leaves of earlier ones."""
    out: Tree = {}
    for tree in trees:
        for key, value in tree.items():
            below = out.get(key)
            nested = isinstance(value, Mapping) and isinstance(below, Mapping)
            out[key] = merged(below, value) if nested else value  # type: ignore[arg-type]
    return out


def runs_of(plan: Tree, stage: str) -> Iterator[Run]:
    """Every run of a stage: game by game, seeds before arms, so that what is cut off is fair."""
    wanted = plan["stages"][stage]
    tuned = best_rates(plan, wanted["tuned_by"]) if "tuned_by" in wanted else {}
    for game in wanted["games"]:
        for seed in wanted["seeds"]:
            for vary, change in wanted.get("vary", {"": {}}).items():
                for arm in wanted["arms"]:
                    config = merged(
                        plan["base"], plan["games"][game], plan["arms"][arm], tuned.get(arm, {}),
                        change, {"seed": seed, "total_steps": wanted["total_steps"]},
                    )  # fmt: skip
                    if (everything := config.pop("envs", None)) is not None:
                        config["env"]["num_envs"] = everything // config["agents"]
                    yield Run(stage=stage, game=game, arm=arm, vary=vary, seed=seed, config=config)


def best_rates(plan: Tree, stage: str) -> dict[str, Tree]:
    """What of ``vary`` of a tuning stage each arm goes on with.

    Raises:
        SystemExit: the stage is not whole.
    """
    wanted, done = plan["stages"][stage], results(stage)
    missing = [run.name for run in runs_of(plan, stage) if run.name not in done]
    if missing:
        raise SystemExit(
            f"evidence: first the stage {stage}: {len(missing)} of its runs are missing"
        )
    means, rates = tuning_means(plan, stage), wanted["vary"]
    best = {arm: np.argmax([means[arm, rate] for rate in rates]) for arm in wanted["arms"]}
    return {arm: list(rates.values())[index] for arm, index in best.items()}


def tuning_means(plan: Tree, stage: str) -> dict[tuple[str, str], float]:
    """Mean score of each arm and variation over games and seeds, in largest scores of the game."""
    done = list(results(stage).values())
    largest = {
        game: max(score(row) for row in done if row["game"] == game)
        for game in plan["stages"][stage]["games"]
    }
    found: dict[tuple[str, str], list[float]] = {}
    for row in done:
        found.setdefault((row["arm"], row["vary"]), []).append(score(row) / largest[row["game"]])
    return {key: float(np.mean(values)) for key, values in found.items()}


def score(row: Mapping[str, Any]) -> float:
    """Mean return of the policy that a run gives, of all agents alike where none is averaged."""
    games = row["evaluation"]
    means = [np.mean(games["mean"])] if "mean" in games else [np.mean(g) for g in games.values()]
    return float(np.mean(means))


def results(stage: str) -> dict[str, Any]:
    """Runs that are done, by name."""
    path = DATA / f"{stage}.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return {row["name"]: row for row in map(json.loads, lines)}


def measure(run: Run, plan: Tree, folder: Path) -> Tree:
    """Train and evaluate; the line that is kept."""
    folder.mkdir(parents=True, exist_ok=True)
    target, file = folder / run.name, folder / f"{run.name}.yaml"
    shutil.rmtree(target, ignore_errors=True)  # of a run that was cut off
    file.write_text(yaml.safe_dump(run.config))
    train(target, file)
    curve, steps = mean_curve(records(target)), run.config["total_steps"]
    marks = np.linspace(steps / MARKS, steps, MARKS)
    at = np.minimum(np.searchsorted(curve.steps, marks), len(curve.steps) - 1)
    row = {
        "name": run.name, "stage": run.stage, "game": run.game, "arm": run.arm, "vary": run.vary,
        "seed": run.seed, "steps": steps, "commit": provenance()["commit"],
        "curve": [None if np.isnan(each) else round(float(each), 3) for each in curve.returns[at]],
        "evaluation": evaluated(target, plan["evaluation"]),
        "measured": last_measures(target),
        "config": yaml.safe_load((target / "config.yaml").read_text()),
    }  # fmt: skip
    shutil.rmtree(target)
    file.unlink()
    return row


def evaluated(run: Path, how: Tree) -> Tree:
    """Returns of each game, by agent ("mean": the averaged policy)."""
    command = [sys.executable, "-m", "gala", "eval", str(run), "--agent", "all", "--json"]
    command += ["--episodes", str(how["episodes"]), "--policy", how["policy"]]
    command += ["--seed", str(how["seed"])]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT,
        preexec_fn=bound_to(os.getpid()),
    )  # fmt: skip
    return {str(each["agent"]): each["returns"] for each in json.loads(done.stdout)["results"]}


MEASURES = (
    "divergence/relative", "divergence/epsilon_ratio", "divergence/step_cosine", "losses/entropy"
)  # fmt: skip


def last_measures(run: Path) -> Tree:
    """Median over the second half of the run of what says how agents differ, over all agents."""
    found: Tree = {}
    for name in MEASURES:
        values = [
            row[name]
            for rows in records(run).values()
            for row in rows[len(rows) // 2 :]
            if row.get(name) is not None
        ]
        if values:
            found[name] = round(float(np.median(values)), 6)
    return found


def run_stage(plan: Tree, stage: str, folder: Path, minutes: float) -> None:
    """Run what is missing of a stage, for at most ``minutes``."""
    DATA.mkdir(parents=True, exist_ok=True)
    until, done = time.monotonic() + 60 * minutes, results(stage)
    missing = [run for run in runs_of(plan, stage) if run.name not in done]
    for index, run in enumerate(missing):
        if time.monotonic() > until:
            print(f"evidence: time is up, {len(missing) - index} runs of {stage} are left")
            return
        row = measure(run, plan, folder)
        if row["commit"].endswith("-dirty"):
            raise SystemExit("evidence: the tree is not clean; nothing is kept")
        with (DATA / f"{stage}.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(f"evidence: {index + 1} of {len(missing)}: {run.name}: {score(row):.2f}", flush=True)


def report(plan: Tree) -> None:
    """Write the page of what is there."""
    rows = {stage: list(results(stage).values()) for stage in plan["stages"]}
    count = {
        stage: len(wanted["games"]) * len(wanted["arms"]) * len(wanted["seeds"])
        * len(wanted.get("vary", {"": {}}))
        for stage, wanted in plan["stages"].items()
    }  # fmt: skip
    missing = {stage: count[stage] - len(rows[stage]) for stage in count}
    write_page(plan, rows, None if missing["tuning"] else tuning_means(plan, "tuning"), missing)


def main() -> None:
    """Run a stage, or write the page."""
    plan = yaml.safe_load(PLAN.read_text())
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", choices=[*plan["stages"], "report"])
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "evidence")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no run after")
    options = parser.parse_args()
    if options.stage == "report":
        report(plan)
    else:
        run_stage(plan, options.stage, options.folder, options.minutes)


if __name__ == "__main__":
    main()
