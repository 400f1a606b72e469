"""The file of parameter sketches that each agent appends to: ``rank_RR/sketches.bin``.

Format
------
A header of 16 bytes - the magic ``GALASKT1``, the sketch size m as uint32, four zero bytes - and
then records of fixed size, little-endian (:func:`record_dtype`):

====================  ==========  =====================================================
field                 type        meaning
====================  ==========  =====================================================
``t``                 float64     unix seconds when the sketch was taken
``tick``              int64       wall-clock tick (or lock-step tick) shared by all agents
``update``            int64       local updates done
``step``              int64       environment steps done by this agent
``incarnation``       int64       restarts of this agent so far
``norm``              float64     exact L2 norm of the parameters
``update_norm``       float64     largest L2 norm of a recent local update
``mix_every``         int64       largest recent number of updates from one mix to the next
``delay``             int64       largest recent age of a message when it was mixed, in updates
``sketch``            float32[m]  linear +-1 sketch of the parameters
====================  ==========  =====================================================

Fixed records make a crash harmless: a half-written last record is ignored by the reader.
This module needs numpy only, so that dashboards start without torch.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gala.files.appending import append_whole, open_to_append, require_at
from gala.files.bounded import open_regular
from gala.telemetry.guard import Guard

MAGIC = b"GALASKT1"
HEADER = struct.Struct("<8sII")


def record_dtype(size: int) -> np.dtype[np.void]:
    """Numpy dtype of one record with a sketch of ``size`` buckets."""
    return np.dtype(
        [
            ("t", "<f8"),
            ("tick", "<i8"),
            ("update", "<i8"),
            ("step", "<i8"),
            ("incarnation", "<i8"),
            ("norm", "<f8"),
            ("update_norm", "<f8"),
            ("mix_every", "<i8"),
            ("delay", "<i8"),
            ("sketch", "<f4", (size,)),
        ]
    )


def read_sketches(path: str | Path, *, last: int | None = None) -> NDArray[np.void]:
    """All complete records of a sketch file (or the ``last`` so many), oldest first.

    Returns an empty array with a sketch size of 0 when the file does not exist, has no complete
    header, or is not a sketch file.
    """
    try:
        with open_regular(path) as file:
            header = file.read(HEADER.size)
            if len(header) < HEADER.size:
                return np.empty(0, record_dtype(0))
            magic, size, _ = HEADER.unpack(header)
            if magic != MAGIC or not 0 < size <= 2**16:
                return np.empty(0, record_dtype(0))
            dtype = record_dtype(size)
            file.seek(0, 2)
            count = (file.tell() - HEADER.size) // dtype.itemsize
            wanted = count if last is None else min(last, count)
            file.seek(HEADER.size + (count - wanted) * dtype.itemsize)
            data = file.read(wanted * dtype.itemsize)
    except OSError:
        return np.empty(0, record_dtype(0))
    return np.frombuffer(data[: len(data) // dtype.itemsize * dtype.itemsize], dtype=dtype)


def sketch_damage(path: str | Path) -> str | None:
    """What is wrong with a sketch file; None when nothing is, and when there is none."""
    try:
        with open_regular(path) as file:
            header = file.read(HEADER.size)
            length = file.seek(0, 2) - HEADER.size
    except FileNotFoundError:
        return None
    except OSError as error:
        return error.strerror or str(error)
    if len(header) < HEADER.size:
        return "has no header"
    magic, size, _ = HEADER.unpack(header)
    if magic != MAGIC or not 0 < size <= 2**16:
        return "is not a file of sketches"
    return "the last sketch is half written" if length % record_dtype(size).itemsize else None


class SketchWriter:
    """Appends records to a sketch file; one writer per file.

    Raises:
        OSError: from each method, too: the file cannot be written, or has gone from its place.
    """

    def __init__(self, path: str | Path, size: int) -> None:
        self._dtype = record_dtype(size)
        existing = read_sketches(path, last=0)
        self._fd, self._path = open_to_append(path), path
        try:
            if existing.dtype != self._dtype:
                os.ftruncate(self._fd, 0)
                append_whole(self._fd, HEADER.pack(MAGIC, size, 0))
            else:  # drop the half record that a crash may have left
                length = os.fstat(self._fd).st_size
                whole = (length - HEADER.size) // self._dtype.itemsize
                os.ftruncate(self._fd, HEADER.size + whole * self._dtype.itemsize)
        except BaseException:
            self.close()
            raise

    def append(self, **fields: float | NDArray[np.float32]) -> None:
        """Write one record; every field of :func:`record_dtype` is needed."""
        record = np.zeros((), dtype=self._dtype)
        assert set(fields) == set(record.dtype.names or ()), sorted(fields)
        for name, value in fields.items():
            record[name] = value
        require_at(self._fd, self._path)
        append_whole(self._fd, record.tobytes())

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


def guard_sketches(path: Path, size: int, tell: Callable[[str], object]) -> Guard[SketchWriter]:
    """A writer of sketches of ``size`` buckets at ``path`` that a full disk does not end with.

    ``tell`` is told when sketches cannot be written, and when they can again.
    """
    return Guard(str(path), lambda: SketchWriter(path, size), tell=tell, close=SketchWriter.close)
