"""The stream of an agent: the order in which a device does its work.

On the CPU work is done when a call returns. A device has a queue: what it is handed it does later,
in order, so that a buffer that was handed over must rest until its turn has come and gone.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ParamSpec, Protocol, TypeVar

import torch
from torch import Tensor

from gala.device.recorded import Captured

STREAMS = 32
"""That torch gives out on a CUDA device before it gives the first one again."""

T = TypeVar("T")
P = ParamSpec("P")


class Stream(Protocol):
    """What rollouts and updates need of a device.

    Attributes:
        device: where tensors to compute with lie.
        records: whether captured functions may be recorded, and hence never ask for a value.
    """

    device: torch.device
    records: bool

    def mirror(self, host: Tensor) -> Tensor:
        """A tensor like ``host`` on the device; ``host`` itself on the CPU."""
        ...

    def upload(self, source: Tensor, target: Tensor) -> None:
        """``target <- source``; ``source`` may change as soon as this returns."""
        ...

    def download(self, source: Tensor) -> Tensor:
        """``source`` on the CPU, waited for; valid until the next one of its shape and type."""
        ...

    def send_down(self, source: Tensor) -> Tensor:
        """``source`` on the CPU once a later :meth:`download` has returned; waits for nothing.

        Valid until the next one of its shape and type.
        """
        ...

    def captured(
        self, function: Callable[P, T], generator: torch.Generator | None = None
    ) -> Callable[P, T]:
        """``function``, recorded where that pays; :mod:`gala.device.recorded` says what it may do.

        Args:
            function: works on tensors that stay where they are.
            generator: the random numbers that it draws.
        """
        ...

    def number(self) -> Number:
        """A number for captured functions to read."""
        ...

    def current(self) -> AbstractContextManager[None]:
        """Everything that this thread hands to the device goes down this stream."""
        ...


class Number:
    """A number that changes between calls of a captured function.

    Attributes:
        value: a float on the CPU; on a device, Float32[], what a recording reads.
    """

    def __init__(self, queue: Queue | None = None) -> None:
        self._queue = queue
        self.value: float | Tensor = 0.0
        if queue is not None:
            self.value = torch.zeros((), device=queue.device)

    def set(self, number: float) -> None:
        """From now on, in the order of the stream, it is ``number``."""
        if self._queue is not None and isinstance(self.value, Tensor):
            self._queue.fill(self.value, number)
        else:
            self.value = number


class Direct:
    """The CPU: nothing is copied, recorded or waited for."""

    device = torch.device("cpu")
    records = False

    def mirror(self, host: Tensor) -> Tensor:
        """See :class:`Stream`."""
        return host

    def upload(self, source: Tensor, target: Tensor) -> None:
        """See :class:`Stream`."""
        if source is not target:
            target.copy_(source)

    def download(self, source: Tensor) -> Tensor:
        """See :class:`Stream`."""
        return source

    def send_down(self, source: Tensor) -> Tensor:
        """See :class:`Stream`."""
        return source

    def captured(
        self, function: Callable[P, T], generator: torch.Generator | None = None
    ) -> Callable[P, T]:
        """See :class:`Stream`."""
        return function

    def number(self) -> Number:
        """See :class:`Stream`."""
        return Number()

    def current(self) -> AbstractContextManager[None]:
        """See :class:`Stream`."""
        return nullcontext()


class Event(Protocol):
    """Event: a position in a queue."""

    def record(self) -> None:
        """Move the event to where the queue ends now."""
        ...

    def synchronize(self) -> None:
        """Wait until the work before it is done; if it was never recorded, there is none."""
        ...


class Queue(Protocol):
    """The work of one agent on a device: none of these waits for it.

    Attributes:
        device: of the tensors.
        warm_up: calls of a function before it can be recorded.
        apart: see :func:`apart_on`.
    """

    device: torch.device
    warm_up: int
    apart: AbstractContextManager[object]

    def host(self, like: Tensor) -> Tensor:
        """Memory of the CPU, of the shape and type of ``like``, that the device reads and writes
        by itself.
        """
        ...

    def copy(self, source: Tensor, target: Tensor) -> None:
        """``target <- source``, one of them from :meth:`host`."""
        ...

    def fill(self, target: Tensor, number: float) -> None:
        """``target <- number``."""
        ...

    def event(self) -> Event:
        """See :class:`Event`."""
        ...

    def record(
        self, function: Callable[[], T], generator: torch.Generator | None
    ) -> tuple[T, Callable[[], None]]:
        """Results of ``function``, and what queues its work."""
        ...

    def current(self) -> AbstractContextManager[None]:
        """See :class:`Stream`."""
        ...


class _Buffer:
    """Memory of the CPU on its way to the device or back, and when it arrives."""

    def __init__(self, queue: Queue, like: Tensor) -> None:
        self.tensor, self.arrived = queue.host(like), queue.event()


class Queued:
    """A device with a queue.

    What goes up passes two buffers in turn: while the device reads one, the environments' next
    observations already go into the other.

    Args:
        queue: of the device.
    """

    records = True

    def __init__(self, queue: Queue) -> None:
        self.device = queue.device
        self._queue = queue
        self._up: dict[tuple[torch.Size, torch.dtype], list[_Buffer]] = {}
        self._down: dict[tuple[torch.Size, torch.dtype], _Buffer] = {}
        self._sent: dict[tuple[torch.Size, torch.dtype], Tensor] = {}

    def mirror(self, host: Tensor) -> Tensor:
        """See :class:`Stream`."""
        return torch.zeros_like(host, device=self.device)

    def upload(self, source: Tensor, target: Tensor) -> None:
        """See :class:`Stream`."""
        buffers = self._up.setdefault((target.shape, target.dtype), [])
        if len(buffers) < 2:
            buffers.append(_Buffer(self._queue, target))
        else:
            buffers.append(buffers.pop(0))
        buffer = buffers[-1]
        buffer.arrived.synchronize()
        buffer.tensor.copy_(source)
        self._queue.copy(buffer.tensor, target)
        buffer.arrived.record()

    def download(self, source: Tensor) -> Tensor:
        """See :class:`Stream`."""
        key = source.shape, source.dtype
        if key not in self._down:
            self._down[key] = _Buffer(self._queue, source)
        buffer = self._down[key]
        self._queue.copy(source, buffer.tensor)
        buffer.arrived.record()
        buffer.arrived.synchronize()
        return buffer.tensor

    def send_down(self, source: Tensor) -> Tensor:
        """See :class:`Stream`."""
        key = source.shape, source.dtype
        if key not in self._sent:
            self._sent[key] = self._queue.host(source)
        self._queue.copy(source, self._sent[key])
        return self._sent[key]

    def captured(
        self, function: Callable[P, T], generator: torch.Generator | None = None
    ) -> Callable[P, T]:
        """See :class:`Stream`."""
        queue = self._queue
        return Captured(
            function, lambda work: queue.record(work, generator), queue.warm_up, queue.apart
        )

    def number(self) -> Number:
        """See :class:`Stream`."""
        return Number(self._queue)

    def current(self) -> AbstractContextManager[None]:
        """See :class:`Stream`."""
        return self._queue.current()


class Handover(Protocol):
    """Handover of tensors from one stream to another one of the same device."""

    def written(self, tensor: Tensor) -> Any:
        """The moment at which the work that wrote ``tensor``, on this thread's stream, is done."""
        ...

    def read(self, tensor: Tensor, moment: Any) -> None:
        """From here on this thread's stream may read it. Hold it until the reading is done."""
        ...

    def rest(self) -> None:
        """Wait until this thread's stream has done all that it was handed."""
        ...
