"""The header of a message, and every reason to refuse one.

A message is a header of fixed size and a payload: the sender's parameters in a wire format. The
header says what the payload is and where it comes from, so that a message of another run, another
network or another version of the format is refused, counted and logged, and never reaches the
parameters. Headers come from other processes: whatever their bytes are, a reader gets a header
whose numbers can be, or :class:`Refused`, and never another exception.
"""

from __future__ import annotations

import math
import struct
import zlib
from dataclasses import dataclass, replace
from enum import IntEnum, StrEnum

import torch
import xxhash
from torch import Tensor

from gala.launch.pages import MAX_INCARNATION

MAGIC = b"GALAMSG1"
FORMAT_VERSION = 4
NEVER = 2**63 - 1
"""``stop_at`` of a sender that was not asked to stop."""

_BODY = struct.Struct("<8sIHH8s8s8sIIqqqqqdqQ")
_CHECK = struct.Struct("<I")
HEADER_BYTES = 136
"""Space of a packed header, padding included."""


VERSIONS_PER_INCARNATION = 2**40
"""Incarnation k of an agent counts versions from k times this: restarts never lower them."""

MAX_COUNT = 2**40
"""Updates, rounds and steps of an agent are fewer: a million a second would take 12 days."""

MAX_VERSION = MAX_INCARNATION * VERSIONS_PER_INCARNATION
"""Versions are below."""


class Kind(IntEnum):
    """Purpose of a message; only networks need more than ``DATA``."""

    DATA = 0
    HEARTBEAT = 1
    """Nothing new, but alive; no payload."""
    BYE = 2
    """The sender leaves for good; no payload."""


_KINDS = frozenset(Kind)


class Refusal(StrEnum):
    """Reason why a message was not used."""

    MAGIC = "not a message of this program"
    FORMAT = "written in another format version"
    HEADER = "damaged header"
    RUN = "belongs to another run"
    TOPOLOGY = "sender uses another topology"
    LAYOUT = "sender has another network"
    DTYPE = "payload has another type"
    RANK = "claims to come from another agent"
    NUMBERS = "header holds numbers that cannot be"
    SIZE = "payload has another size"
    CHECKSUM = "damaged payload"
    NON_FINITE = "holds values that are not finite"
    DISTANCE = "lies beyond the trust radius"
    ONE_WAY = "pulls one way for long"
    REPLAY = "was received before"
    STRANGER = "did not show that it belongs to the run"


