"""What happened to one agent's parameters, in a bounded file: ``rank_RR/history.bin``.

A certificate of the divergence (:mod:`gala.divergence.certificate`) needs every step and every mix
in the agent's own order. They are small binary records in a ring that is mapped into memory: to
write one takes neither an allocation nor a system call, and a crash loses nothing that was written.

Format
------
A header of 64 bytes - the magic ``GALAHIS1``, the capacity, and the records written so far, both
uint64 - and then ``capacity`` records of 32 bytes, little-endian; record n lies at n modulo the
capacity:

===============  =======  ====================================================================
field            type     meaning
===============  =======  ====================================================================
``kind``         uint8    :class:`Kind`
``peer``         uint16   whose message it was (MIX, ADOPT, PULL), how many it is for (PUSH)
``incarnation``  uint32   of that message, else of this agent
``number``       int64    its version (MIX, ADOPT, PUBLISH), the update (STEP), the tick (CUT),
                          the launch (BEGIN)
``value``        float64  norm of the step (STEP), of the rounding error (PUBLISH), fraction (MIX),
                          time of the sketch (CUT), share of each receiver (PUSH), versions since
                          the message before (PULL; 0: there was none), weight (WEIGHT)
``index``        uint64   n: a record that was overwritten while it was read shows itself
===============  =======  ====================================================================

A mix with several messages is several records, each of which moves the parameters by the fraction
``value`` of their distance to the message: ``x <- (1 - value) x + value message``.

A run that is resumed counts incarnations and versions anew. No message passes from one launch to
the next, so that a reader is given the records of the newest launch alone.
This module needs numpy only, so that dashboards start without torch.
"""

from __future__ import annotations

import enum
import mmap
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gala.files.bounded import open_regular

NAME = "history.bin"
MAGIC = b"GALAHIS1"
HEADER = struct.Struct("<8sQQ")
COUNT = struct.Struct("<Q")
COUNT_AT = 16
HEADER_BYTES = 64
RECORD = struct.Struct("<BxHIqdQ")
DTYPE = np.dtype(
    {
        "names": ["kind", "peer", "incarnation", "number", "value", "index"],
        "formats": ["u1", "<u2", "<u4", "<i8", "<f8", "<u8"],
        "offsets": [0, 2, 4, 8, 16, 24],
        "itemsize": RECORD.size,
    }
)
CAPACITY = 65_536
"""Records that are kept: 2 MB an agent, some 16,000 updates with two neighbours."""


class Kind(enum.IntEnum):
    """What a record tells."""

    BEGIN = 1
    """An incarnation begins, with parameters that a CUT right after it measures."""
    STEP = 2
    """The learner moved the parameters."""
    PUBLISH = 3
    """A copy of the parameters went into the mailbox."""
    MIX = 4
    """A message entered the parameters."""
    ADOPT = 5
    """A message became the parameters."""
    CUT = 6
    """A sketch of the parameters was taken."""
    OPAQUE = 7
    """Messages entered in a way that no weights tell."""
    PUSH = 8
    """Shares of a push-sum mass were added to the sums in the mailbox."""
    PULL = 9
    """What was added to a neighbour's sums entered the mass."""
    WEIGHT = 10
    """The push-sum weight became another: one at first."""


class Numbered(Protocol):
    """What a record tells of a message."""

    @property
    def incarnation(self) -> int:
        """Of its sender."""
        ...

    @property
    def version(self) -> int:
        """Its number."""
        ...


