"""What there is to say of runs in numbers: one summary a run, and one an arm: a set of seeds."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from gala.evaluation.human import game_of, human_normalized
from gala.evaluation.statistics import bootstrap, coverage, iqm
from gala.report.curves import Curve, first_reach
from gala.report.run_data import Array, RunData
from gala.telemetry.arms import GRAPH, TASK, differing, hash_of, legend, top

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
        coupling: gossip, allreduce, shared, distil, repel or none.
        topology: its name; None without gossip.
        seed: of the run.
        configuration: hash of all options but the seed: equal for seeds of one arm, see
            :mod:`gala.telemetry.arms`.
        method: the same without those options that say what is learned.
        differs: its values of the options in which runs of the report differ.
        steps: environment steps of all agents; frames are ``frames_per_step`` times as many.
        frames: of the emulator.
        seconds: of training; pauses between launches do not count.
        steps_per_s: of all agents.
        final_return: mean, where the curve ends, of the mean of their last 100 games over agents
            that are neither gone nor far behind; None before.
        left_out: why the others are not in it, by rank.
        threshold: return to reach; None where none is known.
        steps_to_threshold: steps of all agents until the mean return was there; None if never.
        seconds_to_threshold: the same in seconds of training.
        epsilon_ratio_max: largest divergence over its bound; None where no bound applies.
        epsilon_ratio_median: median of it over all records.
        expected_ratio_median: median over all records of the divergence over its expectation for
            unrelated updates; None where it is not known.
        step_cosine_median: median of the mean cosine between the agents' updates; None likewise.
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
    configuration: str
    method: str
    differs: Mapping[str, str]
    steps: int
    frames: int
    seconds: float
    steps_per_s: float
    final_return: float | None
    left_out: Mapping[int, str]
    threshold: float | None
    steps_to_threshold: float | None
    seconds_to_threshold: float | None
    epsilon_ratio_max: float | None
    epsilon_ratio_median: float | None
    expected_ratio_median: float | None
    step_cosine_median: float | None
    relative_max: float | None
    deaths: int
    alarms: int
    mixes: int
    bytes_sent: int
    bytes_received: int
    messages_refused: int
    damaged_lines: int

    @property
    def label(self) -> str:
        """The method in words: agents, how they are coupled, and the options that differ."""
        how = self.coupling
        if self.topology:
            how = self.topology if how == "gossip" else f"{how} over {self.topology}"
        agents = f"{self.agents} agent{'s' * (self.agents != 1)}"
        told = {"env.id": self.env_id, "coupling": self.coupling, "topology": self.topology}
        told["agents"] = str(self.agents)
        others = (
            f"{name} {value}" for name, value in self.differs.items() if told.get(name) != value
        )
        return ", ".join([agents, *([how] if how else []), *others])


@dataclass(frozen=True, kw_only=True)
class RunSet:
    """An arm: runs whose options are equal but for the seed.

    Attributes:
        env_id: of all of them.
        label: the method in words.
        configuration: hash of their options.
        runs: names.
        coverage: how often a nominal 95 % interval of so few runs holds the true value, see
            :func:`gala.evaluation.statistics.coverage`; None for one run.
        final_return: IQM over runs, and its 95 % interval; None when a run has none.
        steps_per_s: likewise.
        reached: runs that reached the threshold.
        seconds_to_threshold: IQM and interval; None unless every run reached it.
        steps_to_threshold: likewise.
    """

    env_id: str | None
    label: str
    configuration: str
    runs: tuple[str, ...]
    coverage: float | None
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
        coverage: as in :class:`RunSet`.
        score: IQM over runs and environments, and its 95 % interval by the stratified bootstrap.
            A score is 0 for random play and 1 for a human in Atari games, elsewhere the return
            over the threshold.
        scores: Float[R, T], what it was computed of.
    """

    label: str
    environments: tuple[str, ...]
    runs: int
    coverage: float | None
    score: Estimate
    scores: tuple[tuple[float, ...], ...]


def threshold_of(env_id: str | None) -> float | None:
    """The return from which an environment counts as solved, where it is known."""
    if env_id is None:
        return None
    return THRESHOLDS.get(game_of(env_id) or env_id)


def told_apart(runs: Sequence[RunData]) -> tuple[str, ...]:
    """Options that a legend names: those in which ``runs`` differ.

    Of runs in different environments, those in which runs of one environment do, and those that say
    which it is. The graph, which is a number to people, is among them only where nothing else tells
    arms apart.
    """
    names = differing(run.options for run in runs)
    tasks: dict[str, list[RunData]] = {}
    for run in runs:
        tasks.setdefault(hash_of(run.options, only=TASK), []).append(run)
    within = {name for task in tasks.values() for name in differing(run.options for run in task)}
    words = tuple(n for n in names if n != GRAPH and (n in within or top(n) in TASK))
    told = {tuple(legend(run.options, words).items()) for run in runs}
    return words if len(told) == len({hash_of(run.options) for run in runs}) else names


