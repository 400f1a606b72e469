"""Moving pictures: the whole game, few pictures, small ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gala.evaluation.clip import MAX_SIZE, Clip


def picture(number: int, size: int = 4) -> np.ndarray:
    return np.full((size, 2 * size, 3), number % 256, dtype=np.uint8)


def collect(count: int, limit: int) -> list[int]:
    clip = Clip(limit)
    for number in range(count):
        clip.add(picture(number))
    return [int(each[0, 0, 0]) for each in clip.pictures]


def test_a_short_game_is_kept_as_it_is() -> None:
    assert collect(7, limit=8) == list(range(7))


def test_a_long_game_is_thinned_out_evenly() -> None:
    assert collect(9, limit=8) == [0, 2, 4, 6, 8]
    assert collect(33, limit=8) == [0, 8, 16, 24, 32]


@given(st.integers(1, 255), st.integers(2, 20))
def test_pictures_are_evenly_spaced_and_reach_the_end(count: int, limit: int) -> None:
    kept = collect(count, limit)
    steps = set(np.diff(kept).tolist())
    assert kept[0] == 0 and len(kept) <= limit and len(steps) <= 1
    step = steps.pop() if steps else 1
    assert count - kept[-1] <= max(step, limit)
    assert len(kept) >= min(count, limit / 2)


def test_large_pictures_are_made_smaller() -> None:
    clip = Clip()
    clip.add(picture(0, size=210))
    assert clip.size == (210, 105) and max(clip.size) <= MAX_SIZE


def test_the_file_is_a_gif_that_moves() -> None:
    imageio = pytest.importorskip("imageio.v2")
    clip = Clip()
    for number in range(5):
        clip.add(picture(50 * number))
    encoded = clip.gif()
    assert encoded.startswith(b"GIF89a")
    found = imageio.mimread(encoded, format="GIF")
    assert [int(each[0, 0, 0]) for each in found] == [0, 50, 100, 150, 200]
    assert found[0].shape[:2] == (4, 8)
