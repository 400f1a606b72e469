"""How far the agents are from each other, from the newest sketches of their parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gala.telemetry.sketches import read_sketches, sketch_damage

NONE: dict[str, Any] = {"ranks": [], "matrix": [], "t": None, "error": None}
"""The answer where fewer than two agents have sketches."""


def distances_of(files: Mapping[int, Path]) -> tuple[dict[str, Any], list[str]]:
    """``||x_i - x_j||_2`` of all pairs of agents that sketched the newest common tick.

    Args:
        files: a ``sketches.bin`` of each agent; it need not exist.

    Returns:
        ``ranks``, ``matrix``, unix time ``t`` and the relative standard error ``error``; and a line
        on each file that is not as it should be.
    """
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
        whole = np.isfinite(records["sketch"]).all(axis=1) & np.isfinite(records["t"])
        if records["sketch"].shape[1] != size:
            problems.append(
                f"{files[rank].parent.name}/sketches.bin: the others' have {size} values"
            )
        elif not whole.all():
            problems.append(f"{files[rank].parent.name}/sketches.bin: values that are no numbers")
        if records["sketch"].shape[1] == size and whole.any():
            newest[rank] = records[whole]
    if len(newest) < 2:
        return dict(NONE), problems
    # An agent may not have written the newest tick yet: the newest that most of them share.
    ticks = [int(tick) for records in newest.values() for tick in set(records["tick"].tolist())]
    tick = max(set(ticks), key=lambda each: (ticks.count(each), each))
    rows = {
        rank: records[records["tick"] == tick][-1]
        for rank, records in newest.items()
        if (records["tick"] == tick).any()
    }
    sketches = np.stack([row["sketch"] for row in rows.values()]).astype(np.float64)
    centred = sketches - sketches.mean(axis=0)
    gram = centred @ centred.T
    squares = np.diag(gram)
    apart = np.sqrt(np.maximum(squares[:, None] + squares - 2.0 * gram, 0.0))
    np.fill_diagonal(apart, 0.0)
    return {
        "ranks": list(rows),
        "matrix": [[float(f"{value:.5g}") for value in row] for row in apart.tolist()],
        "t": max(float(row["t"]) for row in rows.values()),
        "error": 1.0 / math.sqrt(2.0 * size),
    }, problems