def summarize_run(
    run: RunData,
    curve: Curve | None,
    threshold: float | None = None,
    differ: Iterable[str] = (),
) -> Summary:
    """All numbers of one run.

    Args:
        run: its records.
        curve: its :func:`gala.report.curves.learning_curve`.
        threshold: return to reach; None: that of the environment.
        differ: options that tell it from other runs, see :func:`told_apart`.
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
    final, left_out = _final(run, curve)

    def counted(metric: str) -> int:
        return int(sum(agent.counted(metric) for agent in run.agents))

    return Summary(
        name=run.name,
        env_id=env_id,
        agents=max(_whole(meta.get("agents")) or 0, len(run.agents)),
        coupling=_text(meta.get("coupling")),
        topology=run.topology,
        seed=_whole(meta.get("seed")),
        configuration=hash_of(run.options),
        method=hash_of(run.options, leave_out=TASK),
        differs=legend(run.options, differ),
        steps=steps,
        frames=steps * per_step,
        seconds=seconds,
        steps_per_s=steps / seconds if seconds > 0 else 0.0,
        final_return=final,
        left_out=left_out,
        threshold=threshold,
        steps_to_threshold=reach[0] if reach else None,
        seconds_to_threshold=reach[1] if reach else None,
        epsilon_ratio_max=float(ratio.max()) if ratio.size else None,
        epsilon_ratio_median=_median(ratio),
        expected_ratio_median=_median(run.pooled("divergence/expected_ratio")),
        step_cosine_median=_median(run.pooled("divergence/step_cosine")),
        relative_max=float(relative.max()) if relative.size else None,
        deaths=count_deaths(run),
        alarms=len(run.events("alarm")),
        mixes=counted("gossip/mixes"),
        bytes_sent=counted("gossip/bytes_sent"),
        bytes_received=counted("gossip/bytes_received"),
        messages_refused=counted("gossip/messages_refused"),
        damaged_lines=sum(agent.corrupt for agent in run.agents),
    )


def _final(run: RunData, curve: Curve | None) -> tuple[float | None, Mapping[int, str]]:
    """The mean of the agents' last returns, and who is not in it, where it has others."""
    if curve is None:
        return None, run.left_out
    last = curve.returns[:, -1]
    counted = [rank not in run.left_out for rank in curve.ranks]
    if not any(counted):
        return float(last.mean()), {}
    return float(last[counted].mean()), run.left_out


def _median(values: Array) -> float | None:
    return float(np.median(values)) if values.size else None


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
    """The arms, in the order of their first runs."""
    return [_set(group) for group in grouped(summaries)]


def grouped(summaries: Iterable[Summary]) -> list[list[Summary]]:
    """The members of each arm: by the hash of their options, and by nothing else."""
    groups: dict[str, list[Summary]] = {}
    for each in summaries:
        groups.setdefault(each.configuration, []).append(each)
    return list(groups.values())


def methods_of(summaries: Sequence[Summary]) -> list[Method]:
    """Methods that ran equally often on each of at least two environments of known scale."""
    found = []
    for method in dict.fromkeys(each.method for each in summaries):
        tasks = [group for group in grouped(summaries) if group[0].method == method]
        columns = [[score_of(each, each.final_return) for each in group] for group in tasks]
        complete = all(score is not None for column in columns for score in column)
        if len(tasks) < 2 or not complete or len({len(column) for column in columns}) > 1:
            continue
        first = tasks[0][0]
        label = replace(
            first, differs={k: v for k, v in first.differs.items() if k not in TASK}
        ).label
        scores = np.array(columns, dtype=np.float64).T
        found.append(
            Method(
                label=label,
                environments=tuple(str(group[0].env_id) for group in tasks),
                runs=scores.shape[0],
                coverage=coverage(scores.shape[0]),
                score=estimate_of(iqm, scores),
                scores=tuple(tuple(row) for row in scores.tolist()),
            )
        )
    return found


def _set(group: Sequence[Summary]) -> RunSet:
    return RunSet(
        env_id=group[0].env_id,
        label=group[0].label,
        configuration=group[0].configuration,
        runs=tuple(each.name for each in group),
        coverage=coverage(len(group)),
        final_return=_over_runs([each.final_return for each in group]),
        steps_per_s=_over_runs([each.steps_per_s for each in group]),
        reached=sum(each.seconds_to_threshold is not None for each in group),
        seconds_to_threshold=_over_runs([each.seconds_to_threshold for each in group]),
        steps_to_threshold=_over_runs([each.steps_to_threshold for each in group]),
    )


def score_of(summary: Summary, value: float | None) -> float | None:
    """A return ``value`` in a run's environment on the scale of :class:`Method`; None: no scale."""
    if value is None or summary.env_id is None:
        return None
    human = human_normalized(summary.env_id, value)
    if human is not None or not summary.threshold:
        return human
    return value / summary.threshold


def _over_runs(values: Sequence[float | None]) -> Estimate | None:
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None
    return estimate_of(iqm, np.array(known)[:, None])


def estimate_of(statistic: Callable[..., Array], *scores: Array) -> Estimate:
    """A statistic of matrices Float[R, T] with its interval, which one run of any has not."""
    if min(map(len, scores)) == 1:
        return Estimate(float(statistic(*scores)), None, None)
    interval = bootstrap(statistic, *scores)
    return Estimate(float(interval.value), float(interval.low), float(interval.high))


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
