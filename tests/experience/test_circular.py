"""The circular buffer: who is served how often, what is kept of it, and what is not usable."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from batches import random_batch
from hypothesis import given
from hypothesis import strategies as st
from late_queue import LateStream

from gala.device.streams import Direct, Stream
from gala.experience.batch import Batch
from gala.experience.circular import CircularBuffer

SIZES = st.integers(1, 7)


def numbered(number: int) -> Batch:
    """Its number is its version, and in all of its columns."""
    batch = random_batch(number)
    batch.version[:] = number
    batch.reward.fill_(number)
    batch.obs.fill_(number)
    return batch


def serve(buffer: CircularBuffer, batch: Batch, stream: Stream | None = None) -> list[int]:
    """The numbers of the batches that are served for a new one."""
    found = []
    for served in buffer.serve(batch):
        if isinstance(stream, LateStream):
            stream.queue.drain()
        (number,) = {*served.reward.flatten().tolist(), *served.obs.flatten().tolist()}
        assert set(served.version.ravel().tolist()) == {number}
        found.append(int(number))
    return found


@given(size=SIZES, replays=SIZES, new=st.integers(1, 20))
def test_each_batch_is_served_as_often_as_asked_for(size: int, replays: int, new: int) -> None:
    buffer = CircularBuffer(size, replays)
    served = [serve(buffer, numbered(k)) for k in range(new)]
    for k, numbers in enumerate(served):
        assert len(numbers) == replays and numbers == sorted(numbers)
        assert numbers[-1] == k and numbers[0] > k - size
    counts = Counter(sum(served, []))
    settled = range(size, new - size)  # came when the buffer was full, and left it since
    assert all(counts[k] == replays for k in settled)
    assert all(counts[k] > 0 for k in range(new)) or replays < size


def test_the_defaults_serve_the_newest_and_one_from_the_middle() -> None:
    buffer = CircularBuffer(4, 2)
    served = [serve(buffer, numbered(k)) for k in range(6)]
    assert served == [[0, 0], [0, 1], [0, 2], [1, 3], [2, 4], [3, 5]]


@given(size=SIZES, replays=SIZES, cut=st.integers(0, 9))
def test_it_goes_on_from_its_state(size: int, replays: int, cut: int) -> None:
    """In a process whose revisions are 1000 less."""
    whole, first, second = (CircularBuffer(size, replays) for _ in range(3))
    expected = [serve(whole, numbered(k)) for k in range(12)]
    for k in range(cut):
        serve(first, numbered(k))
    second.load_state_dict(first.state_dict(2000), 1000)
    second.load_state_dict(second.state_dict(1000), 1000)  # saved before it was used
    for k in range(cut, 12):
        batch = numbered(k)
        batch.version -= 1000
        found = []
        for served in second.serve(batch):
            number = int(served.reward[0, 0])
            assert set(served.version.ravel().tolist()) == {number - 1000}
            found.append(number)
        assert found == expected[k]


@pytest.mark.parametrize("warm_up", [0, 2])
def test_a_late_device_serves_the_same(warm_up: int) -> None:
    stream = LateStream(warm_up)
    here, there = CircularBuffer(3, 3, Direct()), CircularBuffer(3, 3, stream)
    batch = numbered(0)
    for k in range(9):
        for name in ("reward", "obs"):
            getattr(batch, name).fill_(k)
        batch.version[:] = k
        expected = serve(here, batch)
        assert serve(there, batch, stream) == expected
        stream.queue.drain()  # as who waits for the update does, before the batch is filled again


@pytest.mark.parametrize("column", ["reward", "value", "next_value", "dist"])
@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_seen_once(column: str, number: float) -> None:
    buffer, batch = CircularBuffer(2, 2), random_batch()
    getattr(batch, column)[1, 0].fill_(number)
    *_, new = buffer.serve(batch)
    assert not bool(getattr(new, column).isfinite().all()) and bool(new.valid.all())
    older, new = (bool(s.valid[:, 0].any()) or s.valid.tolist() for s in buffer.serve(batch))
    state = buffer.state_dict(0)["batches"][0]
    assert state["valid"].tolist() == [[False, True]] * 3
    assert all(bool(tensor.isfinite().all()) for tensor in state.values())
    assert older == [[False, True]] * 3 and new is True


def test_batches_of_other_shapes_are_left_out() -> None:
    first, second = CircularBuffer(3, 2), CircularBuffer(3, 2)
    serve(first, numbered(0))
    second.load_state_dict(first.state_dict(0), 0)
    wide = random_batch(7, b=5)
    assert [int(s.action.shape[1]) for s in second.serve(wide)] == [5, 5]
    again = [torch.equal(s.obs, wide.obs) for s in second.serve(random_batch(8, b=5))]
    assert again == [True, False], "what was kept since is served"


def test_masks_are_served_with_their_batch() -> None:
    buffer, masks = CircularBuffer(2, 2), []
    for k in range(2):
        batch = random_batch(k)
        batch.mask = torch.zeros(batch.dist.shape, dtype=torch.bool)
        batch.mask[..., k] = True
        masks += [_mask(served).flatten(0, 1)[0].tolist() for served in buffer.serve(batch)]
    assert masks[2:] == [[True, False, False], [False, True, False]]
    assert "mask" in buffer.state_dict(0)["batches"][0]


def test_nothing_is_left_after_it_was_cleared() -> None:
    buffer = CircularBuffer(3, 2)
    serve(buffer, numbered(1))
    buffer.clear()
    assert buffer.state_dict(5)["batches"] == []
    assert serve(buffer, numbered(2)) == [2, 2]


def _mask(batch: Batch) -> Any:
    assert batch.mask is not None
    return batch.mask
