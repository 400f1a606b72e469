"""Wire formats: sizes, exactness, and the promised precision."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gala.gossip.wire import BLOCK, wire_format

SIZES = [1, 2, 255, 256, 257, 1001]


def vector(size: int, scale: float = 1.0) -> torch.Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(size)) * scale


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["float32", "bfloat16", "int8"])
def test_what_is_sent_has_the_promised_size_and_comes_back(name: str, size: int) -> None:
    wire = wire_format(name, size)
    payload = wire.encode(vector(size))
    assert payload.dtype is torch.uint8 and payload.numel() == wire.payload_bytes
    back = wire.decode(payload.clone())
    assert back.shape == (size,) and back.dtype is torch.float32
    torch.testing.assert_close(back, vector(size), atol=0.02, rtol=0.01)


def test_bytes_per_parameter() -> None:
    sizes = {name: wire_format(name, 2**20).payload_bytes / 2**20
             for name in ("float32", "bfloat16", "int8", "float64")}  # fmt: skip
    assert sizes == {"float32": 4, "bfloat16": 2, "int8": 1 + 4 / BLOCK, "float64": 8}


@pytest.mark.parametrize("name", ["float32", "float64"])
def test_exact_formats_are_exact_and_do_not_copy(name: str) -> None:
    original = vector(77).to(getattr(torch, name))
    wire = wire_format(name, 77)
    payload = wire.encode(original)
    assert torch.equal(wire.decode(payload), original)
    assert payload.data_ptr() == original.data_ptr()


@given(st.integers(0, 1000), st.floats(1e-6, 1e6))
def test_bfloat16_is_off_by_less_than_its_last_bit(seed: int, scale: float) -> None:
    original = torch.randn(50, generator=torch.Generator().manual_seed(seed)) * scale
    wire = wire_format("bfloat16", 50)
    error = (wire.decode(wire.encode(original)) - original).abs()
    assert bool((error <= original.abs() * 2**-8).all())


@given(st.integers(0, 1000), st.floats(1e-6, 1e6), st.integers(1, 700))
def test_int8_is_off_by_half_a_step_of_its_block(seed: int, scale: float, size: int) -> None:
    original = torch.randn(size, generator=torch.Generator().manual_seed(seed)) * scale
    wire = wire_format("int8", size)
    error = (wire.decode(wire.encode(original)) - original).abs()
    for block, errors in zip(original.split(BLOCK), error.split(BLOCK), strict=True):
        assert float(errors.max()) <= float(block.abs().max()) / 254 * 1.0001


def test_int8_keeps_zeros_and_a_block_does_not_disturb_another() -> None:
    original = torch.zeros(3 * BLOCK)
    original[0] = 1e6
    original[-1] = 1e-6
    wire = wire_format("int8", 3 * BLOCK)
    back = wire.decode(wire.encode(original))
    torch.testing.assert_close(back, original)


def test_a_shorter_vector_than_the_last_leaves_no_rest() -> None:
    wire = wire_format("int8", 3)
    wire.encode(torch.full((3,), 100.0))
    torch.testing.assert_close(wire.decode(wire.encode(torch.ones(3))), torch.ones(3))


def test_codes_tell_formats_apart() -> None:
    names = ("float32", "bfloat16", "int8", "float64")
    assert len({wire_format(name, 4).code for name in names}) == 4
