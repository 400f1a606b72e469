"""Headers and payloads: what is valid passes, whatever is changed is refused."""

import contextlib
import struct
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gala.gossip import message
from gala.gossip.message import HEADER_BYTES, Header, Identity, Kind, Refusal, Refused

IDENTITY = Identity(run="00112233aabbccdd", topology="0123456789abcdef", layout="fedcba9876543210")


def header(**changes: object) -> Header:
    base = Header(identity=IDENTITY, rank=3, version=7, update=9, step=720, time=1.5)
    return replace(base, **changes)


def test_a_header_survives_packing() -> None:
    original = header(
        incarnation=2, round=5, stop_at=100, kind=Kind.BYE, payload_bytes=40, checksum=2**64 - 1
    )
    packed = original.pack()
    assert len(packed) == HEADER_BYTES
    assert message.unpack(packed, identity=IDENTITY, rank=3) == original


@pytest.mark.parametrize(
    ("sender", "expected"),
    [
        (header(identity=replace(IDENTITY, run="ff" * 8)), Refusal.RUN),
        (header(identity=replace(IDENTITY, topology="ff" * 8)), Refusal.TOPOLOGY),
        (header(identity=replace(IDENTITY, layout="ff" * 8)), Refusal.LAYOUT),
        (header(identity=replace(IDENTITY, wire=2)), Refusal.DTYPE),
        (header(rank=4), Refusal.RANK),
    ],
)
def test_foreign_messages_are_refused_by_name(sender: Header, expected: Refusal) -> None:
    with pytest.raises(Refused) as refused:
        message.unpack(sender.pack(), identity=IDENTITY, rank=3)
    assert refused.value.reason is expected


def test_another_format_version_is_refused() -> None:
    packed = bytearray(header().pack())
    struct.pack_into("<I", packed, 8, message.FORMAT_VERSION + 1)
    with pytest.raises(Refused) as refused:
        message.unpack(sealed_again(packed), identity=IDENTITY, rank=3)
    assert refused.value.reason is Refusal.FORMAT


@given(st.integers(0, message._BODY.size + 3), st.integers(1, 255))
def test_any_changed_byte_of_a_header_is_refused(position: int, change: int) -> None:
    packed = bytearray(header().pack())
    packed[position] ^= change
    with pytest.raises(Refused):
        message.unpack(bytes(packed), identity=IDENTITY, rank=3)


def sealed_again(packed: bytearray) -> bytes:
    """As a sender would write it who computes the header's checksum of what he claims."""
    body = bytes(packed[: message._BODY.size])
    message._CHECK.pack_into(packed, message._BODY.size, message.zlib.crc32(body))
    return bytes(packed)


@pytest.mark.parametrize(
    "claim",
    [
        {"step": 2**40},
        {"step": -1},
        {"update": 2**62},
        {"round": -5},
        {"version": 2**62},
        {"version": -1},
        {"incarnation": 2**31},
        {"stop_at": 8},
        {"time": float("nan")},
        {"time": float("inf")},
    ],
)
def test_claims_that_cannot_be_are_refused(claim: dict[str, float]) -> None:
    with pytest.raises(Refused) as refused:
        message.unpack(header(**claim).pack(), identity=IDENTITY, rank=3)
    assert refused.value.reason is Refusal.NUMBERS


@given(st.integers(0, 2**16 - 1))
def test_a_message_of_another_kind_is_refused(kind: int) -> None:
    packed = bytearray(header().pack())
    struct.pack_into("<H", packed, 14, kind)
    try:
        assert message.unpack(sealed_again(packed), identity=IDENTITY, rank=3).kind == kind < 3
    except Refused as refused:
        assert refused.reason is Refusal.NUMBERS and kind > 2


@given(st.dictionaries(st.integers(0, HEADER_BYTES - 1), st.integers(0, 255), max_size=40))
@settings(max_examples=500, deadline=None)
def test_random_bytes_never_raise_anything_else(bytes_by_position: dict[int, int]) -> None:
    packed = bytearray(header().pack())
    for position, byte in bytes_by_position.items():
        packed[position] = byte
    for data in (bytes(packed), sealed_again(packed)):
        with contextlib.suppress(Refused):
            found = message.unpack(data, identity=IDENTITY, rank=3)
            message.require_possible(found)


@given(st.binary(max_size=200))
def test_noise_is_never_a_header(noise: bytes) -> None:
    with pytest.raises(Refused):
        message.unpack(noise, identity=IDENTITY, rank=3)


@pytest.mark.parametrize("words", [8, 9000, 30_000])
@given(st.integers(0), st.integers(0), st.integers(0, 2**32))
@settings(max_examples=100, deadline=None)
def test_words_that_changed_places_are_refused(words: int, i: int, j: int, seed: int) -> None:
    i, j = i % words, j % words
    payload = torch.randn(2 * words, generator=torch.Generator().manual_seed(seed))
    swapped = payload.clone().view(words, 2)
    swapped[[i, j]] = swapped[[j, i]]
    sealed = message.sealed(header(), payload.view(torch.uint8))
    if i == j:
        message.verify(sealed, payload.view(torch.uint8))
        return
    with pytest.raises(Refused) as refused:
        message.verify(sealed, swapped.view(-1).view(torch.uint8))
    assert refused.value.reason is Refusal.CHECKSUM


def test_zeros_of_another_size_have_another_checksum() -> None:
    sums = [message.checksum(torch.zeros(n, dtype=torch.uint8)) for n in (8, 16, 2**17, 2**18)]
    assert len({*sums, 0}) == 5


@given(st.sampled_from([1, 7, 70, 2**16 + 3, 100_003]), st.integers(0), st.integers(0, 7))
def test_any_flipped_bit_of_a_payload_is_refused(size: int, position: int, bit: int) -> None:
    payload = (torch.arange(size) * 7 % 256).to(torch.uint8)
    sealed = message.sealed(header(), payload)
    message.verify(sealed, payload)
    damaged = payload.clone()
    damaged[position % size] ^= 1 << bit
    with pytest.raises(Refused) as refused:
        message.verify(sealed, damaged)
    assert refused.value.reason is Refusal.CHECKSUM


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite_are_refused(poison: float) -> None:
    payload = torch.zeros(5)
    payload[2] = poison
    with pytest.raises(Refused) as refused:
        message.require_finite(payload)
    assert refused.value.reason is Refusal.NON_FINITE


def test_finite_values_whose_sum_overflows_pass() -> None:
    message.require_finite(torch.full((8,), 3e38))


def test_another_size_is_refused() -> None:
    sealed = message.sealed(header(), torch.zeros(5, dtype=torch.uint8))
    with pytest.raises(Refused) as refused:
        message.verify(sealed, torch.zeros(6, dtype=torch.uint8))
    assert refused.value.reason is Refusal.SIZE
