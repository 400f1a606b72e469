"""What the page shows of one run, as plain data: who, the records of a range, and what is new."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable
from functools import cached_property, wraps
from pathlib import Path
from typing import Any, TypeVar, cast

from gala.config.arguments import HEARING
from gala.dashboard.distances import NONE, agreement_of, distances_of, problems_with
from gala.dashboard.events import EventScan, event_of
from gala.dashboard.facts import facts_of, graph_of
from gala.dashboard.videos import videos_of
from gala.files.text_log import log_of, tail
from gala.telemetry.reader import MAX_EVENTS, Record, RunReader, number, rank_folders
from gala.telemetry.sampling import newest, sample
from gala.telemetry.standing import IN_NEIGHBOUR, standing_from, time_of

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
    "divergence/expected_ratio",
    "divergence/mean_drift",
    "divergence/step_cosine",
    "divergence/mix_kl",
    "divergence/proven",
    "divergence/sketch_error",
    "divergence/kl",
    "policy/lag",
    "policy/lag_max",
    "actors/queue_fill",
    "actors/idle",
    "actors/learner_idle",
    "system/cores",
    "system/memory_mb",
    "system/gpu_busy",
    "system/gpu_memory_mb",
)
"""Metrics that displays need, in the order in which rows of them are sent; ``divergence/kl`` is the
largest ``divergence/kl/<j>`` of an agent. Those :data:`OF_A_RUN` come beside them."""

OF_A_RUN = ("losses/", "charts/task/")
"""Beginnings of names that a run gives: its algorithm's losses, and the returns of its tasks."""
MOST_OF_A_RUN = 24
"""Of one agent, that are shown."""

NEWEST_BYTES = 16 * 1024
"""Read from the end of each file to know how an agent stands."""

LOG_BYTES = 64 * 1024
"""End of a text log that is shown."""

BUDGET = 8_000
"""Records that one answer holds, of all agents."""

PEAKS = ("divergence/epsilon_ratio", "gossip/staleness_max")
"""Metrics of which a short rise is what matters: the largest since the record shown before."""

WHOLE = 64 * 1024 * 1024
"""Bytes of all agents up to which one answer knows :data:`PEAKS`."""

KL = "divergence/kl/"

Method = TypeVar("Method", bound=Callable[..., Any])


def survives(what: str, otherwise: Callable[[RunView], Any]) -> Callable[[Method], Method]:
    """A method that returns ``otherwise``, and tells a problem, where it would raise.

    Files may hold what nobody has thought of: the rest of the run is shown all the same.
    """

    def decorate(method: Method) -> Method:
        @wraps(method)
        def attempt(self: RunView, *args: Any, **named: Any) -> Any:
            try:
                found = method(self, *args, **named)
            except Exception as error:
                self.trouble[what] = f"{what} cannot be shown: {type(error).__name__}: {error}"
                return otherwise(self)
            self.trouble.pop(what, None)
            return found

        return cast(Method, attempt)

    return decorate


