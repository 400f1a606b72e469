"""One run of a search, watched: what it was worth after each of equal shares of its steps."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from gala.bench.live_run import LiveRun
from gala.report.curves import SHORT, Curve, learning_curve
from gala.report.run_data import read_run

SHARES = 20
"""Of all steps; after each a run may be given up."""


class WatchedRun:
    """``gala train ARGUMENTS`` until its steps are done, or it is given up; ends with this process.

    Args:
        run: the run folder to make.
        agents: number of agents.
        arguments: of ``gala train``.
        total_steps: of all agents.

    Attributes:
        run: its folder.
        share: so many of :data:`SHARES` are done and reported.
    """

    def __init__(self, run: Path, agents: int, arguments: list[str], total_steps: int) -> None:
        self.run, self.share = run, 0
        self._total_steps = total_steps
        self._live = LiveRun(run, agents, *arguments)

    def progress(self) -> Iterator[tuple[int, float]]:
        """Number and value of each share that is done since the last call, if it has a value."""
        self._live.poll()
        newest = [rows[-1]["step"] for rows in self._live.records.values() if rows]
        done = min(int(sum(newest) * SHARES // self._total_steps), SHARES - 1)
        if done <= self.share:
            return
        curve = self._curve()
        for share in range(self.share + 1, done + 1):
            value = value_at(curve, self._total_steps * share / SHARES)
            if value is not None:
                yield share, value
        self.share = done

    @property
    def exit_code(self) -> int | None:
        """How it ended; None while it trains."""
        return self._live.process.poll()

    def value(self) -> float | None:
        """Mean over agents of their last 100 raw returns when all steps were done; None: never."""
        curve = self._curve()
        value = value_at(curve, self._total_steps)
        if value is None and curve is not None and curve.steps[-1] >= SHORT * self._total_steps:
            value = _finite(float(curve.mean[-1]))
        return value

    def last_words(self) -> str:
        """The last line that it printed."""
        return self._live.last_words()

    def stop(self) -> None:
        """End it; it saves first."""
        self._live.finish()

    def _curve(self) -> Curve | None:
        found = read_run(self.run.name, self.run)
        return learning_curve(found) if any(agent.t.size for agent in found.agents) else None


def value_at(curve: Curve | None, steps: float) -> float | None:
    """The mean return when so many steps were done; None: that is not known."""
    part = None if curve is None else curve.until(steps)
    return None if part is None else _finite(float(part.mean[-1]))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
