"""Distances in pieces against those of whole vectors."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gala.parameters import distances
from gala.parameters.distances import Distances


@given(st.lists(st.integers(0, 40), min_size=1, max_size=6), st.integers(1, 7), st.integers(0, 99))
def test_parts_and_pieces(sizes: list[int], piece: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    first, second = torch.randn(2, sum(sizes), generator=generator)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distances, "PIECE", piece)
        found = Distances(sizes)(first, second)
    pairs = zip(first.split(sizes), second.split(sizes), strict=True)
    np.testing.assert_allclose(found, [float(torch.dist(a, b)) for a, b in pairs], rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_other_kinds_of_numbers(dtype: torch.dtype) -> None:
    first, second = torch.ones(2, 10, dtype=dtype)
    assert Distances([4, 6])(first + 2, second).tolist() == pytest.approx([4.0, 24**0.5], rel=1e-2)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_one_element_that_is_not_finite_shows(value: float) -> None:
    first, second = torch.zeros(2, 300_000)
    first[299_999] = value
    found = Distances([100_000, 200_000])(first, second)
    assert found[0] == 0.0 and not np.isfinite(found[1])


def test_a_length_beyond_float32_shows_and_warns_of_nothing() -> None:
    first, second = torch.zeros(2, 10)
    first[:4] = 1e30
    with warnings.catch_warnings(action="error"):
        assert Distances([4, 6])(first, second).tolist() == [float("inf"), 0.0]
