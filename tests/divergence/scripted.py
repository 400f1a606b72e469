"""Agents whose every step, message, death and return is drawn: what is to be certified."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gala.telemetry.history import History, begin_tick, read_history

Vector = NDArray[np.float64]


@dataclass
class Message:
    version: int
    incarnation: int
    vector: Vector
    rounding: float


@dataclass
class Scripted:
    """N agents in R^P. Every event is recorded as agents record it; sketches are the vectors."""

    folder: Path
    agents: int
    size: int
    seed: int = 0
    capacity: int = 4096
    start: NDArray[np.float64] | None = None
    sketches: dict[tuple[int, int, float], Vector] = field(default_factory=dict)
    cuts: dict[int, dict[int, float]] = field(default_factory=dict)
    coefficients: list[tuple[int, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        start = np.zeros((self.agents, self.size)) if self.start is None else self.start
        self.clock = 0.0
        self.x = [row.copy() for row in start]
        self.mail: list[list[Message]] = [[] for _ in range(self.agents)]
        self.incarnations = [0] * self.agents
        self.updates = [0] * self.agents
        self.versions = [0] * self.agents
        self.histories = [self._history(i) for i in range(self.agents)]
        for i in range(self.agents):
            self.cut(i, begin_tick(0))

    def _history(self, i: int) -> History:
        incarnation = self.incarnations[i]
        path = self.folder / f"{i}.bin"
        return History(path, incarnation=incarnation, capacity=self.capacity)

    def step(self, i: int, update: Vector) -> None:
        self.x[i] = self.x[i] + update
        self.updates[i] += 1
        self.histories[i].step(self.updates[i], float(np.linalg.norm(update)))

    def publish(self, i: int, rounding: float = 0.0) -> None:
        error = self.direction() * rounding
        self.versions[i] += 1
        self.mail[i].append(
            Message(self.versions[i], self.incarnations[i], self.x[i] + error, rounding)
        )
        self.histories[i].published(self.versions[i], rounding)

    def mix(self, i: int, weights: dict[int, float], ages: dict[int, int] | None = None) -> None:
        taken = {}
        for j, weight in weights.items():
            age = (ages or {}).get(j, 0)
            if age < len(self.mail[j]):
                taken[j] = (weight, self.mail[j][-1 - age])
        own = 1.0 - sum(weight for weight, _ in taken.values())
        self.x[i] = own * self.x[i] + sum(w * m.vector for w, m in taken.values())
        weights = {j: weight for j, (weight, _) in taken.items()}
        self.histories[i].mixed(weights, {j: m for j, (_, m) in taken.items()})

    def restart(self, i: int, adopts: int | None) -> None:
        """A new life: with the newest message of ``adopts``, or with what it had (a checkpoint)."""
        self.histories[i].close()
        self.incarnations[i] += 1
        self.versions[i] = self.incarnations[i] * 1000
        self.histories[i] = self._history(i)
        if adopts is None or not self.mail[adopts]:
            self.x[i] = self.x[i] + self.direction()
            self.cut(i, begin_tick(self.incarnations[i]))
            return
        newest = self.mail[adopts][-1]
        self.x[i] = newest.vector.copy()
        self.histories[i].adopted(adopts, newest.incarnation, newest.version)

    def cut(self, i: int, tick: int) -> None:
        self.clock += 1.0
        self.sketches[i, tick, self.clock] = self.x[i].copy()
        self.cuts.setdefault(tick, {})[i] = self.clock
        self.histories[i].cut(tick, self.clock)

    def direction(self) -> Vector:
        drawn = self.rng.standard_normal(self.size)
        return drawn / np.linalg.norm(drawn)

    def read(self) -> dict[int, NDArray[np.void]]:
        return {i: read_history(self.folder / f"{i}.bin") for i in range(self.agents)}


def spread(rows: list[Vector]) -> float:
    """``||X - Xbar||_F``."""
    x = np.stack(rows)
    return float(np.linalg.norm(x - x.mean(axis=0)))
