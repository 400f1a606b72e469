"""Metrics of one agent: one flat JSON object a line, stamped here alone, never blocking training.

Format (version 1): ``{"v": 1, "t": unix seconds, "rank", "incarnation", "update", "step", metric:
number or null, ...}``; events carry ``"event"`` and ``"message"``. A crash can lose at most the
last line; a full disk costs records, not the run.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path

RECORD_VERSION = 1


class MetricsWriter:
    """Appends records to ``rank_RR/metrics.jsonl``.

    Args:
        path: the file; an existing one is continued.
        rank: index of the agent.
        incarnation: restarts of the agent so far.

    Attributes:
        lost: records that could not be written.
    """

    def __init__(self, path: Path, *, rank: int, incarnation: int = 0) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        self._stamp = {"rank": rank, "incarnation": incarnation}
        self.lost = 0
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
        if self._half_line:
            data = b"\n" + data
        try:
            written = os.write(self._fd, data)
        except OSError:
            self.lost += 1
            return
        self._half_line = written < len(data)
        self.lost += self._half_line


def _number(value: float | None) -> float | int | None:
    if value is None or not math.isfinite(value):
        return None
    return value
