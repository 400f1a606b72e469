"""Reading run folders while they grow: complete new lines only, whatever happens to the files."""

from __future__ import annotations

import json
import math
import os
import stat
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gala.errors import UserError
from gala.files.bounded import open_regular, read_bounded

Record = dict[str, Any]

MAX_JSON_BYTES = 2**30
"""Larger files are no ``topology.json`` of any run."""

MAX_EVENTS = 10_000
"""Newest events kept by a :class:`RunReader`."""

FAR_BEHIND = 4 * 1024 * 1024
"""Unread bytes at which a reader that began near the end of a file does so again."""

STREAM_BYTES = 4 * 1024 * 1024
"""What :meth:`Tail.stream` holds of a file at a time."""

NEWEST_BYTES = 256 * 1024
"""End of a file that is enough to know where an agent stands: a hundred records and more."""

MAX_AGENTS = 100_000
"""More agents than this in ``meta.json`` are not believed."""

LAST_WORDS = ("start", "stop", "done")
"""Events that say whether an agent is there."""

MAX_COUNT = 2**53
"""Larger numbers of steps and updates are nonsense, and no longer exact in other programs."""

_STAMP = frozenset({"v", "event", "message"})


def number(value: object) -> float | None:
    """A finite number; None for anything else that a file may hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:  # an integer of hundreds of digits
        return None
    return found if math.isfinite(found) else None


def parse_line(line: bytes) -> Record | None:
    """The JSON object of a line; None for anything else."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def numbers_of(record: Record) -> Record:
    """The metrics and the stamp of a record; null for what is no finite number."""
    return {k: v if number(v) is not None else None for k, v in record.items() if k not in _STAMP}


def is_record_of(rank: int, record: Record) -> bool:
    """Whether it is what agent ``rank`` writes: of itself, stamped with numbers."""
    if record.get("rank") != rank or isinstance(record["rank"], bool):
        return False
    return number(record.get("t", 0)) is not None and _counts(record)


def rank_folders(run_dir: str | Path) -> dict[int, Path]:
    """The folders ``rank_RR`` of a run by rank, or whatever else has such a name."""
    try:
        names = sorted(os.listdir(run_dir))
    except OSError:
        return {}
    found: dict[int, Path] = {}
    for name in names:
        digits = name.removeprefix("rank_")
        if digits != name and digits.isdecimal() and len(digits) < 7:
            found.setdefault(int(digits), Path(run_dir, name))
    return dict(sorted(found.items()))


def damage(path: Path, lines: int) -> str:
    """One line on what was skipped in a file."""
    return f"{path}: {lines} damaged line{'s' * (lines != 1)} skipped"


class Tail:
    """New complete records of one growing JSONL file.

    A half-written last line is kept for later; a file that was truncated, replaced or deleted is
    read from its new beginning; lines that are not JSON objects are skipped and counted.

    Args:
        path: the file; it may not exist yet.
        last_bytes: begin so many bytes before the end of what is there, and so again when nobody
            has read for long; None reads all of it.

    Attributes:
        corrupt: lines skipped, since the last jump.
        offset: bytes read, or passed over.
        began: byte of the file that reading began at; the lines that begin before it, or at it,
            were passed over unless it is 0.
        jumps: times that reading began again near the end.
        restarts: times that a file which had been read was truncated, replaced or deleted.
        error: why the file cannot be read now; None when it can.
    """

    def __init__(self, path: str | Path, *, last_bytes: int | None = None) -> None:
        self.path = Path(path)
        self.corrupt = 0
        self.offset = 0
        self.began = 0
        self.jumps = 0
        self.restarts = 0
        self.error: str | None = None
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
            size = self._look()
            if size == self.offset:
                return []
            with open_regular(self.path) as file:
                file.seek(self.offset)
                new = size - self.offset
                data = file.read(new if at_most is None else min(new, at_most))
        except OSError as error:
            self.error = error.strerror or str(error)
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

    @property
    def unfinished(self) -> bool:
        """Whether the last line has no end yet."""
        return bool(self._rest)

    def _look(self) -> int:
        """Size of the file; whether it is still the same one is seen at once."""
        self.error = None
        try:
            found = os.stat(self.path)
            if not stat.S_ISREG(found.st_mode):  # a pipe would be waited for
                raise OSError("not a file")
        except OSError:
            self._restart(None)
            raise
        if found.st_ino != self._inode or found.st_size < self.offset:
            self._restart(found.st_ino, found.st_size)
        elif self._last_bytes is not None and found.st_size - self.offset > FAR_BEHIND:
            self.jumps += 1
            self._begin(found.st_size)
        return found.st_size

    def _parse(self, line: bytes) -> Record | None:
        if not line.strip():
            return None
        record = parse_line(line)
        if record is None:
            self.corrupt += 1
        return record

    def _restart(self, inode: int | None, size: int = 0) -> None:
        self.restarts += self._inode is not None
        self._inode = inode
        corrupt = self.corrupt
        self._begin(size)
        self.corrupt = corrupt

    def _begin(self, size: int) -> None:
        self.corrupt, self._rest = 0, b""
        self.offset = 0 if self._last_bytes is None else max(size - self._last_bytes, 0)
        self.began, self._midway = self.offset, self.offset > 0


