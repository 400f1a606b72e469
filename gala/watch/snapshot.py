"""A run at one moment: what a terminal has room for."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gala.dashboard.run_view import RunView
from gala.telemetry.reader import Record

STALE_S = 5.0
"""Age of the newest record after which an agent that works is late."""

AHEAD_S = 86_400.0
"""A record that is so much ahead of this clock was written under a broken one."""

HISTORY_S = 10.0
"""Between two looks at the whole run; the newest values come at once."""

POINTS = 48
"""Of a history."""

PHASES = ("collect", "learn", "gossip", "wait", "rest")
PEER_STATES = ("joining", "active", "suspect", "down", "left")


@dataclass(frozen=True, kw_only=True)
class Peer:
    """State of one agent.

    Attributes:
        rank: of the agent.
        state: fresh, stale, dead, joining, done, stopped or absent.
        age_s: of its newest record.
        incarnation: restarts so far.
        step: environment steps.
        sps: steps per second.
        episodic_return: mean of its last 100 games.
        staleness: largest number of updates without a mix since the last record.
        distance: to the mean.
        ratio: of the divergence of all agents to their bound.
        spent: ms per update of each of :data:`PHASES`.
        in_neighbours: state of each as this agent sees it, and age of its newest message.
        proven: 1 where that bound is a certificate, 0 where it comes from a model.
        sketch_error: relative standard error of the distance.
        left_out: why it is in no mean; None: it is.
    """

    rank: int
    state: str
    age_s: float | None
    incarnation: int
    step: int | None
    sps: float | None
    episodic_return: float | None
    staleness: float | None
    distance: float | None
    ratio: float | None
    spent: tuple[float, ...]
    in_neighbours: Mapping[int, tuple[str, float | None]]
    proven: float | None = None
    sketch_error: float | None = None
    left_out: str | None = None

    @property
    def at_work(self) -> bool:
        """Whether it takes part now."""
        return self.state in ("fresh", "stale", "joining")


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Snapshot of all agents, and what happened.

    Attributes:
        facts: of the run: name, env_id, agents, coupling, topology, seed, total_steps, edges.
        peers: by rank.
        returns: mean along the run, over agents that are in it; empty for independent ones.
        divergence: of all agents along the run.
        agreement: mean cosine between updates along the run; empty where it is not known.
        events: newest last.
        problems: what cannot be read.
    """

    facts: Mapping[str, Any]
    peers: tuple[Peer, ...]
    returns: Sequence[float]
    divergence: Sequence[float]
    agreement: Sequence[float]
    events: Sequence[Record]
    problems: Sequence[str]

    @property
    def steps(self) -> int:
        """Of all agents."""
        return sum(peer.step or 0 for peer in self.peers)

    @property
    def sps(self) -> float:
        """Of the agents at work."""
        return sum(peer.sps or 0.0 for peer in self.peers if peer.at_work)

    @property
    def over(self) -> bool:
        """Whether every agent is done or stopped."""
        states = {peer.state for peer in self.peers}
        return bool(states) and states <= {"done", "stopped"}


class Watcher:
    """Watcher that takes snapshots of a run that may still go on.

    Args:
        view: of the run folder.
        clock: unix seconds now.
    """

    def __init__(self, view: RunView, clock: Callable[[], float] = time.time) -> None:
        self._view, self._clock = view, clock
        self._looked = -math.inf
        self._returns: list[float] = []
        self._divergence: list[float] = []
        self._agreement: list[float] = []

    def snapshot(self) -> Snapshot:
        """The run now."""
        now = self._clock()
        self._view.poll()
        facts, peers = self._view.describe(), self._view.peers(now)
        if not 0 <= now - self._looked < HISTORY_S:
            self._looked = now
            columns = self._view.history(POINTS, whole=0)["agents"]
            agents = columns.values()
            counted = [c for rank, c in columns.items() if not peers.get(rank, {}).get("left_out")]
            alone = facts["coupling"] == "none" and len(columns) > 1  # they have no mean
            self._returns = [] if alone else over_time(counted, "charts/episodic_return", mean)
            self._divergence = over_time(agents, "divergence/total", max)
            self._agreement = over_time(agents, "divergence/step_cosine", mean)
        return Snapshot(
            facts=facts,
            peers=tuple(_peer(rank, peer, now) for rank, peer in peers.items()),
            returns=self._returns,
            divergence=self._divergence,
            agreement=self._agreement,
            events=self._view.events(),
            problems=self._view.problems,
        )


def over_time(agents: Any, metric: str, combine: Callable[[Sequence[float]], float]) -> list[float]:
    """The values of all agents in up to :data:`POINTS` equal spans of time, combined in each."""
    values = [
        (t, value)
        for columns in agents
        for t, value in zip(columns["t"], columns[metric], strict=True)
        if value is not None
    ]
    if not values:
        return []
    first, last = min(values)[0], max(values)[0]
    spans: list[list[float]] = [[] for _ in range(POINTS)]
    for t, value in values:
        share = (t - first) / (last - first) if last > first else 0.0
        spans[min(int(share * POINTS), POINTS - 1)].append(value)
    return [combine(span) for span in spans if span]


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean of at least one value."""
    return sum(values) / len(values)


def _peer(rank: int, found: Mapping[str, Any], now: float) -> Peer:
    values = found["values"]
    age = now - found["t"] if 0 < found["t"] < now + AHEAD_S else None
    state = found["status"]
    if state == "active":
        state = "stale" if age is not None and age > STALE_S else "fresh"
    gossip, wait = values["time/gossip_ms"] or 0.0, values["gossip/wait_ms"] or 0.0
    rest = (values["time/log_ms"] or 0.0) + (values["time/other_ms"] or 0.0)
    spent = (values["time/collect_ms"] or 0.0, values["time/learn_ms"] or 0.0)
    incarnation = found["incarnation"]
    return Peer(
        rank=rank,
        state=state,
        age_s=age,
        incarnation=incarnation if isinstance(incarnation, int) else 0,
        step=found["step"] if isinstance(found["step"], int) else None,
        sps=values["charts/SPS"],
        episodic_return=values["charts/episodic_return"],
        staleness=values["gossip/staleness_max"],
        distance=values["divergence/to_mean"],
        ratio=values["divergence/epsilon_ratio"],
        proven=values["divergence/proven"],
        sketch_error=values["divergence/sketch_error"],
        left_out=found["left_out"],
        spent=(*spent, max(gossip - wait, 0.0), wait, rest),
        in_neighbours={
            j: (_peer_state(state_number), age_s)
            for j, (age_s, state_number) in sorted(found["hears"].items())
        },
    )


def _peer_state(number: Any) -> str:
    known = isinstance(number, int) and 0 <= number < len(PEER_STATES)
    return PEER_STATES[number] if known else "unknown"