class History:
    """Writes the records of one agent.

    Args:
        path: of the file; a file of an earlier incarnation is continued, one that is no history or
            has another capacity is begun anew.
        incarnation: of this agent, in this launch.
        launch: a number that no other launch of the run has.
        capacity: records that are kept.

    Raises:
        OSError: the file cannot be made.
    """

    def __init__(
        self, path: str | Path, *, incarnation: int, launch: int = 0, capacity: int = CAPACITY
    ) -> None:
        self._capacity, self._incarnation = capacity, incarnation
        size = HEADER_BYTES + capacity * RECORD.size
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            kept = os.fstat(file).st_size == size
            # blocks are allocated now: a page that a full disk cannot back would kill the process
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file, 0, size)
            os.ftruncate(file, size)
            self._map = mmap.mmap(file, size)
        finally:
            os.close(file)
        magic, held, count = HEADER.unpack_from(self._map)
        if not kept or magic != MAGIC or held != capacity:
            count = 0
            HEADER.pack_into(self._map, 0, MAGIC, capacity, count)
        self._count = count
        self._write(Kind.BEGIN, 0, incarnation, launch, 0.0)

    def step(self, update: int, norm: float) -> None:
        """The learner moved the parameters by ``norm`` (L2, of the whole vector)."""
        self._write(Kind.STEP, 0, self._incarnation, update, norm)

    def published(self, version: int, rounding: float) -> None:
        """A message went out; its wire format moved the parameters in it by ``rounding`` (L2)."""
        self._write(Kind.PUBLISH, 0, self._incarnation, version, rounding)

    def mixed(self, entered: Mapping[int, float] | None, messages: Mapping[int, Numbered]) -> None:
        """Messages entered.

        Args:
            entered: weight of each by sender, self kept the rest of one; None: no weights tell.
            messages: at least those of the senders.
        """
        if entered is None:
            self._write(Kind.OPAQUE, 0, self._incarnation, 0, 0.0)
            return
        total = 1.0 - sum(entered.values())
        for peer, weight in sorted(entered.items()):
            total += weight
            if weight:
                heard = messages[peer]
                self._write(Kind.MIX, peer, heard.incarnation, heard.version, weight / total)

    def adopted(self, peer: int, incarnation: int, version: int) -> None:
        """The message of ``peer`` became the parameters."""
        self._write(Kind.ADOPT, peer, incarnation, version, 1.0)

    def pushed(self, version: int, receivers: int, share: float, weight: float) -> None:
        """A push-sum message went out: ``share`` of mass and weight for each of ``receivers``.

        ``weight`` is what was kept.
        """
        self._write(Kind.PUSH, receivers, self._incarnation, version, share)
        self.weighs(weight)

    def pulled(self, peer: int, message: Numbered, since: int) -> None:
        """What ``peer`` added to its sums entered: since so many versions before; 0: all of it."""
        self._write(Kind.PULL, peer, message.incarnation, message.version, since)

    def weighs(self, weight: float) -> None:
        """Parameters are the push-sum mass over ``weight``."""
        self._write(Kind.WEIGHT, 0, self._incarnation, 0, weight)

    def cut(self, tick: int, t: float) -> None:
        """A sketch was taken for ``tick``; the first one: :func:`begin_tick`.

        Args:
            tick: of the sketch.
            t: its time, by which it is found: a tick may come twice, a sketch may be lost.
        """
        self._write(Kind.CUT, 0, self._incarnation, tick, t)

    def close(self) -> None:
        """Unmap the file."""
        self._map.close()

    def _write(self, kind: int, peer: int, incarnation: int, number: int, value: float) -> None:
        count = self._count
        at = HEADER_BYTES + count % self._capacity * RECORD.size
        RECORD.pack_into(self._map, at, kind, peer, incarnation, number, value, count)
        self._count = count + 1
        COUNT.pack_into(self._map, COUNT_AT, self._count)


def begin_tick(incarnation: int) -> int:
    """Tick of the sketch that an incarnation begins with: no tick of a clock is negative."""
    return -1 - incarnation


def read_history(path: str | Path, last: int = CAPACITY) -> NDArray[np.void]:
    """Of the ``last`` records those that are whole and of the newest launch, oldest first.

    Empty where there is no history.
    """
    try:
        with open_regular(path) as file:
            head = file.read(HEADER.size)
            if len(head) < HEADER.size:
                return np.empty(0, DTYPE)
            magic, capacity, count = HEADER.unpack(head)
            if magic != MAGIC or not 0 < capacity <= 2**32:
                return np.empty(0, DTYPE)
            wanted = min(last, capacity, count)
            first = (count - wanted) % capacity
            parts: list[NDArray[np.void]] = []
            for start, length in ((first, min(wanted, capacity - first)), (0, wanted)):
                length = min(length, wanted - sum(p.size for p in parts))
                file.seek(HEADER_BYTES + start * RECORD.size)
                data = file.read(length * RECORD.size)
                parts.append(np.frombuffer(data[: len(data) // 32 * 32], DTYPE))
            file.seek(0)
            after = HEADER.unpack(file.read(HEADER.size))[2]
    except (OSError, struct.error):
        return np.empty(0, DTYPE)
    records = np.concatenate(parts)
    expected = np.arange(count - wanted, count - wanted + len(records), dtype=np.uint64)
    wrong = np.flatnonzero(records["index"] != expected)  # overwritten meanwhile, or damaged
    records = records[wrong[-1] + 1 :] if len(wrong) else records
    # the record after the newest one is being written now, in place of one that looks whole
    oldest = max(int(after) - capacity + 1, 0)
    return _of_one_launch(records[records["index"] >= oldest])


def history_damage(path: str | Path) -> str | None:
    """What is wrong with a history; None when nothing is, and when there is none."""
    try:
        with open_regular(path) as file:
            head = file.read(HEADER.size)
            length = file.seek(0, 2)
    except FileNotFoundError:
        return None
    except OSError as error:
        return error.strerror or str(error)
    if len(head) < HEADER.size:
        return "has no header"
    magic, capacity, _ = HEADER.unpack(head)
    if magic != MAGIC:
        return "is no history"
    whole = HEADER_BYTES + capacity * RECORD.size
    return None if length == whole else f"holds {length:,} bytes instead of {whole:,}"


def _of_one_launch(records: NDArray[np.void]) -> NDArray[np.void]:
    """The records of the newest launch."""
    begins = np.flatnonzero(records["kind"] == Kind.BEGIN)
    launches = records["number"][begins]
    before = np.flatnonzero(launches != launches[-1]) if len(begins) else begins
    return records[begins[before[-1] + 1] :] if len(before) else records
