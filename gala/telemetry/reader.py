"""Reading run folders while they grow: complete new lines only, whatever happens to the files."""

from __future__ import annotations

import json
import os
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Record = dict[str, Any]

MAX_EVENTS = 10_000
"""Newest events kept by a :class:`RunReader`."""

STREAM_BYTES = 4 * 1024 * 1024
"""What :meth:`Tail.stream` holds of a file at a time."""

_STAMP = frozenset({"v", "event", "message"})


class Tail:
    """New complete records of one growing JSONL file.

    A half-written last line is kept for later; a file that was truncated, replaced or deleted is
    read from its new beginning; lines that are not JSON objects are skipped and counted.

    Args:
        path: the file; it may not exist yet.
        last_bytes: begin so many bytes before the end of what is there; None reads all of it.

    Attributes:
        corrupt: lines skipped.
        offset: bytes read, or passed over.
    """

    def __init__(self, path: str | Path, *, last_bytes: int | None = None) -> None:
        self.path = Path(path)
        self.corrupt = 0
        self.offset = 0
        self._last_bytes = last_bytes
        self._inode: int | None = None
        self._rest = b""
        self._midway = False

    def read(self, at_most: int | None = None) -> list[Record]:
        """Records that were completed since the last call; cheap when nothing changed.

        Args:
            at_most: bytes to read; the next call goes on there.
        """
        try:
            stat = os.stat(self.path)
        except OSError:
            self._restart(None)
            return []
        if stat.st_ino != self._inode or stat.st_size < self.offset:
            self._restart(stat.st_ino, stat.st_size)
        if stat.st_size == self.offset:
            return []
        try:
            with open(self.path, "rb") as file:
                file.seek(self.offset)
                new = stat.st_size - self.offset
                data = file.read(new if at_most is None else min(new, at_most))
        except OSError:
            return []
        self.offset += len(data)
        if self._midway:  # what comes before the first newline is the end of some line
            _, newline, data = data.partition(b"\n")
            self._midway = not newline
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [record for line in lines if (record := self._parse(line)) is not None]

    def stream(self) -> Iterator[Record]:
        """The same one by one, in little memory however long the file is."""
        while True:
            before = self.offset
            yield from self.read(STREAM_BYTES)
            if self.offset == before:
                return

    def _parse(self, line: bytes) -> Record | None:
        if not line.strip():
            return None
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        if not isinstance(record, dict):
            self.corrupt += 1
            return None
        return record

    def _restart(self, inode: int | None, size: int = 0) -> None:
        self._inode, self._rest = inode, b""
        self.offset = 0 if self._last_bytes is None else max(size - self._last_bytes, 0)
        self._midway = self.offset > 0


def steps_recorded(path: Path) -> int:
    """Environment steps in the newest record of one agent's file; 0 when there is none."""
    records = Tail(path).read()
    return max((int(record.get("step") or 0) for record in records[-10:]), default=0)


class RunReader:
    """The newest values and events of all agents of a run.

    Args:
        run_dir: the run folder.
        last_bytes: begin so many bytes before the end of each file; None reads all of it.

    Attributes:
        latest: newest value of each metric, by rank, with the stamp of the newest record.
        events: newest events, oldest first.
        event_counts: events read so far, by rank and kind.
    """

    def __init__(self, run_dir: str | Path, *, last_bytes: int | None = None) -> None:
        self.run_dir = Path(run_dir)
        self._last_bytes = last_bytes
        self.latest: dict[int, Record] = {}
        self.events: deque[Record] = deque(maxlen=MAX_EVENTS)
        self.event_counts: Counter[tuple[int, str]] = Counter()
        self._tails: dict[Path, Tail] = {}

    def poll(self) -> list[Record]:
        """All new records (events too) since the last call, by rank and then by age."""
        for path in sorted(self.run_dir.glob("rank_*/metrics.jsonl")):
            if path not in self._tails:
                self._tails[path] = Tail(path, last_bytes=self._last_bytes)
        new: list[Record] = []
        for tail in self._tails.values():
            for record in tail.read():
                if not isinstance(record.get("rank"), int):
                    tail.corrupt += 1
                    continue
                new.append(record)
                if "event" in record:
                    self.events.append(record)
                    self.event_counts[record["rank"], str(record["event"])] += 1
                merged = self.latest.setdefault(record["rank"], {})
                merged.update((k, v) for k, v in record.items() if k not in _STAMP)
        return new

    @property
    def problems(self) -> list[str]:
        """What was skipped, one line a file."""
        return [
            f"{tail.path.relative_to(self.run_dir)}: {tail.corrupt} damaged lines skipped"
            for tail in self._tails.values()
            if tail.corrupt
        ]

    @property
    def meta(self) -> Record:
        """Content of ``meta.json``; empty when it cannot be read."""
        return self._json("meta.json")

    @property
    def topology(self) -> Record:
        """Content of ``topology.json``; empty when it cannot be read."""
        return self._json("topology.json")

    def _json(self, name: str) -> Record:
        try:
            content = json.loads((self.run_dir / name).read_text())
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}
