"""How far the agents are from each other, and how much their updates agree: newest sketches."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gala.telemetry.sketches import read_sketches, sketch_damage

NONE: dict[str, Any] = {"ranks": [], "matrix": [], "t": None, "error": None}
"""The answer where fewer than two agents have sketches."""

Answer = dict[str, Any]
"""``ranks``, ``matrix``, unix time ``t`` and the standard error ``error``."""


def distances_of(files: Mapping[int, Path]) -> Answer:
    """``||x_i - x_j||_2`` of all pairs of agents that sketched the newest common tick.

    Args:
        files: a ``sketches.bin`` of each agent; it need not exist.

    Returns:
        See :data:`Answer`; the error is relative.
    """
    rows, _ = _newest(files)
    if len(rows) < 2:
        return dict(NONE)
    sketches = np.stack([row["sketch"] for row in rows.values()]).astype(np.float64)
    centred = sketches - sketches.mean(axis=0)
    gram = centred @ centred.T
    squares = np.diag(gram)
    apart = np.sqrt(np.maximum(squares[:, None] + squares - 2.0 * gram, 0.0))
    np.fill_diagonal(apart, 0.0)
    return _answer(rows, apart, error=1.0 / math.sqrt(2.0 * sketches.shape[1]))


def agreement_of(files: Mapping[int, Path]) -> Answer:
    """Cosines between the steps of all pairs of agents at the newest common tick.

    Args:
        files: a ``steps.bin`` of each agent; it need not exist.

    Returns:
        See :data:`Answer`; also ``mean`` of all pairs. The error is that of a cosine near 0.
    """
    rows, _ = _newest(files)
    sketches = {rank: row["sketch"].astype(np.float64) for rank, row in rows.items()}
    lengths = {rank: float(np.linalg.norm(sketch)) for rank, sketch in sketches.items()}
    rows = {rank: row for rank, row in rows.items() if lengths[rank] > 0}  # one that did not move
    if len(rows) < 2:
        return NONE | {"mean": None}
    unit = np.stack([sketches[rank] / lengths[rank] for rank in rows])
    cosine = np.clip(unit @ unit.T, -1.0, 1.0)
    np.fill_diagonal(cosine, 1.0)
    count = len(rows)
    mean = float(f"{(cosine.sum() - count) / (count * (count - 1)):.5g}")
    answer = _answer(rows, cosine, error=1.0 / math.sqrt(unit.shape[1]))
    return answer | {"mean": mean}


def problems_with(files: Mapping[int, Path]) -> list[str]:
    """A line on each of these files that is not as it should be."""
    return _newest(files)[1]


def _newest(files: Mapping[int, Path]) -> tuple[dict[int, NDArray[np.void]], list[str]]:
    """A record of each agent that sketched the newest tick that most share, and problems."""
    problems = [
        f"{path.parent.name}/{path.name}: {wrong}"
        for path in files.values()
        if (wrong := sketch_damage(path)) is not None
    ]
    read = {rank: read_sketches(path, last=3) for rank, path in files.items()}
    read = {rank: records for rank, records in read.items() if len(records)}
    sizes = [records["sketch"].shape[1] for records in read.values()]
    size = max(set(sizes), key=sizes.count, default=0)
    newest = {}
    for rank, records in read.items():
        name = f"{files[rank].parent.name}/{files[rank].name}"
        whole = np.isfinite(records["sketch"]).all(axis=1) & np.isfinite(records["t"])
        if records["sketch"].shape[1] != size:
            problems.append(f"{name}: the others' have {size} values")
        elif not whole.all():
            problems.append(f"{name}: values that are no numbers")
        if records["sketch"].shape[1] == size and whole.any():
            newest[rank] = records[whole]
    if len(newest) < 2:
        return {}, problems
    # An agent may not have written the newest tick yet: the newest that most of them share.
    ticks = [int(tick) for records in newest.values() for tick in set(records["tick"].tolist())]
    tick = max(set(ticks), key=lambda each: (ticks.count(each), each))
    return {
        rank: records[records["tick"] == tick][-1]
        for rank, records in newest.items()
        if (records["tick"] == tick).any()
    }, problems


def _answer(
    rows: Mapping[int, NDArray[np.void]], matrix: NDArray[np.float64], *, error: float
) -> Answer:
    return {
        "ranks": list(rows),
        "matrix": [[float(f"{value:.5g}") for value in row] for row in matrix.tolist()],
        "t": max(float(row["t"]) for row in rows.values()),
        "error": error,
    }
