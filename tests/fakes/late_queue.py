"""A device that is late: what it is handed is done when somebody waits for it, and not before.

A buffer that is written too early, or read too early, gives wrong numbers here at once, where a
GPU would give them once in a while.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import ParamSpec, TypeVar

import torch
from tape import Tape
from torch import Tensor

from gala.device.streams import Queued

T = TypeVar("T")
P = ParamSpec("P")


class LateEvent:
    def __init__(self, queue: LateQueue) -> None:
        self._queue, self._place = queue, 0

    def record(self) -> None:
        self._place = self._queue.handed

    def synchronize(self) -> None:
        self._queue.waits += self._queue.done < self._place
        self._queue.work_until(self._place)


class Counted:
    """How often it was entered."""

    def __init__(self) -> None:
        self.entered = 0

    def __enter__(self) -> None:
        self.entered += 1

    def __exit__(self, *error: object) -> None: ...


class LateQueue:
    """See :class:`gala.device.streams.Queue`.

    Attributes:
        handed: pieces of work that it was handed.
        done: how many are done.
        waits: how often somebody had to wait.
        apart: entered while functions warm up.
        copied: sizes in bytes of what was copied.
        recordings: how many were made.
    """

    device = torch.device("cpu")

    def __init__(self, warm_up: int = 0) -> None:
        self.warm_up, self.apart = warm_up, Counted()
        self.handed = self.done = self.waits = self.recordings = 0
        self.copied: list[int] = []
        self._work: deque[Callable[[], object]] = deque()

    def hand(self, work: Callable[[], object]) -> None:
        self._work.append(work)
        self.handed += 1

    def work_until(self, place: int) -> None:
        while self.done < place:
            self._work.popleft()()
            self.done += 1

    def drain(self) -> None:
        self.work_until(self.handed)

    def host(self, like: Tensor) -> Tensor:
        return torch.empty(like.shape, dtype=like.dtype)

    def copy(self, source: Tensor, target: Tensor) -> None:
        self.copied.append(source.nbytes)
        self.hand(lambda: target.copy_(source))

    def fill(self, target: Tensor, number: float) -> None:
        self.hand(lambda: target.fill_(number))

    def event(self) -> LateEvent:
        return LateEvent(self)

    def record(
        self, function: Callable[[], T], generator: torch.Generator | None
    ) -> tuple[T, Callable[[], None]]:
        self.drain()  # a tape puts back what it finds: let that be what the device would find
        tape = Tape(generator)
        result = tape.record(function)
        self.recordings += 1
        return result, lambda: self.hand(tape.replay)

    def current(self) -> AbstractContextManager[None]:
        return nullcontext()


class LateStream(Queued):
    """A stream to a :class:`LateQueue`.

    What is not recorded yet a GPU queues by itself; here it is done at once, and hence after all
    that came before it.
    """

    def __init__(self, warm_up: int = 0) -> None:
        self.queue = LateQueue(warm_up)
        super().__init__(self.queue)

    def captured(
        self, function: Callable[P, T], generator: torch.Generator | None = None
    ) -> Callable[P, T]:
        def in_turn(*args: P.args, **kwargs: P.kwargs) -> T:
            self.queue.drain()
            return function(*args, **kwargs)

        return super().captured(in_turn, generator)
