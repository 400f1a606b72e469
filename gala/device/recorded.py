"""A function over tensors that stay where they are: recorded once on a device, then replayed.

A recording repeats the work and nothing else: it reads and writes the memory that the function read
and wrote, whatever lies there by then. What is no tensor is repeated as it was, so that a function
that is recorded

- reads what changes from tensors, and a number that changes from a
  :class:`~gala.device.streams.Number`;
- leaves its results in tensors that the next call overwrites;
- draws random numbers from the generator it is recorded with, and from no other;
- never asks a tensor for its value, which would wait for the device.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Generic, ParamSpec, TypeVar

T = TypeVar("T")
P = ParamSpec("P")

Record = Callable[[Callable[[], T]], tuple[T, Callable[[], None]]]
"""Records a function without doing its work; returns its results, and what does the work."""


class Captured(Generic[P, T]):
    """``function``, from some call on a recording of it.

    The first calls run it as it is. They are the warm-up that a recording needs, and they are real
    calls all the same: an update that is repeated just to warm up would change the parameters.

    Args:
        function: see the module.
        record: makes the recording.
        warm_up: calls before it.
        apart: entered for those: libraries that begin to work would spoil the recordings of other
            threads.
    """

    def __init__(
        self,
        function: Callable[P, T],
        record: Record[T],
        warm_up: int,
        apart: AbstractContextManager[object] | None = None,
    ) -> None:
        self._function, self._record, self._left = function, record, warm_up
        self._apart = apart or nullcontext()
        self._replay: Callable[[], None] | None = None

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Do the work; with a recording, on the very objects that it was made with."""
        given = (*args, *kwargs.values())
        if self._replay is None:
            if self._left > 0:
                self._left -= 1
                with self._apart:
                    return self._function(*args, **kwargs)
            self._given = given
            self._result, self._replay = self._record(lambda: self._function(*args, **kwargs))
        assert len(given) == len(self._given), "recorded with other arguments"
        assert all(a is b for a, b in zip(given, self._given, strict=True)), (
            "a recording works on the objects it was made with"
        )
        self._replay()
        return self._result
