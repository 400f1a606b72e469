"""CUDA: the stream of an agent with its recorded graphs, and tensors handed from stream to stream;
and what the driver tells of a device.

Unproven: not yet run on a GPU.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

import torch
from torch import Tensor

from gala.device.streams import Event

T = TypeVar("T")

RECORDING = threading.Lock()
"""One graph of a process is recorded at a time (a rule of torch's allocator)."""


class CudaQueue:
    """A stream of its own on a CUDA device; see :class:`gala.device.streams.Queue`.

    Args:
        device: with its index.
    """

    warm_up = 3  # as torch advises: libraries choose algorithms and allocate workspaces
    apart: AbstractContextManager[object] = RECORDING

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def host(self, like: Tensor) -> Tensor:
        """Page-locked memory."""
        return torch.empty(like.shape, dtype=like.dtype, pin_memory=True)

    def copy(self, source: Tensor, target: Tensor) -> None:
        """See :class:`gala.device.streams.Queue`."""
        target.copy_(source, non_blocking=True)

    def fill(self, target: Tensor, number: float) -> None:
        """See :class:`gala.device.streams.Queue`."""
        target.fill_(number)

    def event(self) -> Event:
        """One that sleeps while it waits: a thread that spins takes an environment's core."""
        event: Event = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        return event

    def record(
        self, function: Callable[[], T], generator: torch.Generator | None
    ) -> tuple[T, Callable[[], None]]:
        """A CUDA graph on this stream. Other threads may use the device meanwhile."""
        graph = torch.cuda.CUDAGraph()
        if generator is not None:
            graph.register_generator_state(generator)
        with (
            RECORDING,
            torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"),
        ):
            result = function()
        return result, graph.replay

    def current(self) -> AbstractContextManager[None]:
        """Work goes to this stream, after what was handed to the one before, and before what will
        be.
        """
        return self._current()

    @contextmanager
    def _current(self) -> Iterator[None]:
        outside = torch.cuda.current_stream(self.device)
        self._stream.wait_stream(outside)
        with torch.cuda.stream(self._stream):
            yield
        outside.wait_stream(self._stream)


class CudaHandover:
    """Between streams of one process; see :class:`gala.device.streams.Handover`.

    ``Tensor.record_stream`` would spare readers :meth:`rest`, but the allocator would put events
    into streams that are being recorded, which ends a recording.

    Args:
        device: where messages lie.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def written(self, tensor: Tensor) -> torch.cuda.Event | None:
        """An event behind what was written; None where the CPU wrote it."""
        if tensor.device.type != "cuda":
            return None
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(tensor.device))
        return event

    def read(self, tensor: Tensor, moment: torch.cuda.Event | None) -> None:
        """Own work waits for the event."""
        if moment is not None:
            torch.cuda.current_stream(tensor.device).wait_event(moment)

    def rest(self) -> None:
        """See :class:`gala.device.streams.Handover`; sleeps."""
        event = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self._device))
        event.synchronize()


def usage(device: torch.device) -> dict[str, float | None]:
    """How busy ``device`` is, and what this process holds of it.

    Neither waits for the device or lets a library reserve memory there, so that nobody's recording
    ends (:func:`gala.device.choose.apart_on`).

    Returns:
        ``system/gpu_busy``, the share of the driver's last period in which any kernel ran, of
        whomever, in [0, 1], null where the driver does not tell; and ``system/gpu_memory_mb``,
        megabytes that torch's allocator holds, for all agents of the process together.
    """
    try:
        busy = torch.cuda.utilization(device) / 100
    except Exception:  # no library of the driver, or one of a dozen errors of its own
        busy = None
    held = torch.cuda.memory_reserved(device)
    return {"system/gpu_busy": busy, "system/gpu_memory_mb": held / 1e6}
