"""Metrics of one agent: one flat JSON object a line, stamped here alone, never blocking training.

Format (version 1): ``{"v": 1, "t": unix seconds, "rank", "incarnation", "update", "step", metric:
number or null, ...}``; events carry ``"event"`` and ``"message"``. A crash can lose at most the
last line. A writer raises what the operating system does; a guard
(:mod:`gala.telemetry.guard`) makes it cost records and not the run.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path

from gala.files.appending import open_to_append, require_at

RECORD_VERSION = 1


class MetricsWriter:
    """Appends records to ``rank_RR/metrics.jsonl``.

    Args:
        path: the file; an existing one is continued.
        rank: index of the agent.
        incarnation: restarts of the agent so far.

    Raises:
        OSError: from each method, too: the file cannot be written, or has gone from its place.
    """

    def __init__(self, path: Path, *, rank: int, incarnation: int = 0) -> None:
        self._fd, self._path = open_to_append(path), path
        self._stamp = {"rank": rank, "incarnation": incarnation}
        size = os.fstat(self._fd).st_size
        # A crash or a full disk may leave half a line: the next record begins on a new one.
        self._half_line = size > 0 and os.pread(self._fd, 1, size - 1) != b"\n"

    def record(self, values: Mapping[str, float | None], *, update: int, step: int) -> None:
        """One record of ``values``; what is not finite is written as null."""
        self._append({name: _number(value) for name, value in values.items()}, update, step)

    def event(self, kind: str, message: str, *, update: int, step: int) -> None:
        """One event, e.g. ``checkpoint``, ``stop``, ``alarm``."""
        self._append({"event": kind, "message": message}, update, step)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    def _append(self, fields: Mapping[str, object], update: int, step: int) -> None:
        stamp = {"v": RECORD_VERSION, "t": time.time(), **self._stamp}
        line = json.dumps({**stamp, "update": update, "step": step, **fields}, allow_nan=False)
        self._write(line.encode() + b"\n")

    def _write(self, data: bytes) -> None:
        require_at(self._fd, self._path)
        rest = memoryview(b"\n" + data if self._half_line else data)
        while rest:  # the second attempt tells why the first one was cut short
            rest = rest[os.write(self._fd, rest) :]
            self._half_line = bool(rest)  # stays: readers may have seen it already


def _number(value: float | None) -> float | int | None:
    if value is None or not math.isfinite(value):
        return None
    return value
