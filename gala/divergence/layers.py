"""Layers: distances to the mean, layer by layer, that show which one drifts apart.

Each tensor of the network has a sketch of its own, all in one record of ``rank_RR/layers.bin``
(the format of ``sketches.bin``, with the sketches of all layers in a row).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gala.divergence.sketch import Sketcher, distances_to_mean
from gala.telemetry.sketches import guard_sketches, read_sketches

BUCKETS = 64
"""Of each layer; the relative error of a distance is 9 %, and 0 where a layer is no larger."""


class LayerTracker:
    """Writes this agent's sketches and measures each layer from everybody's.

    Args:
        run_dir: the run folder.
        rank: index of this agent.
        agents: number of agents.
        layout: ``(name, shape)`` of each tensor, in the order of the vector.
        incarnation: restarts of this agent so far.
        tell: is told when sketches cannot be written, and when they can again.

    Attributes:
        to_mean: ``||x_i - mean||_2`` of this agent by layer, at the last tick that all wrote.
    """

    def __init__(
        self,
        run_dir: Path,
        *,
        rank: int,
        agents: int,
        layout: Sequence[tuple[str, tuple[int, ...]]],
        incarnation: int = 0,
        tell: Callable[[str], object] = lambda text: None,
    ) -> None:
        self._files = [run_dir / f"rank_{i:02d}" / "layers.bin" for i in range(agents)]
        self._rank, self._incarnation = rank, incarnation
        self._names = [name for name, _ in layout]
        self._sizes = [int(np.prod(shape)) for _, shape in layout]
        self._sketchers = [Sketcher(size, BUCKETS, seed=k) for k, size in enumerate(self._sizes)]
        self._writer = guard_sketches(self._files[rank], BUCKETS * len(layout), tell)
        self.to_mean: dict[str, float] = {}

    def observe(self, vector: Tensor, *, tick: int, update: int, step: int) -> None:
        """At tick ``tick``: append the sketches of ``vector`` and measure the tick before."""
        parts = torch.split(vector, self._sizes)
        sketches = [sketch(part) for sketch, part in zip(self._sketchers, parts, strict=True)]
        fields: dict[str, Any] = {
            "t": time.time(),
            "tick": tick,
            "update": update,
            "step": step,
            "incarnation": self._incarnation,
            "norm": float(vector.norm()),
            "update_norm": 0.0,
            "mix_every": 1,
            "delay": 0,
            "sketch": np.concatenate(sketches),
        }
        self._writer.use(lambda file: file.append(**fields))
        self.to_mean = self._measure(tick - 1) or self.to_mean

    def metrics(self) -> dict[str, float | None]:
        """``divergence/layer/NAME`` for every tensor of the network."""
        return {f"divergence/layer/{name}": value for name, value in self.to_mean.items()}

    def close(self) -> None:
        """Close the own file."""
        self._writer.close()

    def _measure(self, tick: int) -> dict[str, float]:
        rows: list[NDArray[np.float64]] = []
        mine = None
        for rank, path in enumerate(self._files):
            recent = read_sketches(path, last=4)
            match = recent[recent["tick"] == tick]
            if len(match):
                mine = len(rows) if rank == self._rank else mine
                rows.append(match[-1]["sketch"].astype(np.float64))
        if mine is None:
            return {}
        layers = np.stack(rows).reshape(len(rows), len(self._names), BUCKETS)
        return {
            name: float(distances_to_mean(layers[:, k])[mine]) for k, name in enumerate(self._names)
        }
