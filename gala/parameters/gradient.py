"""Clipping of a flat gradient, and whether it can be followed at all."""

from __future__ import annotations

import math

import torch
from torch import Tensor

SQUARABLE = 1e18
"""Largest norm that an optimizer is given: squares of more overflow float32 in its state."""


def clip_gradient(
    gradient: Tensor, limit: float | None, *, recorded: bool = False
) -> tuple[Tensor, Tensor]:
    """Scale Float32[P] in place so that its L2 norm is at most ``limit``.

    One pass tells a gradient that is finite from one that is not: a value that is not finite makes
    the norm so. But squares overflow float32 from 1.8e19 on. Where the norm is not finite it is
    therefore taken again in float64, which tells which of both it was.

    Args:
        gradient: before clipping.
        limit: None: it is left as it is.
        recorded: never ask a tensor for its value; the norm in float64 is taken always.

    Returns:
        Float32[], the norm before, and Float32[], 1 where no step can be made of the gradient: it
        is not finite, or too large and not clipped. Else 0.
    """
    norm: Tensor = gradient.norm()
    factor = None if limit is None else (limit / (norm + 1e-6)).clamp(max=1.0)
    if recorded or not math.isfinite(norm):
        wide = torch.linalg.vector_norm(gradient, dtype=torch.float64)
        overflowed = ~norm.isfinite()
        usable = wide.isfinite()
        if factor is None or limit is None or limit > SQUARABLE:
            usable = usable & ~overflowed
        else:
            factor = torch.where(overflowed, (limit / wide).clamp(max=1.0).float(), factor)
        norm = torch.where(overflowed, wide.float(), norm)
        skip = (~usable).float()
    else:
        skip = torch.zeros_like(norm, dtype=torch.float32)
    if factor is not None:
        gradient.mul_(factor)
    return norm, skip