class RunView:
    """One run, read from its folder alone.

    Args:
        name: how the page names it.
        path: the run folder.

    Attributes:
        trouble: what could not be shown, and why, by what it is.
    """

    def __init__(self, name: str, path: Path) -> None:
        self.name, self.path = name, path
        self.trouble: dict[str, str] = {}
        self._reader = RunReader(path, last_bytes=NEWEST_BYTES)
        self._newest: dict[int, Record] = {}
        self._live: deque[Record] = deque(maxlen=MAX_EVENTS)
        self._begin()

    @survives("what was recorded last", lambda view: None)
    def _begin(self) -> None:
        self._reader.poll()
        self._note(self._reader.events)
        for rank, path in self._files("metrics.jsonl").items():
            record = newest(path)  # what stands before a flood of events, or a long last line
            if record is not None:
                known_since = self._reader.latest.get(rank, {})
                self._reader.latest[rank] = record | known_since

    @survives("what the run is", lambda view: view._describe({}, {}))
    def describe(self) -> dict[str, Any]:
        """Facts that do not change while the run goes on."""
        return self._describe(self._reader.meta, self._reader.topology)

    def _describe(self, meta: Record, topology: Record) -> dict[str, Any]:
        facts, graph = facts_of(meta, self.ranks())[0], graph_of(topology)[0]
        if facts["coupling"] not in (None, *HEARING):  # its edges are nobody's
            graph = {"topology": None, "edges": []}
        logs = [rank for rank in self.ranks() if log_of(self.path, rank).is_file()]
        return {
            "name": self.name,
            **facts,
            **graph,
            "metrics": METRICS,
            "logs": logs,
            "videos": videos_of(self.path),
        }

    @property
    def topology(self) -> Record:
        """Content of ``topology.json``; empty when it cannot be read."""
        return self._reader.topology

    def ranks(self) -> list[int]:
        """Ranks that have a folder."""
        return list(rank_folders(self.path))

    @survives("the history", lambda view: {"share": 1.0, "agents": {}})
    def history(
        self,
        points: int,
        *,
        since: float = -math.inf,
        until: float = math.inf,
        whole: float = WHOLE,
    ) -> dict[str, Any]:
        """Records of all agents between two times, as columns.

        Args:
            points: for each agent, at most about so many.
            since: unix seconds.
            until: unix seconds.
            whole: bytes of the range, of all agents, up to which :data:`PEAKS` are looked for
                between the records.

        Returns:
            ``share`` (of the records in the range, 0 to 1) and ``agents``: by rank the columns
            ``t``, ``step``, ``update``, :data:`METRICS` and each loss that is on record, each a
            list with null where unknown.
        """
        files = self._files("metrics.jsonl")
        points = min(points, BUDGET // max(len(files), 1))
        agents, share = {}, 1.0
        for rank, path in files.items():
            found = sample(
                path, points, since=since, until=until, peaks=PEAKS, whole=whole / len(files)
            )
            share = min(share, found.share)
            agents[rank] = _columns(found.records)
        return {"share": share, "agents": agents}

    @survives("what is new", lambda view: ([], []))
    def poll(self) -> tuple[list[list[Any]], list[Record]]:
        """What is new: rows ``[rank, t, step, update, *METRICS, {loss: value}]``, and events."""
        jumps = sum(tail.jumps for tail in self._reader.tails.values())
        new = self._reader.poll()
        if sum(tail.jumps for tail in self._reader.tails.values()) > jumps:
            self.__dict__.pop("_scan", None)  # nobody has looked for long: what was passed over
        rows = [[r["rank"], *_row(r), _of_a_run(r)] for r in new if "event" not in r and time_of(r)]
        return rows, self._note(new)

    def _note(self, records: Iterable[Record]) -> list[Record]:
        """Keep the events among these."""
        events = [event for record in records if (event := event_of(record)) is not None]
        self._live.extend(events)
        self._newest |= {event["rank"]: event for event in events}
        return events

    @survives("how the agents stand", lambda view: {})
    def peers(self, now: float | None = None) -> dict[int, dict[str, Any]]:
        """How each agent stands: its newest values, what it says of its neighbours, its status,
        and why it is in no mean, if so.
        """
        now = time.time() if now is None else now
        latest = self._reader.latest
        standing = standing_from(latest, self._newest, now, self.ranks())
        return {
            rank: {
                "status": state,
                "left_out": standing.left_out.get(rank),
                "t": time_of(latest.get(rank, {})),
                "step": _whole(latest.get(rank, {}).get("step")),
                "update": _whole(latest.get(rank, {}).get("update")),
                "incarnation": _whole(latest.get(rank, {}).get("incarnation")),
                "values": dict(zip(METRICS, _values(latest.get(rank, {})), strict=True))
                | _of_a_run(latest.get(rank, {})),
                "hears": _in_neighbours(latest.get(rank, {})),
            }
            for rank, state in standing.states.items()
        }

    @survives("the events", lambda view: [])
    def events(self) -> list[Record]:
        """The newest events of all agents, by time, each once."""
        every = {(e["t"], e["rank"], e["event"]): e for e in [*self._scan.found, *self._live]}
        return sorted(every.values(), key=time_of)[-MAX_EVENTS:]

    @cached_property
    def _scan(self) -> EventScan:
        # begun when events are first asked for: after the records, which are wanted at once
        tails = self._reader.tails
        return EventScan({rank: (tail.path, tail.began) for rank, tail in tails.items()})

    def scanned(self) -> float:
        """Share of the run's files whose events and damage are known."""
        return self._scan.share

    def wait_for_events(self) -> None:
        """Until all events that are on file are known."""
        self._scan.join()

    def log(self, rank: int, last_bytes: int = LOG_BYTES) -> str:
        """The end of what an agent said; empty where that is not known."""
        return tail(log_of(self.path, rank), last_bytes) or ""

    @survives("the distances", lambda view: dict(NONE))
    def distances(self) -> dict[str, Any]:
        """All pairs, see :func:`gala.dashboard.distances.distances_of`."""
        return distances_of(self._files("sketches.bin"))

    @survives("the agreement of updates", lambda view: NONE | {"mean": None})
    def agreement(self) -> dict[str, Any]:
        """All pairs, see :func:`gala.dashboard.distances.agreement_of`."""
        return agreement_of(self._files("steps.bin"))

    @property
    def problems(self) -> list[str]:
        """What could not be read, one line each."""
        return self._problems() + list(self.trouble.values())

    @survives("what is wrong", lambda view: [])
    def _problems(self) -> list[str]:
        if not self.path.is_dir():
            return ["the run folder is gone"]
        return [
            *facts_of(self._reader.meta, self.ranks())[1],
            *graph_of(self._reader.topology)[1],
            *self._reader.problems_with(self._scan.damaged),
            *problems_with(self._files("sketches.bin")),
            *problems_with(self._files("steps.bin")),
        ]

    def _files(self, name: str) -> dict[int, Path]:
        return {rank: folder / name for rank, folder in rank_folders(self.path).items()}


def _in_neighbours(record: Record) -> dict[int, list[float | None]]:
    """In-neighbours of an agent: age of the newest message in s, and state."""
    found: dict[int, list[float | None]] = {}
    for name, value in record.items():
        if (match := IN_NEIGHBOUR.fullmatch(name)) is not None:
            found.setdefault(int(match[1]), [None, None])[match[2] == "state"] = _short(value)
    return found


def _columns(records: list[Record]) -> dict[str, list[Any]]:
    rows = [_row(record) for record in records]
    columns = zip(*rows, strict=True) if rows else [()] * (3 + len(METRICS))
    found = dict(zip(("t", "step", "update", *METRICS), map(list, columns), strict=True))
    named = [_of_a_run(record) for record in records]
    names = _first({name for each in named for name in each})
    return found | {name: [each.get(name) for each in named] for name in names}


def _of_a_run(record: Record) -> dict[str, float | int | None]:
    names = _first(name for name in record if name.startswith(OF_A_RUN))
    return {name: _short(record[name]) for name in names}


def _first(names: Iterable[str]) -> list[str]:
    """As many as are shown, losses before tasks, of which there may be hundreds."""
    return sorted(names, key=lambda name: (name.startswith(OF_A_RUN[1]), name))[:MOST_OF_A_RUN]


def _row(record: Record) -> list[Any]:
    numbers = (_whole(record.get("step")), _whole(record.get("update")))
    return [round(time_of(record), 3), *numbers, *_values(record)]


def _values(record: Record) -> list[float | int | None]:
    apart = [
        x
        for name, value in record.items()
        if name.startswith(KL) and (x := number(value)) is not None
    ]
    record = record | {"divergence/kl": max(apart, default=None)}
    return [_short(record.get(name)) for name in METRICS]


def _short(value: Any) -> float | int | None:
    """Five digits are more than a chart can show."""
    if type(value) is float:
        return float(f"{value:.5g}") if math.isfinite(value) else None
    return _whole(value)


def _whole(value: Any) -> int | None:
    return value if type(value) is int and abs(value) < 2**63 else None
