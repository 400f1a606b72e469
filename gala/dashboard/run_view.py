"""What the page shows of one run, as plain data: who, the records of a range, and what is new."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from gala.dashboard.events import EventScan, event_of
from gala.telemetry.reader import MAX_EVENTS, Record, RunReader
from gala.telemetry.sampling import newest, sample
from gala.telemetry.sketches import read_sketches

METRICS = (
    "charts/episodic_return",
    "charts/SPS",
    "time/collect_ms",
    "time/learn_ms",
    "time/gossip_ms",
    "time/log_ms",
    "time/other_ms",
    "gossip/wait_ms",
    "gossip/staleness_max",
    "gossip/messages_sent",
    "gossip/messages_refused",
    "gossip/bytes_sent",
    "divergence/to_mean",
    "divergence/total",
    "divergence/epsilon",
    "divergence/expected",
    "divergence/epsilon_ratio",
    "divergence/proven",
    "divergence/sketch_error",
    "divergence/kl",
    "losses/entropy",
    "losses/value_loss",
    "losses/policy_loss",
)
"""Metrics that displays need, in the order in which rows of them are sent; ``divergence/kl`` is the
largest ``divergence/kl/<j>`` of an agent."""

FACTS = (
    "run_id", "started", "command", "agents", "env_id", "seed", "coupling", "total_steps", "gala",
    "torch", "commit", "hostnames", "parameters", "frames_per_step",
)  # fmt: skip
"""Entries of ``meta.json`` that the page shows."""

NEWEST_BYTES = 64 * 1024
"""Read from the end of each file to know how an agent stands."""

BUDGET = 16_000
"""Records that one answer holds, of all agents."""

SILENT_S = 15.0
"""Age of the newest record after which an agent that did not say goodbye counts as dead."""

GOODBYE = {"done": "done", "stop": "stopped"}

DOWN = 3
"""``gossip/in/<j>/state`` of a neighbour that is known to be dead."""

IN = "gossip/in/"
KL = "divergence/kl/"


class RunView:
    """One run, read from its folder alone.

    Args:
        name: how the page names it.
        path: the run folder.

    Attributes:
        events: newest events of all agents, by time.
    """

    def __init__(self, name: str, path: Path) -> None:
        self.name, self.path = name, path
        self._reader = RunReader(path, last_bytes=NEWEST_BYTES)
        self._reader.poll()
        self._newest: dict[int, Record] = {}
        self._live: deque[Record] = deque(maxlen=MAX_EVENTS)
        self._note(self._reader.events)
        for rank in self.ranks():  # what stands before a flood of events, or a long last line
            record = newest(self._metrics(rank))
            if record is not None:
                known_since = self._reader.latest.get(rank, {})
                self._reader.latest[rank] = record | known_since

    def describe(self) -> dict[str, Any]:
        """Facts that do not change while the run goes on."""
        meta, topology = self._reader.meta, self._reader.topology
        ranks = self.ranks()
        agents = meta.get("agents")
        if not isinstance(agents, int) or agents < len(ranks):
            agents = max(ranks, default=-1) + 1
        return {
            "name": self.name,
            **{fact: meta.get(fact) for fact in FACTS},
            "agents": agents,
            "topology": topology.get("name"),
            "edges": _edges(topology),
            "metrics": METRICS,
        }

    def ranks(self) -> list[int]:
        """Ranks that have a folder."""
        names = (path.name.removeprefix("rank_") for path in self.path.glob("rank_*"))
        return sorted(int(name) for name in names if name.isdigit())

    def history(
        self, points: int, *, since: float = -math.inf, until: float = math.inf
    ) -> dict[str, Any]:
        """Records of all agents between two times, as columns.

        Returns:
            ``share`` (of the records in the range, 0 to 1) and ``agents``: by rank the columns
            ``t``, ``step``, ``update`` and :data:`METRICS`, each a list with null where unknown.
        """
        ranks = self.ranks()
        points = min(points, BUDGET // max(len(ranks), 1))
        agents, share = {}, 1.0
        for rank in ranks:
            found = sample(self._metrics(rank), points, since=since, until=until)
            share = min(share, found.share)
            rows = [_row(record) for record in found.records]
            columns = zip(*rows, strict=True) if rows else [()] * (3 + len(METRICS))
            names = ("t", "step", "update", *METRICS)
            agents[rank] = dict(zip(names, map(list, columns), strict=True))
        return {"share": share, "agents": agents}

    def poll(self) -> tuple[list[list[Any]], list[Record]]:
        """What is new: rows ``[rank, t, step, update, *METRICS]``, and events."""
        new = self._reader.poll()
        rows = [[r["rank"], *_row(r)] for r in new if "event" not in r and _time(r)]
        return rows, self._note(new)

    def _note(self, records: Iterable[Record]) -> list[Record]:
        """Keep the events among these."""
        events = [event for record in records if (event := event_of(record)) is not None]
        self._live.extend(events)
        self._newest |= {event["rank"]: event for event in events}
        return events

    def peers(self, now: float | None = None) -> dict[int, dict[str, Any]]:
        """How each agent stands: its newest values, what it says of its neighbours, its status."""
        now = time.time() if now is None else now
        latest = self._reader.latest
        dead = {
            int(name[len(IN) : -len("/state")])
            for record in latest.values()
            if now - _time(record) < SILENT_S
            for name, value in record.items()
            if name.startswith(IN) and name.endswith("/state") and value == DOWN
        }
        return {
            rank: {
                "status": self._status(rank, now, rank in dead),
                "t": _time(latest.get(rank, {})),
                "step": _whole(latest.get(rank, {}).get("step")),
                "update": _whole(latest.get(rank, {}).get("update")),
                "incarnation": _whole(latest.get(rank, {}).get("incarnation")),
                "values": dict(zip(METRICS, _values(latest.get(rank, {})), strict=True)),
                "hears": _hears(latest.get(rank, {})),
            }
            for rank in self.ranks()
        }

    def events(self) -> list[Record]:
        """The newest events of all agents, by time, each once."""
        every = {(e["t"], e["rank"], e["event"]): e for e in [*self._scan.found, *self._live]}
        return sorted(every.values(), key=_time)[-MAX_EVENTS:]

    @cached_property
    def _scan(self) -> EventScan:
        # begun when events are first asked for: after the records, which are wanted at once
        return EventScan(sorted(self.path.glob("rank_*/metrics.jsonl")))

    def scanned(self) -> float:
        """Share of the run's files whose events are known."""
        return self._scan.share

    def wait_for_events(self) -> None:
        """Until all events that are on file are known."""
        self._scan.join()

    def distances(self) -> dict[str, Any]:
        """``||x_i - x_j||_2`` of all pairs of agents that sketched the newest common tick.

        Estimated from sketches: the relative standard error is ``error``.
        """
        newest: dict[int, Any] = {}
        for rank in self.ranks():
            records = read_sketches(self.path / f"rank_{rank:02d}" / "sketches.bin", last=3)
            if len(records) and (
                not newest or _size(records) == _size(next(iter(newest.values())))
            ):
                newest[rank] = records
        if len(newest) < 2:
            return {"ranks": [], "matrix": [], "t": None, "error": None}
        # An agent may not have written the newest tick yet: the newest that most of them share.
        ticks = [int(tick) for records in newest.values() for tick in set(records["tick"].tolist())]
        tick = max(set(ticks), key=lambda each: (ticks.count(each), each))
        rows = {
            rank: records[records["tick"] == tick][-1]
            for rank, records in newest.items()
            if (records["tick"] == tick).any()
        }
        sketches = np.stack([row["sketch"] for row in rows.values()]).astype(np.float64)
        centred = sketches - sketches.mean(axis=0)
        gram = centred @ centred.T
        squares = np.diag(gram)
        apart = np.sqrt(np.maximum(squares[:, None] + squares - 2.0 * gram, 0.0))
        np.fill_diagonal(apart, 0.0)
        return {
            "ranks": list(rows),
            "matrix": [[_short(float(value)) for value in row] for row in apart],
            "t": max(float(row["t"]) for row in rows.values()),
            "error": 1.0 / math.sqrt(2.0 * sketches.shape[1]),
        }

    @property
    def problems(self) -> list[str]:
        """What could not be read, one line each."""
        missing = [f"{name} cannot be read" for name in ("meta.json", "topology.json")
                   if not self._readable(name)]  # fmt: skip
        silent = [
            f"rank_{rank:02d}: no metrics.jsonl"
            for rank in self.ranks()
            if not self._metrics(rank).exists()
        ]
        gone = [] if self.path.is_dir() else ["the run folder is gone"]
        return gone + missing + silent + self._reader.problems

    def _readable(self, name: str) -> bool:
        return bool(self._reader.meta if name == "meta.json" else self._reader.topology)

    def _metrics(self, rank: int) -> Path:
        return self.path / f"rank_{rank:02d}" / "metrics.jsonl"

    def _status(self, rank: int, now: float, known_dead: bool) -> str:
        record, event = self._reader.latest.get(rank, {}), self._newest.get(rank, {})
        if event.get("event") in GOODBYE and event["t"] >= _time(record):
            return GOODBYE[event["event"]]
        if known_dead or now - max(_time(record), _time(event)) > SILENT_S:
            return "dead" if record or event else "absent"
        if not record or (event.get("event") in ("start", "join") and event["t"] >= _time(record)):
            return "joining"
        return "active"


