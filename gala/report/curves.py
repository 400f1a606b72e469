"""How a run learns: the return of its agents along their common steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from gala.evaluation.statistics import Interval, curve_band, iqm, mean
from gala.report.run_data import AgentData, Array, RunData, held

MOMENTS = 20_000
"""Moments at which the agents of a run are looked at together, at most."""

POINTS = 200
"""Of a curve that is drawn."""

SHORT = 0.99
"""Share of its steps that a finished run has recorded at least."""


@dataclass(frozen=True, eq=False)
class Curve:
    """A run at K moments, in the order of steps.

    Attributes:
        steps: Float64[K], environment steps of all agents, rising.
        seconds: Float64[K], of training.
        returns: Float64[N, K], of each agent with a finished game; NaN before its first.
        mean: Float64[K], of the agents; NaN before the last of them has a return.
        ranks: of the N agents.
    """

    steps: Array
    seconds: Array
    returns: Array
    mean: Array
    ranks: tuple[int, ...] = ()

    @property
    def complete(self) -> slice:
        """The part in which every agent has a return."""
        return slice(int(np.isnan(self.mean).sum()), None)

    def until(self, steps: float) -> Curve | None:
        """The same up to ``steps``, where it ends between two moments; None: it was not there."""
        if not self.steps[0] <= steps <= self.steps[-1]:
            return None
        kept = self.steps < steps
        parts = (self.steps, self.seconds, *self.returns, self.mean)
        cut = [np.append(part[kept], np.interp(steps, self.steps, part)) for part in parts]
        returns = np.stack(cut[2:-1])
        return replace(self, steps=cut[0], seconds=cut[1], returns=returns, mean=cut[-1])


def learning_curve(run: RunData) -> Curve | None:
    """The return of the agents of ``run``; None when none has finished a game.

    Agents record at moments of their own: at each moment an agent is as its newest record says.
    What a launch did beyond the checkpoint from which the next one went on was undone, and is
    left out.
    """
    moments = _moments(run.agents)
    known = [agent for agent in run.agents if agent.last("charts/episodic_return") is not None]
    if not known:
        return None
    steps = np.sum([_at(agent, agent.step, moments, 0.0) for agent in run.agents], axis=0)
    returns = np.stack(
        [_at(agent, held(agent.values["charts/episodic_return"]), moments) for agent in known]
    )
    stands = steps <= np.minimum.accumulate(steps[::-1])[::-1]
    return Curve(
        steps=steps[stands],
        seconds=run.clock(moments[stands]),
        returns=returns[:, stands],
        mean=returns[:, stands].mean(axis=0),
        ranks=tuple(agent.rank for agent in known),
    )


def first_reach(curve: Curve, threshold: float) -> tuple[float, float] | None:
    """Steps and seconds until the mean return reached ``threshold`` first; None if never."""
    reached = np.flatnonzero(curve.mean >= threshold)
    if not reached.size:
        return None
    return float(curve.steps[reached[0]]), float(curve.seconds[reached[0]])


def area(curve: Curve, begin: float) -> float:
    """Area under the mean return from step ``begin`` to the end, over their distance.

    The mean return over steps, of straight lines between moments; at the end itself where the
    curve is no longer than that.
    """
    steps, values = curve.steps[curve.complete], curve.mean[curve.complete]
    if steps[-1] <= begin:
        return float(values[-1])
    grid = np.concatenate([[begin], steps[steps > begin]])
    return float(np.trapezoid(np.interp(grid, steps, values), grid) / (grid[-1] - begin))


def band_over_agents(curve: Curve) -> tuple[Array, Interval] | None:
    """Steps, and the mean return of the agents of one run with its 95 % interval."""
    part = curve.complete
    steps = curve.steps[part]
    if not steps.size:
        return None
    grid = np.linspace(steps[0], steps[-1], POINTS)
    rows = [np.interp(grid, steps, row[part]) for row in curve.returns]
    return grid, curve_band(rows, mean)


def band_over_runs(curves: Sequence[Curve]) -> tuple[Array, Interval] | None:
    """Steps that all runs did, and the IQM of their mean returns with its 95 % interval."""
    parts = [(curve.steps[curve.complete], curve.mean[curve.complete]) for curve in curves]
    if not parts or not all(steps.size for steps, _ in parts):
        return None
    begin, end = max(steps[0] for steps, _ in parts), min(steps[-1] for steps, _ in parts)
    if begin >= end:
        return None
    grid = np.linspace(begin, end, POINTS)
    return grid, curve_band([np.interp(grid, steps, values) for steps, values in parts], iqm)


def over_steps(run: RunData, metric: str) -> tuple[Array, Array]:
    """Steps of all agents, and the largest value that an agent had then; both Float64[K]."""
    moments = _moments(run.agents)
    steps = np.sum([_at(agent, agent.step, moments, 0.0) for agent in run.agents], axis=0)
    rows = np.stack([_at(agent, agent.values[metric], moments) for agent in run.agents])
    stands = steps <= np.minimum.accumulate(steps[::-1])[::-1]
    known = stands & np.isfinite(rows).any(axis=0)
    return steps[known], np.fmax.reduce(rows[:, known], axis=0)


def _moments(agents: Sequence[AgentData]) -> Array:
    every = np.unique(np.concatenate([agent.t for agent in agents]))
    stride = -(-every.size // MOMENTS)
    # counted from the end, so that the last moment is always among them
    return every if stride <= 1 else np.asarray(every[::-1][::stride][::-1])


def _at(agent: AgentData, values: Array, moments: Array, before: float = np.nan) -> Array:
    """``values`` as they stood at ``moments``; ``before`` the first record."""
    index = np.searchsorted(agent.t, moments, side="right") - 1
    if not values.size:
        return np.full(moments.shape, before)
    return np.where(index >= 0, values[np.maximum(index, 0)], before)
