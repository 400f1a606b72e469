"""What a change did to the speed: commits take turns training the same thing.

    python experiments/bench/commits.py BEFORE [--after COMMIT] [--rounds 3] [--seconds 20]
                                        [--agents 2] [ARGUMENTS OF GALA TRAIN]

Commits are anything that git knows; the working tree is compared when --after is not given. Without
arguments: Pong with 16 environments per agent. Prints; what pays is told in the commit's message.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from recording import ROOT

from gala.bench.measurement import Case, Measurement, measure
from gala.telemetry.phases import PHASES

WORKING_TREE = "the working tree"


@contextlib.contextmanager
def checkout(commit: str) -> Iterator[Path]:
    """A folder with the files of ``commit``."""
    if commit == WORKING_TREE:
        yield ROOT
        return
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", str(tree), commit], check=True)
        try:
            yield tree
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True)


@contextlib.contextmanager
def code_of(tree: Path) -> Iterator[None]:
    """New processes run the package that lies in ``tree``."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(tree)
    try:
        with contextlib.chdir(tree):
            yield
    finally:
        os.environ.pop("PYTHONPATH")
        if before is not None:
            os.environ["PYTHONPATH"] = before


def text_of(before: Sequence[Measurement], after: Sequence[Measurement]) -> str:
    """Medians of both, and of the ratios within a round."""
    ratios = [b.steps_per_second / a.steps_per_second for a, b in zip(before, after, strict=True)]
    lines = []
    for name, found in (("before", before), ("after", after)):
        speed = statistics.median(each.steps_per_second for each in found)
        split = ", ".join(
            f"{phase} {statistics.median(each.phases_ms[phase] for each in found):.2f}"
            for phase in PHASES
        )
        lines.append(f"{name:6}  {speed:7,.0f} steps/s; ms per update: {split}")
    middle, low, high = statistics.median(ratios), min(ratios), max(ratios)
    return "\n".join([*lines, f"after / before: {middle:.3f} ({low:.3f} to {high:.3f})"])


def main() -> None:
    """Measure in turns, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("before")
    parser.add_argument("--after", default=WORKING_TREE)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--agents", type=int, default=2)
    options, arguments = parser.parse_known_args()
    arguments = arguments or ["pong-paper"]
    found: dict[str, list[Measurement]] = {"before": [], "after": []}
    with checkout(options.before) as before, checkout(options.after) as after:
        for number in range(options.rounds):
            for name, tree in (("before", before), ("after", after)):
                with code_of(tree):
                    case = Case(name=name, agents=options.agents, arguments=tuple(arguments))
                    found[name].append(measure(case, options.seconds))
                speed = found[name][-1].steps_per_second
                print(f"round {number + 1}: {name}: {speed:,.0f} steps/s", flush=True)
    print(text_of(found["before"], found["after"]))


if __name__ == "__main__":
    main()
