"""The header of a message, and every reason to refuse one.

A message is a header of fixed size and a payload: the sender's parameters. The header says what the
payload is and where it comes from, so that a message of another run, another network or another
version of the format is refused, counted and logged, and never reaches the parameters.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, replace
from enum import StrEnum

import torch
from torch import Tensor

MAGIC = b"GALAMSG1"
FORMAT_VERSION = 1
NEVER = 2**63 - 1
"""``stop_at`` of a sender that was not asked to stop."""

_BODY = struct.Struct("<8sII8s8s8sIIqqqqdqQ")
_CHECK = struct.Struct("<I")
HEADER_BYTES = 128
"""Space of a packed header, padding included."""


class Refusal(StrEnum):
    """Why a message was not used."""

    MAGIC = "not a message of this program"
    FORMAT = "written in another format version"
    HEADER = "damaged header"
    RUN = "belongs to another run"
    TOPOLOGY = "sender uses another topology"
    LAYOUT = "sender has another network"
    DTYPE = "payload has another type"
    RANK = "claims to come from another agent"
    SIZE = "payload has another size"
    CHECKSUM = "damaged payload"
    NON_FINITE = "holds values that are not finite"


class Refused(Exception):
    """A message was refused; ``reason`` says why."""

    def __init__(self, reason: Refusal) -> None:
        super().__init__(str(reason))
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What sender and receiver must agree on; 16 hex digits each."""

    run: str
    topology: str
    layout: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a message says of itself.

    Attributes:
        identity: run, topology and layout hashes.
        rank: index of the sender.
        incarnation: earlier lives of the sender.
        version: number of this message, from 1, growing.
        update: local updates of the sender when it was published.
        step: environment steps of the sender.
        stop_at: update after which the sender will stop (lock-step agrees on the smallest).
        time: unix seconds of publication.
        payload_bytes: size of the payload.
        checksum: of the payload, see :func:`checksum`.
    """

    identity: Identity
    rank: int
    incarnation: int = 0
    version: int
    update: int
    step: int
    stop_at: int = NEVER
    time: float
    payload_bytes: int = 0
    checksum: int = 0

    def pack(self) -> bytes:
        """``HEADER_BYTES`` bytes, with a checksum of its own."""
        body = _BODY.pack(
            MAGIC,
            FORMAT_VERSION,
            0,
            bytes.fromhex(self.identity.run),
            bytes.fromhex(self.identity.topology),
            bytes.fromhex(self.identity.layout),
            self.rank,
            self.incarnation,
            self.version,
            self.update,
            self.step,
            self.stop_at,
            self.time,
            self.payload_bytes,
            self.checksum,
        )
        return (body + _CHECK.pack(zlib.crc32(body))).ljust(HEADER_BYTES, b"\0")


def unpack(data: bytes, *, identity: Identity, rank: int) -> Header:
    """Parse and check a header that should come from agent ``rank`` of run ``identity``.

    Raises:
        Refused: with the first rule that it breaks.
    """
    if len(data) < _BODY.size + _CHECK.size or data[:8] != MAGIC:
        raise Refused(Refusal.MAGIC)
    body = data[: _BODY.size]
    if zlib.crc32(body) != _CHECK.unpack_from(data, _BODY.size)[0]:
        raise Refused(Refusal.HEADER)
    fields = _BODY.unpack(body)
    _, version_of_format, dtype, run, topology, layout, sender, *rest = fields
    if version_of_format != FORMAT_VERSION:
        raise Refused(Refusal.FORMAT)
    for found, expected, reason in (
        (run.hex(), identity.run, Refusal.RUN),
        (topology.hex(), identity.topology, Refusal.TOPOLOGY),
        (layout.hex(), identity.layout, Refusal.LAYOUT),
        (dtype, 0, Refusal.DTYPE),
        (sender, rank, Refusal.RANK),
    ):
        if found != expected:
            raise Refused(reason)
    incarnation, version, update, step, stop_at, time, payload_bytes, check = rest
    return Header(
        identity=identity,
        rank=sender,
        incarnation=incarnation,
        version=version,
        update=update,
        step=step,
        stop_at=stop_at,
        time=time,
        payload_bytes=payload_bytes,
        checksum=check,
    )


def checksum(payload: Tensor) -> int:
    """Checksum of Float32[P] (at an even offset of its storage): sum of 64-bit words mod 2**64.

    One pass at memory speed (a CRC would cost more than the mix); any single damaged word is
    found, and so is any mixture of two versions whose sums differ.
    """
    words = payload.numel() // 2 * 2
    total = int(payload[:words].view(torch.int64).sum())
    if words < payload.numel():
        total += int(payload[words:].view(torch.int32))
    return total & (2**64 - 1)


def sealed(header: Header, payload: Tensor) -> Header:
    """``header`` with size and checksum of ``payload``."""
    size = payload.numel() * payload.element_size()
    return replace(header, payload_bytes=size, checksum=checksum(payload))


def verify(header: Header, payload: Tensor) -> None:
    """Check a received Float32[P] against its header.

    Raises:
        Refused: wrong size, damaged, or not finite.
    """
    if header.payload_bytes != payload.numel() * payload.element_size():
        raise Refused(Refusal.SIZE)
    if checksum(payload) != header.checksum:
        raise Refused(Refusal.CHECKSUM)
    if not torch.isfinite(payload.sum()) and not bool(torch.isfinite(payload).all()):
        raise Refused(Refusal.NON_FINITE)
