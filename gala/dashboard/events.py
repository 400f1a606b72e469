"""All events of a run, however long its files are: found in the background, a block at a time."""

from __future__ import annotations

import json
import math
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from gala.telemetry.reader import MAX_EVENTS, Record

BLOCK = 4 * 1024 * 1024
"""Bytes of one read."""

MARK = b'"event"'


def events_of(path: Path) -> Iterator[Record]:
    """The events of one ``metrics.jsonl``, oldest first, without parsing its other lines."""
    with open(path, "rb") as file:
        rest = b""
        while block := file.read(BLOCK):
            text = rest + block
            end = text.rfind(b"\n") + 1
            yield from _events_in(text[:end])
            rest = text[end:]
            if len(rest) > BLOCK:  # no line is so long
                rest = b""


def _events_in(lines: bytes) -> Iterator[Record]:
    place = lines.find(MARK)
    while place >= 0:
        start, end = lines.rfind(b"\n", 0, place) + 1, lines.find(b"\n", place)
        try:
            event = event_of(json.loads(lines[start:end]))
        except (ValueError, RecursionError):
            event = None
        if event is not None:
            yield event
        place = lines.find(MARK, end)


def event_of(record: Any) -> Record | None:
    """What the page shows of an event; None when it is none of a kind, an agent and a time."""
    if not isinstance(record, dict):
        return None
    kind, rank, t = record.get("event"), record.get("rank"), record.get("t")
    if not (isinstance(kind, str) and isinstance(rank, int) and isinstance(t, int | float)):
        return None
    if not math.isfinite(t):
        return None
    return {"t": t, "rank": rank, "event": kind, "message": str(record.get("message", ""))}


class EventScan:
    """Collects the events of several files in a thread of its own.

    Attributes:
        found: newest events, by file and then by age.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self.found: deque[Record] = deque(maxlen=MAX_EVENTS)
        self._paths = list(paths)
        self._done = 0
        self._thread = threading.Thread(target=self._run, daemon=True, name="events")
        self._thread.start()

    @property
    def share(self) -> float:
        """Files that were looked through, of all of them, 0 to 1."""
        return self._done / len(self._paths) if self._paths else 1.0

    def join(self) -> None:
        """Wait until everything was looked through."""
        self._thread.join()

    def _run(self) -> None:
        for path in self._paths:
            try:
                self.found.extend(events_of(path))
            except OSError:  # deleted meanwhile: its events are gone with it
                pass
            self._done += 1