def steps_recorded(path: Path) -> int:
    """Environment steps in the newest records of one agent's file; 0 when there are none."""
    records = filter(_counts, Tail(path, last_bytes=NEWEST_BYTES).read())
    newest = deque(records, maxlen=10)
    return max((int(number(record.get("step")) or 0) for record in newest), default=0)


def _counts(record: Record) -> bool:
    """Whether what the record is stamped with can be counted with."""
    counts = [number(record.get(name, 0)) for name in ("step", "update", "incarnation")]
    return all(count is not None and 0 <= count <= MAX_COUNT for count in counts)


def read_json(path: Path) -> Record:
    """The JSON object in a small file of a run folder; empty when it cannot be read."""
    try:
        content = json.loads(read_bounded(path, MAX_JSON_BYTES).decode("utf-8"))
    except (UserError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


class RunReader:
    """The newest values and events of all agents of a run.

    Args:
        run_dir: the run folder.
        last_bytes: begin so many bytes before the end of each file; None reads all of it.

    Attributes:
        latest: newest value of each metric, by rank, with the stamp of the newest record.
        events: newest events, oldest first.
        newest_events: the newest event of each agent, by rank, however many the others have.
        last_words: the newest of its :data:`LAST_WORDS` of each agent, by rank.
        event_counts: events read so far, by rank and kind.
        tails: the file of each agent, by rank; also of those that are gone.
    """

    def __init__(self, run_dir: str | Path, *, last_bytes: int | None = None) -> None:
        self.run_dir = Path(run_dir)
        self._last_bytes = last_bytes
        self.latest: dict[int, Record] = {}
        self.events: deque[Record] = deque(maxlen=MAX_EVENTS)
        self.newest_events: dict[int, Record] = {}
        self.last_words: dict[int, str] = {}
        self.event_counts: Counter[tuple[int, str]] = Counter()
        self.tails: dict[int, Tail] = {}

    def poll(self) -> list[Record]:
        """All new records (events too) since the last call, by rank and then by age."""
        for rank, folder in rank_folders(self.run_dir).items():
            if rank not in self.tails:
                self.tails[rank] = Tail(folder / "metrics.jsonl", last_bytes=self._last_bytes)
        new: list[Record] = []
        for rank, tail in self.tails.items():
            for record in tail.read():
                if not is_record_of(rank, record):
                    tail.corrupt += 1
                    continue
                new.append(record)
                if "event" in record:
                    self._enter(rank, record)
                self.latest.setdefault(rank, {}).update(numbers_of(record))
        return new

    def _enter(self, rank: int, event: Record) -> None:
        kind = str(event["event"])
        self.events.append(event)
        self.newest_events[rank] = event
        self.event_counts[rank, kind] += 1
        if kind in LAST_WORDS:
            self.last_words[rank] = kind

    @property
    def problems(self) -> list[str]:
        """What could not be read, one line for each file and kind."""
        return self.problems_with({})

    def problems_with(self, damaged: Mapping[int, int]) -> list[str]:
        """:attr:`problems`, with damaged lines, by rank, that others found where none is read."""
        told = []
        for rank, tail in sorted(self.tails.items()):
            name = tail.path.relative_to(self.run_dir)
            if not tail.path.parent.exists():
                told.append(f"{name.parent}: the folder is gone")
            elif tail.error is not None:
                gone = not os.path.lexists(tail.path)
                told.append(f"{name.parent}: no {name.name}" if gone else f"{name}: {tail.error}")
            if tail.restarts:
                times = "once" if tail.restarts == 1 else f"{tail.restarts} times"
                told.append(f"{name}: truncated, replaced or deleted {times} while it was read")
            if lines := tail.corrupt + damaged.get(rank, 0):
                told.append(damage(name, lines))
            if tail.unfinished:
                told.append(f"{name}: the last line is half written")
        return told

    @property
    def meta(self) -> Record:
        """Content of ``meta.json``; empty when it cannot be read."""
        return self._json("meta.json")

    @property
    def agents(self) -> int:
        """Agents of the run; 0 when nobody knows."""
        agents = self.meta.get("agents")
        return agents if isinstance(agents, int) and 0 < agents <= MAX_AGENTS else 0

    @property
    def topology(self) -> Record:
        """Content of ``topology.json``; empty when it cannot be read."""
        return self._json("topology.json")

    def _json(self, name: str) -> Record:
        return read_json(self.run_dir / name)
