"""Certificates while a run goes on: which records to read, and where a window begins.

A window that begins at the last tick knows the distance at its beginning, but then most of its
certificate is that measurement; one that begins long ago is all records, and takes longer to walk.
It begins where what it began with has faded to :data:`FADED` of the certificate, and walks take at
most :data:`SHARE` of the time: where there are many agents, not every tick is certified.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gala.divergence.certificate import Certificate, certify
from gala.divergence.sketch import relative_error
from gala.divergence.walk import Incomplete, Sketches
from gala.telemetry.history import CAPACITY, NAME, read_history
from gala.telemetry.sketches import read_sketches

FADED = 0.05
"""Part of a certificate that may come from the measured beginning of its window."""
LONGEST = 64
"""Ticks of the longest window."""
SHARE = 0.01
"""Of the agent's time, at most, for walks."""
FEWEST = 2048
"""Records of each agent that are read at first."""


class Certifier:
    """Certifies the cuts of a run.

    Args:
        run_dir: the run folder.
        agents: N.
        sketch_size: m, of the sketches.
    """

    def __init__(self, run_dir: Path, agents: int, sketch_size: int) -> None:
        self._folders = [run_dir / f"rank_{rank:02d}" for rank in range(agents)]
        self._error = relative_error(sketch_size)
        self._window, self._records = 1, FEWEST
        self._next = 0.0

    def certify(self, tick: int, present: Mapping[int, float]) -> Certificate | Incomplete | None:
        """The certificate of ``tick``; None: no time for it.

        Args:
            tick: of the cut.
            present: the agents with a sketch of it, and the time of that sketch.
        """
        began = time.perf_counter()
        if began < self._next:
            return None
        found = self._certify(tick, present)
        now = time.perf_counter()
        self._next = now + (now - began) / SHARE
        return found

    def _certify(self, tick: int, present: Mapping[int, float]) -> Certificate | Incomplete:
        sketches, norms = self._sketches(tick)
        first = min((at for _, at, _ in sketches if at >= 0), default=tick)
        longest, most = LONGEST, self._records
        while True:
            found = self._walk(tick, present, sketches, norms, most)
            if isinstance(found, Incomplete):
                if found.more and most < CAPACITY:
                    most *= 2
                elif found.more and self._window > 1:
                    longest = self._window = self._window // 2  # the ring is too short for more
                else:
                    return found
                continue
            self._records = most
            if found.beginning > FADED * found.epsilon and 2 * self._window <= longest:
                if tick - self._window > first:
                    self._window *= 2
                    continue
            elif found.beginning < FADED / 10 * found.epsilon and self._window > 1:
                self._window //= 2  # for the next one
            return found

    def _walk(
        self,
        tick: int,
        present: Mapping[int, float],
        sketches: Sketches,
        norms: Mapping[int, float],
        most: int,
    ) -> Certificate | Incomplete:
        return certify(
            {rank: read_history(folder / NAME, most) for rank, folder in enumerate(self._folders)},
            sketches,
            tick=tick,
            present=present,
            begin=tick - self._window,
            norms=norms,
            sketch_error=self._error,
        )

    def _sketches(
        self, tick: int
    ) -> tuple[dict[tuple[int, int, float], NDArray[np.float64]], dict[int, float]]:
        """Sketches of the longest window, and each agent's largest norm."""
        found, norms = {}, {}
        for rank, folder in enumerate(self._folders):
            records = read_sketches(folder / "sketches.bin", last=LONGEST + 8)
            records = records[
                (records["tick"] <= tick) & (records["tick"] >= tick - LONGEST - 4)
                | (records["tick"] < 0)
            ]
            for record in records:
                key = (rank, int(record["tick"]), float(record["t"]))
                found[key] = record["sketch"].astype(np.float64)
            if len(records):
                norms[rank] = float(records["norm"].max())
        return found, norms
