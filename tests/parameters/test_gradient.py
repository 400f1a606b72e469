"""Clipping: what can be followed, and what cannot."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gala.parameters.gradient import clip_gradient

NUMBERS = st.floats(-(2.0**127), 2.0**127, width=32)
EITHER = pytest.mark.parametrize("recorded", [False, True])


@EITHER
@given(values=st.lists(NUMBERS, min_size=1, max_size=9), limit=st.floats(1e-3, 1e3))
def test_every_finite_gradient_is_clipped(
    recorded: bool, values: list[float], limit: float
) -> None:
    """Also one whose squares overflow float32: its direction stays, its norm is the limit."""
    gradient = torch.tensor(values)
    exact = gradient.double()
    norm, skip = clip_gradient(gradient, limit, recorded=recorded)
    assert skip == 0
    length = float(exact.norm())
    assert float(norm) == pytest.approx(length, rel=1e-4, abs=1e-18) or length > 3e38
    wanted = exact * min(1.0, limit / (length + 1e-6))
    torch.testing.assert_close(gradient.double(), wanted, rtol=1e-2, atol=1e-6 * limit)


@EITHER
@pytest.mark.parametrize("spoilt", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("limit", [None, 0.5])
def test_one_element_that_is_not_finite(recorded: bool, spoilt: float, limit: float | None) -> None:
    gradient = torch.ones(5)
    gradient[3] = spoilt
    assert clip_gradient(gradient, limit, recorded=recorded)[1] == 1


@EITHER
@pytest.mark.parametrize("limit", [None, 1e30])
def test_squares_that_overflow_are_not_followed_unclipped(
    recorded: bool, limit: float | None
) -> None:
    """They would stay in the optimizer's state for good."""
    gradient = torch.full((5,), 1e20)
    norm, skip = clip_gradient(gradient, limit, recorded=recorded)
    assert skip == 1 and float(norm) == pytest.approx(5**0.5 * 1e20)


@EITHER
def test_a_gradient_without_a_limit_stays_as_it_is(recorded: bool) -> None:
    gradient = torch.arange(5.0)
    norm, skip = clip_gradient(gradient, None, recorded=recorded)
    assert (float(norm), float(skip)) == (pytest.approx(30**0.5), 0.0)
    assert gradient.tolist() == [0, 1, 2, 3, 4]
