"""Streams against a device that is late."""

from __future__ import annotations

import torch
from late_queue import LateQueue

from gala.device.choose import stream_on
from gala.device.streams import Direct, Number, Queued


def test_the_cpu_is_direct_and_copies_nothing() -> None:
    stream = stream_on(torch.device("cpu"))
    x = torch.ones(3)
    assert isinstance(stream, Direct) and stream.mirror(x) is x and stream.download(x) is x
    assert stream.captured(x.sum) == x.sum and stream.number().value == 0.0
    stream.upload(x, x)
    with stream.current():
        pass


def test_what_was_uploaded_may_change_at_once() -> None:
    queue = LateQueue()
    stream = Queued(queue)
    source, targets = torch.zeros(4, dtype=torch.uint8), torch.zeros(7, 4, dtype=torch.uint8)
    for k, target in enumerate(targets):
        source.fill_(k)
        stream.upload(source, target)
    source.fill_(99)
    queue.drain()
    assert targets[:, 0].tolist() == list(range(7))


def test_two_buffers_go_up_before_anybody_waits() -> None:
    queue = LateQueue()
    stream = Queued(queue)
    target = torch.zeros(4)
    for _ in range(2):
        stream.upload(torch.ones(4), target)
    assert (queue.waits, queue.done) == (0, 0), "two are under way"
    stream.upload(torch.ones(4), target)
    assert (queue.waits, queue.done) == (1, 1), "the third waits for the first alone"


def test_shapes_and_types_have_buffers_of_their_own() -> None:
    queue = LateQueue()
    stream = Queued(queue)
    targets = [torch.zeros(4), torch.zeros(4, dtype=torch.int64), torch.zeros(2, 2)]
    for target in targets:
        for _ in range(2):
            stream.upload(torch.ones_like(target), target)
    assert queue.waits == 0
    queue.drain()
    assert all(bool((target == 1).all()) for target in targets)


def test_a_download_waits_for_what_comes_before_it() -> None:
    queue = LateQueue()
    stream = Queued(queue)
    x, y = torch.zeros(3), torch.zeros(3)
    add = stream.captured(lambda: y.copy_(x * 2))
    for k in range(5):
        stream.upload(torch.full((3,), float(k)), x)
        add()
        assert stream.download(y).tolist() == [2.0 * k] * 3
    assert queue.waits == 5 and queue.recordings == 1


def test_a_download_is_no_view_of_what_comes_next() -> None:
    queue = LateQueue()
    stream = Queued(queue)
    x = torch.zeros(3)
    found = stream.download(x)
    stream.upload(torch.ones(3), x)
    queue.drain()
    assert found.tolist() == [0.0] * 3


def test_numbers_change_in_the_order_of_the_stream() -> None:
    queue = LateQueue()
    stream = Queued(queue)
    number, x = stream.number(), torch.zeros(())
    step = stream.captured(lambda: x.add_(number.value))
    for size in (1.0, 10.0, 100.0):
        number.set(size)
        step()
    queue.drain()
    assert float(x) == 111.0 and queue.recordings == 1
    plain = Number()
    plain.set(2.5)
    assert plain.value == 2.5


def test_mirrors_are_elsewhere() -> None:
    x = torch.ones(3, dtype=torch.bool)
    mirror = Queued(LateQueue()).mirror(x)
    assert mirror.dtype == x.dtype and mirror.shape == x.shape
    assert mirror.data_ptr() != x.data_ptr()