def _edges(topology: Record) -> list[list[int]]:
    """``[source, target]`` of all edges of a node-link graph."""
    edges = topology.get("edges") or topology.get("links") or []
    return [
        [edge["source"], edge["target"]]
        for edge in edges
        if isinstance(edge, dict)
        and isinstance(edge.get("source"), int)
        and isinstance(edge.get("target"), int)
    ]


def _hears(record: Record) -> dict[int, list[float | None]]:
    """What an agent says of its in-neighbours: age of the newest message in s, and state."""
    found: dict[int, list[float | None]] = {}
    for name, value in record.items():
        if name.startswith(IN):
            peer, _, what = name[len(IN) :].partition("/")
            if what in ("age_s", "state") and peer.isdigit():
                found.setdefault(int(peer), [None, None])[what == "state"] = _short(value)
    return found


def _row(record: Record) -> list[Any]:
    numbers = (_whole(record.get("step")), _whole(record.get("update")))
    return [round(_time(record), 3), *numbers, *_values(record)]


def _values(record: Record) -> list[float | int | None]:
    apart = [value for name, value in record.items() if name.startswith(KL) and value is not None]
    record = record | {"divergence/kl": max(apart, default=None)}
    return [_short(record.get(name)) for name in METRICS]


def _short(value: Any) -> float | int | None:
    """Five digits are more than a chart can show."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, int):
        return value
    return float(f"{value:.5g}") if math.isfinite(value) else None


def _time(record: Record) -> float:
    t = record.get("t")
    return float(t) if isinstance(t, int | float) and math.isfinite(t) else 0.0


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) else None


def _size(records: Any) -> int:
    return int(records["sketch"].shape[1])
