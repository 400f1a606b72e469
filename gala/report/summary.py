"""What there is to say of runs in numbers: one summary a run, and one a set of seeds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from gala.evaluation.human import game_of, human_normalized
from gala.evaluation.statistics import bootstrap, iqm
from gala.report.curves import Curve, first_reach
from gala.report.run_data import Array, RunData

THRESHOLDS = {"CartPole-v1": 475.0, "pong": 18.0}
"""Mean return from which an environment counts as solved, by id or name of the Atari game."""


class Estimate(NamedTuple):
    """A statistic of runs with its 95 % interval, None where one run cannot tell."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class Summary:
    """One run.

    Attributes:
        name: of the run.
        env_id: None, like the next ones, where ``meta.json`` does not tell.
        agents: number of agents.
        coupling: gossip, allreduce or none.
        topology: its name; None without gossip.
        seed: of the run.
        steps: environment steps of all agents; frames are ``frames_per_step`` times as many.
        frames: of the emulator.
        seconds: of training; pauses between launches do not count.
        steps_per_s: of all agents.
        final_return: newest mean over agents of the mean of their last 100 games; None before.
        threshold: return to reach; None where none is known.
        steps_to_threshold: steps of all agents until the mean return was there; None if never.
        seconds_to_threshold: the same in seconds of training.
        epsilon_ratio_max: largest divergence over its bound; None where no bound applies.
        epsilon_ratio_median: median of it over all records.
        relative_max: largest ``||x_i - mean|| / ||mean||``.
        deaths: of agents, back again or not.
        alarms: events of this kind.
        mixes: of all agents.
        bytes_sent: by all agents.
        bytes_received: by all agents.
        messages_refused: by all agents.
        damaged_lines: of their files.
    """

    name: str
    env_id: str | None
    agents: int
    coupling: str | None
    topology: str | None
    seed: int | None
    steps: int
    frames: int
    seconds: float
    steps_per_s: float
    final_return: float | None
    threshold: float | None
    steps_to_threshold: float | None
    seconds_to_threshold: float | None
    epsilon_ratio_max: float | None
    epsilon_ratio_median: float | None
    relative_max: float | None
    deaths: int
    alarms: int
    mixes: int
    bytes_sent: int
    bytes_received: int
    messages_refused: int
    damaged_lines: int

    @property
    def method(self) -> tuple[int, str | None, str | None]:
        """What was done, whatever the environment."""
        return self.agents, self.coupling, self.topology

    @property
    def label(self) -> str:
        """The method in words."""
        how = self.topology if self.coupling == "gossip" and self.topology else self.coupling
        agents = f"{self.agents} agent{'s' * (self.agents != 1)}"
        return f"{agents}, {how}" if how else agents


@dataclass(frozen=True, kw_only=True)
class RunSet:
    """Runs of one environment that differ in nothing but their seeds.

    Attributes:
        env_id: of all of them.
        label: the method in words.
        runs: names.
        final_return: IQM over runs, and its 95 % interval; None when a run has none.
        steps_per_s: likewise.
        reached: runs that reached the threshold.
        seconds_to_threshold: IQM and interval; None unless every run reached it.
        steps_to_threshold: likewise.
    """

    env_id: str | None
    label: str
    runs: tuple[str, ...]
    final_return: Estimate | None
    steps_per_s: Estimate | None
    reached: int
    seconds_to_threshold: Estimate | None
    steps_to_threshold: Estimate | None


@dataclass(frozen=True, kw_only=True)
class Method:
    """A method on several environments.

    Attributes:
        label: the method in words.
        environments: those on which it ran.
        runs: of each environment.
        score: IQM over runs and environments, and its 95 % interval by the stratified bootstrap.
            A score is 0 for random play and 1 for a human in Atari games, elsewhere the return
            over the threshold.
        scores: Float[R, T], what it was computed of.
    """

    label: str
    environments: tuple[str, ...]
    runs: int
    score: Estimate
    scores: tuple[tuple[float, ...], ...]


def threshold_of(env_id: str | None) -> float | None:
    """The return from which an environment counts as solved, where it is known."""
    if env_id is None:
        return None
    return THRESHOLDS.get(game_of(env_id) or env_id)


