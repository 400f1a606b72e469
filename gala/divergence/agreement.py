"""Whether the agents' updates agree: cosines between their steps, from sketches.

Each agent sketches the last step before each tick, in ``rank_RR/steps.bin`` (the format of
``sketches.bin``). Sketches are linear, so that their scalar products estimate those of the steps;
nobody sends a gradient. Unrelated updates have cosine 0, equal ones 1: the figure 4b of Assran et
al. 2019 (arXiv 1906.04585), while training runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from gala.divergence.sketch import Sketcher
from gala.telemetry.sketches import guard_sketches, read_sketches

NAME = "steps.bin"
MOST = 16
"""Agents of which cosines are recorded one by one."""

Metrics = dict[str, float | None]


class Agreement:
    """Writes the sketches of one agent's steps and compares everybody's.

    Args:
        run_dir: the run folder.
        rank: index of this agent.
        agents: N.
        sketch: of vectors with P elements, equal on all agents.
        tell: is told when sketches cannot be written, and when they can again.
    """

    def __init__(
        self,
        run_dir: Path,
        *,
        rank: int,
        agents: int,
        sketch: Sketcher,
        tell: Callable[[str], object],
    ) -> None:
        self._files = [run_dir / f"rank_{i:02d}" / NAME for i in range(agents)]
        self._rank, self._sketch = rank, sketch
        self._writer = guard_sketches(self._files[rank], sketch.size, tell)
        self._metrics: Metrics = {}

    def write(self, step: Tensor, tick: int, *, update: int, incarnation: int) -> None:
        """Sketch Float[P] ``step``, the newest update before ``tick``."""
        sketch = self._sketch(step)
        self._writer.use(
            lambda file: file.append(
                t=time.time(),
                tick=tick,
                update=update,
                step=0,
                incarnation=incarnation,
                norm=float(step.norm()),
                update_norm=0.0,
                mix_every=0,
                delay=0,
                sketch=sketch,
            )
        )

    def measure(self, tick: int) -> None:
        """Compare the steps of ``tick``."""
        found: dict[int, NDArray[np.float64]] = {}
        for rank, path in enumerate(self._files):
            recent = read_sketches(path, last=4)
            match = recent[(recent["tick"] == tick) & (recent["norm"] > 0)]
            if len(match):
                found[rank] = match[-1]["sketch"].astype(np.float64)
        if len(found) > 1:
            self._metrics = self._compared(found)

    def metrics(self) -> Metrics:
        """``divergence/step_cosine`` and ``divergence/step_cosine/J`` of the newest comparison."""
        return self._metrics

    def close(self) -> None:
        """Close the own file."""
        self._writer.close()

    def _compared(self, sketches: Mapping[int, NDArray[np.float64]]) -> Metrics:
        ranks, cosine = list(sketches), cosines(np.stack(list(sketches.values())))
        count = len(ranks)
        mean = (cosine.sum() - count) / (count * (count - 1))
        metrics: Metrics = {"divergence/step_cosine": float(mean)}
        if self._rank in sketches:
            row = cosine[ranks.index(self._rank)]
            for j in [j for j in ranks if j != self._rank][:MOST]:
                metrics[f"divergence/step_cosine/{j}"] = float(row[ranks.index(j)])
        return metrics


def cosines(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Float64[n, n], between all rows of Float64[n, m] that are not zero."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = rows / np.where(lengths > 0, lengths, 1.0)
    found = np.clip(unit @ unit.T, -1.0, 1.0)
    np.fill_diagonal(found, 1.0)
    return np.asarray(found)
