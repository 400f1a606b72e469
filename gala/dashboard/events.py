"""All events and damaged lines of a run, however long its files are: found in the background."""

from __future__ import annotations

import reprlib
import threading
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gala.files.bounded import open_regular
from gala.telemetry.reader import MAX_EVENTS, Record, number, parse_line
from gala.telemetry.sampling import LONGEST_LINE

BLOCK = 1024 * 1024
"""Bytes of one read."""

LONGEST_MESSAGE = 2_000
"""Characters of an event that are shown."""

MARK = b'"event"'


def odd_lines(path: Path, rank: int, until: int) -> Iterator[bytes]:
    """The lines of a ``metrics.jsonl`` up to a byte that are events, or look damaged.

    Records are told by their looks, which is far cheaper than to parse them: one object on a line,
    in ASCII, with the agent's rank. A line that begins before ``until`` is read to its end.
    """
    stamp = f'"rank": {rank},'.encode()

    def odd(line: bytes) -> bool:
        whole = line.startswith(b"{") and line.endswith(b"}") and line.find(b"{", 1) < 0
        record = whole and line.isascii() and stamp in line and MARK not in line
        return not record and bool(line.strip())

    with open_regular(path) as file:
        rest = b""
        while until > file.tell() and (block := file.read(min(BLOCK, until - file.tell()))):
            *lines, rest = (rest + block).split(b"\n")
            yield from filter(odd, lines)
            if len(rest) > LONGEST_LINE:
                rest = b"..."
        end = file.readline(LONGEST_LINE) if until else b""
        if end.endswith(b"\n") and odd(line := rest + end[:-1]):
            yield line


def event_of(record: Any) -> Record | None:
    """What the page shows of an event; None when it is none of a kind, an agent and a time."""
    if not isinstance(record, dict):
        return None
    kind, rank, t = record.get("event"), record.get("rank"), number(record.get("t"))
    if not (isinstance(kind, str) and isinstance(rank, int) and t is not None):
        return None
    message = record.get("message", "")
    text = message if isinstance(message, str) else reprlib.repr(message)
    return {"t": t, "rank": rank, "event": kind, "message": text[:LONGEST_MESSAGE]}


class EventScan:
    """Looks through the files of several agents in a thread of its own.

    Args:
        files: by rank, and up to which byte.

    Attributes:
        found: newest events, by file and then by age.
        damaged: lines that are no records, by rank.
    """

    def __init__(self, files: Mapping[int, tuple[Path, int]]) -> None:
        self.found: deque[Record] = deque(maxlen=MAX_EVENTS)
        self.damaged: Counter[int] = Counter()
        self._files = dict(files)
        self._done = 0
        self._thread = threading.Thread(target=self._run, daemon=True, name="events")
        self._thread.start()

    @property
    def share(self) -> float:
        """Files that were looked through, of all of them, 0 to 1."""
        return self._done / len(self._files) if self._files else 1.0

    def join(self) -> None:
        """Wait until everything was looked through."""
        self._thread.join()

    def _run(self) -> None:
        for rank, (path, until) in self._files.items():
            try:
                for line in odd_lines(path, rank, until):
                    record = parse_line(line)
                    if record is None or record.get("rank") != rank:
                        self.damaged[rank] += 1
                    elif (event := event_of(record)) is not None:
                        self.found.append(event)
            except OSError:  # deleted meanwhile: its events are gone with it
                pass
            self._done += 1
