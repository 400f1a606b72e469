"""One liar of five on CartPole: what the others learn under each rule of mixing.

    python experiments/bench/robust.py                       every rule, 200,000 steps each
    python experiments/bench/robust.py --total-steps 50000 --weights uniform trimmed

The last agent publishes its parameters times ``LIE``, and is believed (no trust radius). A row is
the mean over the honest agents of their last recorded return.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

AGENTS, LIE = 5, -3.0
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


def learned(weights: str, steps: int, folder: Path, *, lies: bool) -> float:
    """Mean last return of the honest agents of one run."""
    name = f"{weights}-{'liar' if lies else 'honest'}"
    graph = folder / f"{name}.yaml"
    graph.write_text(f"family: complete\nweights: {weights}\n")
    command = [sys.executable, "-m", "gala", "train", "cartpole", "--agents", str(AGENTS)]
    command += ["--total-steps", str(steps), "--topology", str(graph)]
    command += ["--callbacks", "robust:nothing", "--gossip.trust-radius", "null"]
    command += ["--run-dir", str(folder / name), "--log.tensorboard", "false"]
    path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path} | ({"ROBUST_LIE": "1"} if lies else {})
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    returns = []
    for rank in range(AGENTS - 1):
        lines = (folder / name / f"rank_{rank:02d}" / "metrics.jsonl").read_text().splitlines()
        found = [json.loads(line).get("charts/episodic_return") for line in lines]
        returns.append([value for value in found if value is not None][-1])
    return float(sum(returns) / len(returns))


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--total-steps", type=int, default=200_000)
    parser.add_argument("--weights", nargs="+", default=["uniform", "clipped", "trimmed"])
    options = parser.parse_args()
    print("| weights | nobody lies | one of five lies |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for weights in options.weights:
            both = [
                learned(weights, options.total_steps, Path(folder), lies=lies)
                for lies in (False, True)
            ]
            print(f"| {weights} | {both[0]:.0f} | {both[1]:.0f} |", flush=True)


if __name__ == "__main__":
    main()
