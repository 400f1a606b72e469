"""One run as arrays: what a report needs of its records, read once from its folder."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gala.config.arguments import HEARING
from gala.telemetry.arms import Options, options_of
from gala.telemetry.reader import Record, RunReader, Tail
from gala.telemetry.sampling import reader_of_ends
from gala.telemetry.selection import tails
from gala.telemetry.standing import standing_of, time_of

Array = NDArray[np.float64]

METRICS = (
    "charts/episodic_return",
    "gossip/mixes",
    "gossip/bytes_sent",
    "gossip/bytes_received",
    "gossip/messages_refused",
    "gossip/wait_ms",
    "divergence/to_mean",
    "divergence/total",
    "divergence/relative",
    "divergence/epsilon",
    "divergence/expected",
    "divergence/epsilon_ratio",
    "divergence/expected_ratio",
    "divergence/step_cosine",
    "time/collect_ms",
    "time/learn_ms",
    "time/gossip_ms",
    "time/log_ms",
    "time/other_ms",
)

PAUSE_S = 60.0
"""A silence of all agents that is longer, and ends with a start, is time between two launches."""


@dataclass(frozen=True, eq=False)
class AgentData:
    """The records of one agent, oldest first.

    Attributes:
        rank: of the agent.
        t: Float64[K], unix seconds.
        step: Float64[K], environment steps of this agent.
        incarnation: Float64[K], restarts of the agent so far.
        values: Float64[K] of each of :data:`METRICS`, NaN where there is none.
        events: in the order of the file.
        corrupt: lines that could not be read.
    """

    rank: int
    t: Array
    step: Array
    incarnation: Array
    values: Mapping[str, Array]
    events: list[Record] = field(default_factory=list)
    corrupt: int = 0

    def last(self, metric: str) -> float | None:
        """The newest value."""
        known = self.values[metric][np.isfinite(self.values[metric])]
        return float(known[-1]) if known.size else None

    def counted(self, metric: str) -> float:
        """Total of a counter over all incarnations: each begins at zero again."""
        known = self.values[metric][np.isfinite(self.values[metric])]
        change = np.diff(known, prepend=0.0)
        return float(np.where(change >= 0, change, known).sum())


@dataclass(frozen=True, eq=False)
class RunData:
    """One run.

    Attributes:
        name: for people.
        path: the run folder.
        meta: content of ``meta.json``; empty when it cannot be read.
        topology: its name; None where the agents do not gossip, or it is not known.
        agents: by rank.
        options: what it was asked to do.
        left_out: why agents are in no mean when the run was written to last, by rank.
    """

    name: str
    path: Path
    meta: Mapping[str, Any]
    topology: str | None
    agents: tuple[AgentData, ...]
    options: Options
    left_out: Mapping[int, str] = field(default_factory=dict)

    def pooled(self, metric: str) -> Array:
        """Float64[*], every value that any agent recorded."""
        every = np.concatenate([agent.values[metric] for agent in self.agents])
        return np.asarray(every[np.isfinite(every)])

    def events(self, *kinds: str) -> list[Record]:
        """Events of some kinds, of all agents, by time."""
        found = [e for agent in self.agents for e in agent.events if e["event"] in kinds]
        return sorted(found, key=lambda event: event["t"])

    def clock(self, t: Array) -> Array:
        """Seconds of training until unix times ``t``, Float64[K]: pauses do not count."""
        starts = {event["t"] for event in self.events("start")}
        marks = sorted({*starts, *(float(each) for agent in self.agents for each in agent.t)})
        pauses = [
            (end, end - begin)
            for begin, end in zip(marks, marks[1:], strict=False)
            if end in starts and end - begin > PAUSE_S
        ]
        passed = t - (marks[0] if marks else 0.0)
        return np.asarray(passed - sum(length * (t >= end) for end, length in pauses))


def read_run(name: str, path: Path) -> RunData:
    """Read all records of a run; what cannot be read is passed over."""
    reader = RunReader(path)
    meta, topology = reader.meta, reader.topology
    hears = meta.get("coupling", "gossip") in HEARING
    agents = (_read_agent(rank, tail) for rank, tail in tails(path).items())
    return RunData(
        name=name,
        path=path,
        meta=meta,
        topology=str(topology["name"]) if hears and topology.get("name") else None,
        agents=tuple(agent for agent in agents if agent.t.size or agent.events),
        options=options_of(path, topology),
        left_out=_left_out(path),
    )


def _left_out(path: Path) -> Mapping[int, str]:
    """Why agents are in no mean; also those of the run that have never recorded anything."""
    reader = reader_of_ends(path)
    reader.poll()
    newest = max((time_of(record) for record in reader.latest.values()), default=0.0)
    return standing_of(reader, newest, range(reader.agents)).left_out


def _read_agent(rank: int, tail: Tail) -> AgentData:
    # Columns of machine numbers: a day of records as dictionaries would not fit into memory.
    columns = {name: array("d") for name in ("t", "step", "incarnation", *METRICS)}
    events = []
    foreign = 0
    for record in tail.stream():
        t = number(record.get("t"))
        if math.isnan(t):
            foreign += 1
        elif "event" in record:
            events.append({**record, "t": t, "event": str(record["event"])})
        else:
            for name, column in columns.items():
                column.append(number(record.get(name)))
    arrays = {name: np.frombuffer(column) for name, column in columns.items() if column}
    return AgentData(
        rank=rank,
        t=arrays.pop("t", np.empty(0)),
        step=held(arrays.pop("step", np.empty(0)), 0.0),
        incarnation=held(arrays.pop("incarnation", np.empty(0)), 0.0),
        values={name: arrays.get(name, np.empty(0)) for name in METRICS},
        events=events,
        corrupt=tail.corrupt + foreign,
    )


def number(value: object) -> float:
    """A value of a record as a number, NaN for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    try:
        return float(value) if math.isfinite(value) else math.nan
    except OverflowError:
        return math.nan


def held(values: Array, before: float = math.nan) -> Array:
    """The same with the last known value where there is none, and ``before`` the first."""
    last = np.maximum.accumulate(np.where(np.isfinite(values), np.arange(values.size), -1))
    return np.where(last >= 0, values[np.maximum(last, 0)], before) if values.size else values
