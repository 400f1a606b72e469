"""Text beside the records: what an agent said, for whoever wants to read it."""

from __future__ import annotations

import contextlib
from pathlib import Path

from gala.files.bounded import open_regular

LARGEST = 16 * 1024 * 1024
"""Bytes of one log; whoever says more is no longer written down."""


def log_of(run: Path, rank: int) -> Path:
    """Where an agent's log lies in a run folder."""
    return run / "logs" / f"rank_{rank:02d}.log"


def append(path: Path, data: bytes) -> None:
    """Add to a log; what cannot be written is dropped: it is an aid, and no record.

    The file is opened and closed, so that nothing is held where a process lives for long.
    """
    with contextlib.suppress(OSError), open(path, "ab") as file:
        if file.tell() < LARGEST:
            file.write(data)


def tail(path: Path, last_bytes: int) -> str | None:
    """The end of a log, from a whole line on; None where there is none that can be read."""
    try:
        with open_regular(path) as file:
            size = file.seek(0, 2)
            file.seek(max(size - last_bytes, 0))
            data = file.read(last_bytes)
    except OSError:
        return None
    if size > last_bytes:
        data = data.partition(b"\n")[2] or data
    return data.decode("utf-8", "replace")
