"""What does not fit into the memory is one line; other mistakes stay what they are."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gala.errors import UserError
from gala.files import room
from gala.files.room import within_memory

MUCH = 10**15


@pytest.mark.parametrize(
    ("make", "asked"),
    [
        (lambda: torch.empty(MUCH), f"asked for {4 * MUCH} bytes at once, "),
        (lambda: np.empty(MUCH), "asked for 7.11 PiB at once, "),
        (lambda: torch.empty((2**40, 2**40)), ""),
        (lambda: np.empty((2**40, 2**40)), ""),
        (lambda: bytearray(2**62), ""),
    ],
)
def test_what_no_memory_holds(monkeypatch: pytest.MonkeyPatch, make: object, asked: str) -> None:
    monkeypatch.setattr(room, "free_memory", lambda: 3_000_000_000)
    with pytest.raises(UserError) as caught, within_memory():
        make()  # type: ignore[operator]
    assert f"too large for the memory: {asked}3.0 GB are free" in str(caught.value)
    assert "\n" not in str(caught.value) and "n-step" in str(caught.value)


@pytest.mark.parametrize("error", [RuntimeError("no such lever"), ValueError("x"), KeyError("y")])
def test_other_mistakes_stay_what_they_are(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, within_memory():
        raise error
    assert caught.value is error