def summarize_run(run: RunData, curve: Curve | None, threshold: float | None = None) -> Summary:
    """All numbers of one run.

    Args:
        run: its records.
        curve: its :func:`gala.report.curves.learning_curve`.
        threshold: return to reach; None: that of the environment.
    """
    meta = run.meta
    env_id = _text(meta.get("env_id"))
    threshold = threshold_of(env_id) if threshold is None else threshold
    reach = first_reach(curve, threshold) if curve is not None and threshold is not None else None
    ends = [agent.t[-1] for agent in run.agents if agent.t.size]
    seconds = float(run.clock(np.array([max(ends)]))[0]) if ends else 0.0
    steps = int(sum(agent.step[-1] for agent in run.agents if agent.step.size))
    ratio, relative = run.pooled("divergence/epsilon_ratio"), run.pooled("divergence/relative")
    per_step = _whole(meta.get("frames_per_step")) or 1
    final = curve.returns[:, -1] if curve is not None else np.empty(0)

    def counted(metric: str) -> int:
        return int(sum(agent.counted(metric) for agent in run.agents))

    return Summary(
        name=run.name,
        env_id=env_id,
        agents=max(_whole(meta.get("agents")) or 0, len(run.agents)),
        coupling=_text(meta.get("coupling")),
        topology=run.topology,
        seed=_whole(meta.get("seed")),
        steps=steps,
        frames=steps * per_step,
        seconds=seconds,
        steps_per_s=steps / seconds if seconds > 0 else 0.0,
        final_return=float(final.mean()) if final.size else None,
        threshold=threshold,
        steps_to_threshold=reach[0] if reach else None,
        seconds_to_threshold=reach[1] if reach else None,
        epsilon_ratio_max=float(ratio.max()) if ratio.size else None,
        epsilon_ratio_median=float(np.median(ratio)) if ratio.size else None,
        relative_max=float(relative.max()) if relative.size else None,
        deaths=count_deaths(run),
        alarms=len(run.events("alarm")),
        mixes=counted("gossip/mixes"),
        bytes_sent=counted("gossip/bytes_sent"),
        bytes_received=counted("gossip/bytes_received"),
        messages_refused=counted("gossip/messages_refused"),
        damaged_lines=sum(agent.corrupt for agent in run.agents),
    )


def count_deaths(run: RunData) -> int:
    """Restarts, and agents whom a neighbour saw die and who stayed silent."""
    restarts = 0
    for agent in run.agents:
        restarts += int((np.diff(agent.incarnation) > 0).sum())
    newest = {
        agent.rank: max([*agent.t[-1:], *(e["t"] for e in agent.events)]) for agent in run.agents
    }
    gone = set()
    for event in run.events("dead"):
        match = re.match(r"agent (\d+)\b", str(event.get("message", "")))
        if match and event["t"] > newest.get(int(match[1]), 0.0):
            gone.add(int(match[1]))
    return restarts + len(gone)


def sets_of(summaries: Iterable[Summary]) -> list[RunSet]:
    """Runs grouped by everything but their seeds, in the order of their first runs."""
    return [_set(group) for group in grouped(summaries)]


def grouped(summaries: Iterable[Summary]) -> list[list[Summary]]:
    """The members of each set."""
    groups: dict[object, list[Summary]] = {}
    for each in summaries:
        groups.setdefault((each.env_id, each.method), []).append(each)
    return list(groups.values())


def methods_of(summaries: Sequence[Summary]) -> list[Method]:
    """Methods that ran equally often on each of at least two environments of known scale."""
    found = []
    for method in dict.fromkeys(each.method for each in summaries):
        tasks = [group for group in grouped(summaries) if group[0].method == method]
        columns = [[_score(each) for each in group] for group in tasks]
        complete = all(score is not None for column in columns for score in column)
        if len(tasks) < 2 or not complete or len({len(column) for column in columns}) > 1:
            continue
        scores = np.array(columns, dtype=np.float64).T
        found.append(
            Method(
                label=tasks[0][0].label,
                environments=tuple(str(group[0].env_id) for group in tasks),
                runs=scores.shape[0],
                score=_estimate(scores),
                scores=tuple(tuple(row) for row in scores.tolist()),
            )
        )
    return found


def _set(group: Sequence[Summary]) -> RunSet:
    return RunSet(
        env_id=group[0].env_id,
        label=group[0].label,
        runs=tuple(each.name for each in group),
        final_return=_over_runs([each.final_return for each in group]),
        steps_per_s=_over_runs([each.steps_per_s for each in group]),
        reached=sum(each.seconds_to_threshold is not None for each in group),
        seconds_to_threshold=_over_runs([each.seconds_to_threshold for each in group]),
        steps_to_threshold=_over_runs([each.steps_to_threshold for each in group]),
    )


def _score(summary: Summary) -> float | None:
    if summary.final_return is None or summary.env_id is None:
        return None
    human = human_normalized(summary.env_id, summary.final_return)
    if human is not None or not summary.threshold:
        return human
    return summary.final_return / summary.threshold


def _over_runs(values: Sequence[float | None]) -> Estimate | None:
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None
    return _estimate(np.array(known)[:, None])


def _estimate(scores: Array) -> Estimate:
    if len(scores) == 1:
        return Estimate(float(iqm(scores)), None, None)
    interval = bootstrap(iqm, scores)
    return Estimate(float(interval.value), float(interval.low), float(interval.high))


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
