"""Wire formats: how a vector of parameters becomes the bytes of a message, and back.

=========  ===================  ==============================================================
float32    4 bytes a parameter  exact
bfloat16   2 bytes              8 bits of significand: relative error up to 2^-9 each
int8       1 byte + 1/64        blocks of 256 with their own scale: error up to 1/254 of the
                                largest value of the block
float64    8 bytes              exact; what push-sum sends, whose running sums grow
=========  ===================  ==============================================================

What is lost is lost in the copies that neighbours average in; own parameters stay float32.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

CPU = torch.device("cpu")

BLOCK = 256
"""Parameters that share one scale in int8."""


class Wire(Protocol):
    """One format for vectors of a fixed length P.

    Attributes:
        code: its number in message headers.
        payload_bytes: bytes of one message.
        exact: whether :meth:`decode` gives what :meth:`encode` got.
    """

    code: int
    payload_bytes: int
    exact: bool

    def encode(self, vector: Tensor) -> Tensor:
        """Uint8[B] of a contiguous vector where messages lie; valid until the next call."""
        ...

    def decode(self, payload: Tensor) -> Tensor:
        """Float[P] of Uint8[B]; valid as long as ``payload`` is."""
        ...


class Exact:
    """float32 or float64, sent as it lies in memory: no copy."""

    exact = True

    def __init__(self, parameters: int, dtype: torch.dtype) -> None:
        self.code = {torch.float32: 0, torch.float64: 3}[dtype]
        self._dtype = dtype
        self.payload_bytes = parameters * dtype.itemsize

    def encode(self, vector: Tensor) -> Tensor:
        """See :class:`Wire`."""
        return vector.view(torch.uint8)

    def decode(self, payload: Tensor) -> Tensor:
        """See :class:`Wire`."""
        return payload.view(self._dtype)


class BFloat16:
    """Half the bytes; rounds to nearest."""

    code = 1
    exact = False

    def __init__(self, parameters: int, device: torch.device = CPU) -> None:
        self.payload_bytes = parameters * 2
        self._out = torch.empty(parameters, dtype=torch.bfloat16, device=device)

    def encode(self, vector: Tensor) -> Tensor:
        """See :class:`Wire`."""
        return self._out.copy_(vector).view(torch.uint8)

    def decode(self, payload: Tensor) -> Tensor:
        """See :class:`Wire`."""
        return payload.view(torch.bfloat16).float()


class Int8:
    """A quarter of the bytes: whole numbers within +-127 times a scale for each block."""

    code = 2
    exact = False

    def __init__(self, parameters: int, device: torch.device = CPU) -> None:
        self._parameters = parameters
        self._blocks = -(-parameters // BLOCK)
        self._scale_bytes = self._blocks * 4
        self.payload_bytes = self._scale_bytes + self._blocks * BLOCK
        self._out = torch.empty(self.payload_bytes, dtype=torch.uint8, device=device)
        self._padded = torch.zeros(self._blocks, BLOCK, device=device)

    def encode(self, vector: Tensor) -> Tensor:
        """See :class:`Wire`."""
        padded = self._padded
        padded.view(-1)[: self._parameters] = vector
        scales, values = self._split(self._out)
        torch.amax(padded.abs(), dim=1, out=scales).div_(127)
        # a block of zeros has scale 0: divide it by one instead
        values.copy_(padded.div(scales.where(scales > 0, 1.0)[:, None]).round_())
        return self._out

    def decode(self, payload: Tensor) -> Tensor:
        """See :class:`Wire`."""
        scales, values = self._split(payload)
        return torch.mul(values, scales[:, None]).view(-1)[: self._parameters]

    def _split(self, payload: Tensor) -> tuple[Tensor, Tensor]:
        scales = payload[: self._scale_bytes].view(torch.float32)
        values = payload[self._scale_bytes :].view(torch.int8).view(self._blocks, BLOCK)
        return scales, values


def wire_format(name: str, parameters: int, device: torch.device = CPU) -> Wire:
    """The format ``name`` for vectors of ``parameters`` elements, with messages on ``device``."""
    if name == "bfloat16":
        return BFloat16(parameters, device)
    if name == "int8":
        return Int8(parameters, device)
    return Exact(parameters, {"float32": torch.float32, "float64": torch.float64}[name])