class Refused(Exception):
    """A message was refused; ``reason`` says why."""

    def __init__(self, reason: Refusal) -> None:
        super().__init__(str(reason))
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Identity that sender and receiver must share; hashes are 16 hex digits each.

    Attributes:
        run: of this launch.
        topology: of the mixing matrices.
        layout: of names and shapes of the parameters.
        wire: code of the wire format, see :mod:`gala.gossip.wire`.
    """

    run: str
    topology: str
    layout: str
    wire: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """Header of a message.

    Attributes:
        identity: run, topology and layout hashes.
        rank: index of the sender.
        incarnation: restarts of the sender so far.
        version: number of this message, growing, also over restarts.
        update: local updates of the sender when it was published.
        step: environment steps of the sender.
        round: the sender's position in the schedule of the topology.
        stop_at: update after which the sender will stop (lock-step agrees on the smallest).
        time: unix seconds of publication.
        kind: what it is for.
        payload_bytes: size of the payload.
        checksum: of the payload, see :func:`checksum`.
    """

    identity: Identity
    rank: int
    incarnation: int = 0
    version: int
    update: int
    step: int
    round: int = 0
    stop_at: int = NEVER
    time: float
    kind: Kind = Kind.DATA
    payload_bytes: int = 0
    checksum: int = 0

    def pack(self) -> bytes:
        """``HEADER_BYTES`` bytes, with a checksum of its own."""
        body = _BODY.pack(
            MAGIC,
            FORMAT_VERSION,
            self.identity.wire,
            self.kind,
            bytes.fromhex(self.identity.run),
            bytes.fromhex(self.identity.topology),
            bytes.fromhex(self.identity.layout),
            self.rank,
            self.incarnation,
            self.version,
            self.update,
            self.step,
            self.round,
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
    _, version_of_format, wire, kind, run, topology, layout, sender, *rest = fields
    if version_of_format != FORMAT_VERSION:
        raise Refused(Refusal.FORMAT)
    incarnation, version, update, step, round_, stop_at, time, payload_bytes, check = rest
    if kind not in _KINDS:
        raise Refused(Refusal.NUMBERS)
    header = Header(
        identity=Identity(run=run.hex(), topology=topology.hex(), layout=layout.hex(), wire=wire),
        rank=sender,
        incarnation=incarnation,
        version=version,
        update=update,
        step=step,
        round=round_,
        stop_at=stop_at,
        time=time,
        kind=Kind(kind),
        payload_bytes=payload_bytes,
        checksum=check,
    )
    require_kin(header, identity=identity, rank=rank)
    require_possible(header)
    return header


def require_possible(header: Header) -> None:
    """Check that the numbers of a header can be those of an agent.

    A sender never published after the update at which it stops, and counts its versions from its
    incarnation on, or goes on from those of a neighbour.

    Raises:
        Refused: one of them cannot.
    """
    counts = header.update, header.step, header.round
    possible = (
        all(0 <= count < MAX_COUNT for count in counts)
        and 0 <= header.incarnation < MAX_INCARNATION
        and 0 <= header.version < MAX_VERSION
        and (header.stop_at >= header.update or header.kind is not Kind.DATA)
        and math.isfinite(header.time)
    )
    if not possible:
        raise Refused(Refusal.NUMBERS)


def require_kin(header: Header, *, identity: Identity, rank: int) -> None:
    """Check that a message comes from agent ``rank`` of run ``identity``.

    Raises:
        Refused: with the first rule that it breaks.
    """
    require_same(header.identity, identity)
    if header.rank != rank:
        raise Refused(Refusal.RANK)


def require_same(theirs: Identity, own: Identity) -> None:
    """Check that two agents are of one run and mix the same thing.

    Raises:
        Refused: with the first rule that is broken.
    """
    for found, expected, reason in (
        (theirs.run, own.run, Refusal.RUN),
        (theirs.topology, own.topology, Refusal.TOPOLOGY),
        (theirs.layout, own.layout, Refusal.LAYOUT),
        (theirs.wire, own.wire, Refusal.DTYPE),
    ):
        if found != expected:
            raise Refused(reason)


def checksum(payload: Tensor) -> int:
    """Checksum of Uint8[B] (contiguous) in 64 bits: XXH3, at memory speed.

    0 for what lies on a device: it never leaves the process whose private copy it is, and to ask
    for its sum would wait for the device.
    """
    return xxhash.xxh3_64_intdigest(payload.numpy().data) if payload.device.type == "cpu" else 0


def sealed(header: Header, payload: Tensor) -> Header:
    """``header`` with size and checksum of ``payload`` (Uint8[B])."""
    return replace(header, payload_bytes=payload.numel(), checksum=checksum(payload))


def verify(header: Header, payload: Tensor) -> None:
    """Check a received Uint8[B] against its header.

    Raises:
        Refused: wrong size, or damaged.
    """
    if header.payload_bytes != payload.numel():
        raise Refused(Refusal.SIZE)
    if checksum(payload) != header.checksum:
        raise Refused(Refusal.CHECKSUM)


def require_finite(vector: Tensor) -> None:
    """Check received parameters, Float[P].

    Raises:
        Refused: not all are finite.
    """
    if not torch.isfinite(vector.sum()) and not bool(torch.isfinite(vector).all()):
        raise Refused(Refusal.NON_FINITE)
