"""Who of a run counts now: one rule for whatever shows a run, on a page or in a terminal."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gala.telemetry.reader import Record, RunReader, number

SILENT_S = 15.0
"""Age of the newest record after which an agent that did not say goodbye counts as dead."""

GOODBYE = {"done": "done", "stop": "stopped"}

GONE = ("dead", "absent")
"""States of agents that take no part."""

FAR_BEHIND = 0.5
"""Share of the most advanced agent's updates below which an agent is in no mean."""

DOWN = 3
"""``gossip/in/<j>/state`` of a neighbour that is known to be dead."""

IN_NEIGHBOUR = re.compile(r"gossip/in/(\d{1,6})/(age_s|state)", re.ASCII)


@dataclass(frozen=True)
class Standing:
    """How the agents of a run stand at one moment.

    Attributes:
        states: active, joining, done, stopped, dead or absent, by rank.
        left_out: why agents are in no mean, by rank; nobody where none would be left.
    """

    states: Mapping[int, str]
    left_out: Mapping[int, str]

    @property
    def gone(self) -> list[int]:
        """Those of :attr:`left_out` that take no part at all."""
        return [rank for rank in self.left_out if self.states[rank] in GONE]


def standing_of(reader: RunReader, now: float, ranks: Iterable[int] = ()) -> Standing:
    """How agents stand by their newest records and events.

    Args:
        reader: as it was polled.
        now: unix seconds.
        ranks: of agents that should be there, beside those that recorded something.
    """
    latest = reader.latest
    return standing_from(latest, reader.newest_events, now, sorted({*latest, *ranks}))


def standing_from(
    latest: Mapping[int, Record], events: Mapping[int, Record], now: float, ranks: list[int]
) -> Standing:
    """The same from the newest record and the newest event of each agent."""
    down = {
        int(match[1])
        for record in latest.values()
        if now - time_of(record) < SILENT_S
        for name, value in record.items()
        if value == DOWN and (match := IN_NEIGHBOUR.fullmatch(name)) and match[2] == "state"
    }
    states = {
        rank: _state(latest.get(rank, {}), events.get(rank, {}), now, rank in down)
        for rank in ranks
    }
    return Standing(states, _left_out(states, latest))


def without(left_out: Mapping[int, str], most: int = 3) -> str:
    """Who is in no mean, in words: ``agent 1 (dead)``; empty for nobody."""
    told = [f"agent {rank} ({why})" for rank, why in sorted(left_out.items())]
    more = f" and {len(told) - most} more" if len(told) > most else ""
    return ", ".join(told[:most]) + more


def time_of(record: Record) -> float:
    """Unix seconds of a record; 0 where it has none."""
    return number(record.get("t")) or 0.0


def _state(record: Record, event: Record, now: float, known_dead: bool) -> str:
    if event.get("event") in GOODBYE and time_of(event) >= time_of(record):
        return GOODBYE[event["event"]]
    if known_dead or now - max(time_of(record), time_of(event)) > SILENT_S:
        return "dead" if record or event else "absent"
    begins = event.get("event") in ("start", "join") and time_of(event) >= time_of(record)
    return "joining" if not record or begins else "active"


def _left_out(states: Mapping[int, str], latest: Mapping[int, Record]) -> dict[int, str]:
    found = {rank: state for rank, state in states.items() if state in GONE}
    done = {
        rank: update
        for rank in states
        if rank not in found and (update := number(latest.get(rank, {}).get("update"))) is not None
    }
    first = max(done.values(), default=0.0)
    for rank, update in done.items():
        if update < FAR_BEHIND * first:
            found[rank] = f"far behind, {update:,.0f} updates of {first:,.0f}"
    return found if len(found) < len(states) else {}
