"""Which is better at equal bytes: all neighbours at once, or one of them at a time?

    python experiments/epsilon_ball.py --parts degree

Agents in random order, as fast as each other, each doing one update of unit length in a random
direction per sweep, then sending along edges that cost a copy each, then mixing by the weights of
the topology. The same number of copies is sent either to all d neighbours at every n-th update, or
to the next of them at every n/d-th; what is measured is how far agents get from their mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from recording import table

from gala.gossip.mixing import Weigh, among_present, without_missing
from gala.topology import load_topology

GRAPHS = [(name, n) for name in ("ring", "exponential", "complete") for n in (4, 8, 16)]
UPDATES, WARM_UP, DIMENSIONS, SEEDS = 900, 300, 64, (1, 2)
PER_EDGE = 4
"""Updates between two messages to the same neighbour, in numbers of neighbours."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Way:
    """How to send and mix.

    Attributes:
        name: column of the table.
        together: send to all neighbours at once.
        weigh: who gets the weight of those that did not send; None: wait until all have.
    """

    name: str
    together: bool
    weigh: Weigh | None


WAYS = (
    Way("to all, mixed when all are there", True, None),
    Way("to all, mixed as they come, weight of the missing shared", True, among_present),
    Way("to one, weight of the missing to self", False, without_missing),
    Way("to one, weight of the missing shared", False, among_present),
)


def farthest(name: str, agents: int, way: Way, seed: int) -> float:
    """99 % quantile, over the sweeps, of the largest distance from the mean."""
    topology, dice = load_topology(name, agents), np.random.default_rng(seed)
    x = np.zeros((agents, DIMENSIONS))
    hearers = [
        sorted(topology.out_neighbours(i), key=lambda j, i=i: (j - i) % agents)  # type: ignore[misc]
        for i in range(agents)
    ]
    box: dict[tuple[int, int], np.ndarray] = {}
    turn = [0] * agents
    since = dice.integers(0, PER_EDGE * len(hearers[0]), agents)
    seen = []
    for _ in range(UPDATES):
        for i in map(int, dice.permutation(agents)):
            x[i] += dice.standard_normal(DIMENSIONS) / np.sqrt(DIMENSIONS)
            since[i] += 1
            copies = len(hearers[i]) if way.together else 1
            if since[i] >= PER_EDGE * copies:
                since[i] = 0
                for k in range(turn[i], turn[i] + copies):
                    box[i, hearers[i][k % len(hearers[i])]] = x[i].copy()
                turn[i] += copies
            own, weights = topology.row(i, 0)
            here = {j for j in weights if (j, i) in box}
            if not here or (way.weigh is None and len(here) < len(weights)):
                continue
            own, weights = (way.weigh or without_missing)(own, weights, here)
            x[i] = own * x[i] + sum(w * box.pop((j, i)) for j, w in weights.items())
        seen.append(np.linalg.norm(x - x.mean(axis=0), axis=1).max())
    return float(np.quantile(seen[WARM_UP:], 0.99))


def measure_degree() -> list[Row]:
    """All graphs, all ways; nothing is trained."""
    rows = []
    for name, agents in GRAPHS:
        found = {
            way.name: float(np.mean([farthest(name, agents, way, seed) for seed in SEEDS]))
            for way in WAYS
        }
        degree = len(load_topology(name, agents).out_neighbours(0))
        rows.append({"topology": name, "agents": agents, "degree": degree} | found)
        print(rows[-1], flush=True)
    return rows


def degree_table(rows: list[Row]) -> str:
    """Distances of each way, and what the best one saves: they grow as the root of the bytes."""
    first, last = WAYS[0].name, WAYS[-1].name
    return table(
        ["graph", "agents", "neighbours", *(way.name for way in WAYS),
         "bytes for equal distance"],
        [
            [r["topology"], str(r["agents"]), str(r["degree"])]
            + [f"{r[way.name]:.2f}" for way in WAYS]
            + [f"{(r[last] / r[first]) ** 2:.0%}"]
            for r in rows
        ],
    )  # fmt: skip
