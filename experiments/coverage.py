"""What the 95 % intervals of ``gala report`` cover: of few runs less than they say.

    python experiments/coverage.py

Draws sets of runs whose true interquartile mean is known, and counts whose interval holds it, with
the bootstrap that the report uses. Writes experiments/results/coverage.{json,md}; two minutes.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent / "bench"))

from recording import table, write

from gala.evaluation.statistics import bootstrap, iqm

RUNS = (2, 3, 4, 5, 6, 7, 8, 9, 10, 20)
SETS = 10_000


def scores(kind: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Final returns of runs: spread evenly about their mean, or with a long tail of failures."""
    generator = np.random.default_rng(shape[1])
    draws = generator.standard_normal(shape)
    return draws if kind == "normal" else -np.exp(draws)


def covered(kind: str, runs: int, true: float) -> float:
    """Share of the sets of ``runs`` runs whose interval holds the true interquartile mean."""
    found = bootstrap(iqm, scores(kind, (SETS, runs, 1)))
    return float(((found.low <= true) & (true <= found.high)).mean())


def main() -> None:
    """Measure, and write the results."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    shares = {}
    for kind in ("normal", "long tail"):
        true = float(iqm(scores(kind, (1, 2_000_000, 1)))[0])
        shares[kind] = {str(runs): round(covered(kind, runs, true), 4) for runs in RUNS}
    rows = [[str(n), *(f"{shares[kind][str(n)]:.1%}" for kind in shares)] for n in RUNS]
    text = (
        "# What a nominal 95 % interval covers\n\n"
        f"Of {SETS:,} sets of runs with a known interquartile mean: share whose stratified "
        "bootstrap interval (percentile, 2,000 resamples) holds it. Scores are normal, or the "
        "negative of a log-normal: most runs alike, some much worse.\n\n"
    )
    write("coverage", {"sets": SETS, "covered": shares}, text + table(["runs", *shares], rows))


if __name__ == "__main__":
    main()
