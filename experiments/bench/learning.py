"""How well a run played, and when it had learned its game."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Record = dict[str, Any]
Floats = NDArray[np.float64]


class Curve(NamedTuple):
    """What all agents together did.

    Attributes:
        seconds: since the first record.
        steps: of all agents.
        returns: mean raw return of the newest games of all agents, NaN before there are enough.
    """

    seconds: Floats
    steps: Floats
    returns: Floats


def mean_curve(rows: Mapping[int, Sequence[Record]], games: int = 100) -> Curve:
    """Mean raw return of the last ``games`` games of all agents together, record by record.

    Of each agent's newest record at a time; the window is the shortest that ends there and holds at
    least as many games.
    """
    times = np.unique([r["t"] for each in rows.values() for r in each])
    total = {
        name: np.sum([_held(each, name, times) for each in rows.values()], axis=0)
        for name in ("step", "charts/episodes", "charts/return_sum")
    }
    played = np.concatenate([[0.0], total["charts/episodes"]])
    won = np.concatenate([[0.0], total["charts/return_sum"]])
    begin = np.searchsorted(played, played[1:] - games, side="right") - 1
    with np.errstate(invalid="ignore", divide="ignore"):
        means = (won[1:] - won[begin]) / (played[1:] - played[begin])
    return Curve(times - times[0], total["step"], np.where(begin < 0, np.nan, means))


def _held(each: Sequence[Record], name: str, times: Floats) -> Floats:
    """Values of the newest record at each time, 0 before the first."""
    index = np.searchsorted([r["t"] for r in each], times, side="right")
    return np.concatenate([[0.0], [r[name] for r in each]])[index]


def reached(curve: Curve, goal: float) -> tuple[float, float] | None:
    """Seconds and steps at which the mean return first is ``goal``; None: never."""
    there = np.flatnonzero(curve.returns >= goal)
    return (float(curve.seconds[there[0]]), float(curve.steps[there[0]])) if len(there) else None


def at_steps(curve: Curve, steps: float) -> float | None:
    """Mean return when all agents together had done ``steps``; None: they had not, or too early."""
    there = np.flatnonzero(curve.steps >= steps)
    value = curve.returns[there[0]] if len(there) else np.nan
    return None if np.isnan(value) else float(value)
