"""Some records of a long file without reading all of it: what a chart of a day needs, in a moment.

The records of an agent are in the order of time, so that a time is found by halving the file, and
evenly spaced positions in the file give evenly spaced records. Nothing is indexed or kept: whatever
happens to the file between two calls, the next call reads what is there then.

What lasts for less than the records that are passed over would be lost. Where there is time to look
at every line of a range, without parsing it, the largest value of some metrics is kept for the next
record that is returned.
"""

from __future__ import annotations

import json
import math
import os
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from gala.telemetry.reader import (
    NEWEST_BYTES,
    Record,
    RunReader,
    number,
    numbers_of,
    parse_line,
    rank_folders,
)

BLOCK = 8 * 1024
"""Bytes of one read; most records are shorter."""

EVENT = b'"event"'

WHOLE_BLOCK = 1024 * 1024
"""Bytes of one read where every line is looked at."""

LONGEST_LINE = 4 * 1024 * 1024
"""Bytes after which a line without an end is damage, not a record."""


@dataclass(slots=True)
class Sample:
    """Some of the records of one file, oldest first.

    Attributes:
        records: without events.
        share: of the records of the asked range, about; 1 when every record is there.
    """

    records: list[Record] = field(default_factory=list)
    share: float = 1.0


def sample(
    path: str | Path,
    points: int,
    *,
    since: float = -math.inf,
    until: float = math.inf,
    peaks: Sequence[str] = (),
    whole: float = 0.0,
) -> Sample:
    """At most about ``points`` records with ``since <= t <= until``, evenly spread over the file.

    A missing or unreadable file gives no records; damaged and half-written lines are passed over.

    Args:
        path: a ``metrics.jsonl``.
        points: wanted.
        since: unix seconds.
        until: unix seconds.
        peaks: metrics of which a record has the largest value since the record before it.
        whole: bytes of the range up to which ``peaks`` are known; beyond, values are those of the
            record itself.
    """
    try:
        with closing(_File(path)) as file:
            return _sample(file, points, since, until, peaks, whole)
    except OSError:
        return Sample()


def newest(path: str | Path) -> Record | None:
    """The last record of a file that is no event; None when there is none."""
    try:
        with closing(_File(path)) as file:
            begin, step = file.size, BLOCK
            while begin > 0:
                end, begin, step = begin, max(0, begin - step), 2 * step
                for _, line in reversed(list(file.lines(begin, end, WHOLE_BLOCK))):
                    record = _parse(line)
                    if record is not None and "event" not in record:
                        return record
    except OSError:
        pass
    return None


def _sample(
    file: _File, points: int, since: float, until: float, peaks: Sequence[str], whole: float
) -> Sample:
    begin = file.first_at(since) if since > -math.inf else 0
    end = file.first_at(math.nextafter(until, math.inf)) if until < math.inf else file.size
    length = end - begin
    if length <= 0:
        return Sample()
    first = list(islice(file.records(begin, end), 8))
    stride = length / max(points, 1)
    typical = BLOCK if not first else max(len(json.dumps(record)) for record in first)
    if stride <= 1.5 * typical:  # seeking would read it all
        return Sample(list(file.records(begin, end)))
    if length <= whole:
        return _thinned(file, begin, end, stride, peaks)
    found: dict[float, Record] = {}
    for k in range(points):
        record = next(file.records(begin + int(k * stride), end), None)
        if record is not None:
            found[record["t"]] = record
    last = _last(file, begin, end, typical)
    if last is not None:
        found[last["t"]] = last
    return Sample([found[t] for t in sorted(found)], min(1.0, points * typical / length))


def _thinned(file: _File, begin: int, end: int, stride: float, peaks: Sequence[str]) -> Sample:
    """The first record after each ``stride`` bytes, and the last, with the peaks between them."""
    keys = {name: f'"{name}": '.encode() for name in peaks}
    found: list[Record] = []
    high: dict[str, float] = {}
    count, due = 0, float(begin)
    newest = b""

    def take(line: bytes) -> bool:
        record = _parse(line)
        if record is None or "event" in record or (found and record["t"] <= found[-1]["t"]):
            return False
        found.append(record | high)
        high.clear()
        return True

    for start, line in file.lines(begin, end, WHOLE_BLOCK):
        if EVENT in line or not line.endswith(b"}"):
            continue
        count += 1
        for name, key in keys.items():
            value = _value(line, key)
            if value is not None and value > high.get(name, -math.inf):
                high[name] = value
        newest = line
        if start >= due and take(line):
            due = start + stride
            newest = b""
    if newest:
        take(newest)
    return Sample(found, len(found) / count if count > len(found) else 1.0)


def _value(line: bytes, key: bytes) -> float | None:
    """The number after ``key`` in a line that is not parsed for it."""
    position = line.find(key)
    if position < 0:
        return None
    position += len(key)
    end = line.find(b",", position)
    try:
        return float(line[position : end if end >= 0 else -1])
    except ValueError:  # null
        return None


def _last(file: _File, begin: int, end: int, typical: int) -> Record | None:
    newest = deque(file.records(max(begin, end - 3 * typical), end), maxlen=1)
    return newest[0] if newest else None


class _File:
    """Records of a file from any of its bytes on."""

    def __init__(self, path: str | Path) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe is not waited for
        self.size = os.fstat(self._fd).st_size

    def close(self) -> None:
        os.close(self._fd)

    def records(self, begin: int, end: int) -> Iterator[Record]:
        """Metrics of the lines that begin in ``[begin, end)``."""
        for _, line in self.lines(begin, end):
            record = _parse(line)
            if record is not None and "event" not in record:
                yield record

    def first_at(self, t: float) -> int:
        """The byte from which on no record is older than ``t``."""
        low, high = 0, self.size
        while high - low > BLOCK:
            middle = (low + high) // 2
            record = next(self.records(middle, high), None)
            if record is None or record["t"] >= t:
                high = middle
            else:
                low = middle
        for start, line in self.lines(low, self.size):
            record = _parse(line)
            if record is not None and record["t"] >= t:
                return start
        return self.size

    def lines(self, begin: int, end: int, size: int = BLOCK) -> Iterator[tuple[int, bytes]]:
        """Complete lines that begin in ``[begin, end)``, and where; ``size``: bytes of a read."""
        # A line begins after a newline: the byte before `begin` tells whether one begins there.
        position = start = max(begin - 1, 0)
        rest, skip = b"", begin > 0
        while start < end:
            block = os.pread(self._fd, size, position)
            if not block:
                return
            position += len(block)
            *lines, rest = (rest + block).split(b"\n")
            for line in lines:
                if start >= end:
                    return
                if not skip:
                    yield start, line
                skip = False
                start += len(line) + 1
            if len(rest) > LONGEST_LINE:
                start += len(rest)
                rest, skip = b"", True


def _parse(line: bytes) -> Record | None:
    record = parse_line(line)
    if record is None or number(record.get("t")) is None or not isinstance(record.get("rank"), int):
        return None
    return record


def reader_of_ends(run_dir: Path) -> RunReader:
    """A reader of the end of each file, however long a run has been: it tells where agents stand.

    What an agent measured last is known, too, where only events follow it, however many.
    """
    reader = RunReader(run_dir, last_bytes=NEWEST_BYTES)
    for rank, folder in rank_folders(run_dir).items():
        record = newest(folder / "metrics.jsonl")
        if record is not None and record.get("rank") == rank:
            reader.latest[rank] = numbers_of(record)
    return reader
