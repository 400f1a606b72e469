"""One liar of five on CartPole: what the others learn under each rule of mixing.

    python experiments/bench/robust.py [--seeds 1 2 3 4 5] [--weights uniform clipped trimmed]
                                       [--folder runs/robust]

The last agent publishes its parameters times ``LIE``, and is believed (no trust radius). Runs that
are in the folder already are not trained again. Writes experiments/results/robust.{json,md}.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

AGENTS, LIE = 5, -3.0
GAMES = 20
SOLVED = 475.0
HERE = Path(__file__).resolve().parent


def nothing(event: object) -> None:
    """The callback by which this module is loaded in each agent; the lie is made at import."""


def _lie() -> None:
    from gala.gossip.mixing import Averaging

    honest = Averaging.outgoing
    Averaging.outgoing = (  # type: ignore[method-assign]
        lambda self, out_neighbours: honest(self, out_neighbours) * LIE
    )


if os.environ.get("RANK") == str(AGENTS - 1) and "ROBUST_LIE" in os.environ:
    _lie()


def run_of(folder: Path, weights: str, seed: int, *, lies: bool) -> Path:
    """A run of five agents, trained unless it was before."""
    from gala.launch.processes import bound_to

    run = folder / f"{weights}-{'liar' if lies else 'honest'}-{seed}"
    if (run.with_suffix(".done")).exists():
        return run
    graph = folder / f"{weights}.yaml"
    graph.write_text(f"family: complete\nweights: {weights}\n")
    command = [sys.executable, "-m", "gala", "train", "cartpole", "--agents", str(AGENTS)]
    command += ["--seed", str(seed), "--topology", str(graph)]
    command += ["--callbacks", "robust:nothing", "--gossip.trust-radius", "null"]
    command += ["--run-dir", str(run), "--log.tensorboard", "false"]
    path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path} | ({"ROBUST_LIE": "1"} if lies else {})
    subprocess.run(
        command,
        env=environment,
        check=True,
        stdout=subprocess.DEVNULL,
        preexec_fn=bound_to(os.getpid()),
    )
    run.with_suffix(".done").touch()
    return run


def measure(folder: Path, weights: str, seed: int, *, lies: bool) -> dict[str, Any]:
    """What the honest agents of a run are worth, and where they are."""
    import torch

    from gala.run import checkpoint

    run = run_of(folder, weights, seed, lies=lies)
    rows = []
    for rank in range(AGENTS - 1):
        path = checkpoint.newest(checkpoint.folder_of(run, rank))
        assert path is not None, f"{run}: agent {rank} saved nothing"
        rows.append(checkpoint.load(path)["params"].double())
    honest = torch.stack(rows)
    mean = honest.mean(0)
    return {
        "weights": weights,
        "lies": lies,
        "seed": seed,
        "mean_return": evaluated(run),
        "norm": float(mean.norm()),
        "furthest": float((honest - mean).norm(dim=1).max()),
    }


def evaluated(run: Path) -> float:
    """Mean return of the honest agents, most likely actions, fresh games."""
    found = []
    for rank in range(AGENTS - 1):
        command = [sys.executable, "-m", "gala", "eval", str(run), "--episodes", str(GAMES)]
        command += ["--agent", str(rank), "--policy", "greedy", "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found.append(float(json.loads(done.stdout)["results"][0]["mean_return"]))
    return sum(found) / len(found)


def rows_of(results: list[dict[str, Any]]) -> list[list[str]]:
    """A row for each rule, with and without the liar."""
    rows = []
    for weights, lies in dict.fromkeys((one["weights"], one["lies"]) for one in results):
        mine = [one for one in results if (one["weights"], one["lies"]) == (weights, lies)]
        solved = sum(one["mean_return"] >= SOLVED for one in mine)
        rows.append([
            weights, "one of five" if lies else "nobody",
            " ".join(f"{one['mean_return']:.0f}" for one in mine),
            f"{solved} of {len(mine)}",
            f"{max(one['norm'] for one in mine):.3g}",
            f"{max(one['furthest'] for one in mine):.3g}",
        ])  # fmt: skip
    return rows


def main() -> None:
    """Measure, write."""
    from recording import ROOT, table, write

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--weights", nargs="+", default=["uniform", "clipped", "trimmed"])
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "robust")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    results = [
        measure(options.folder.resolve(), weights, seed, lies=lies)
        for weights in options.weights
        for lies in (False, True)
        for seed in options.seeds
    ]
    header = [
        "weights", "who lies", f"mean return of the honest, by seed ({GAMES} games each)",
        f">= {SOLVED:.0f}", "largest norm of their mean",
        "furthest of one from it",
    ]  # fmt: skip
    text = f"""# One liar of five on CartPole

Complete graph, `gala train cartpole`. The liar publishes {LIE:g} times its parameters with every
message, and nobody refuses it: the trust radius is off, so that the rule of mixing stands alone.
Most likely actions, fresh games, at the end of each run.

{table(header, rows_of(results))}
"""
    write("robust", {"results": results}, text)


if __name__ == "__main__":
    main()
