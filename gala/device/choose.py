"""Streams of the device that is there: the only module that imports CUDA's."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch

from gala.device.streams import Direct, Handover, Queued, Stream


def handover_on(device: torch.device) -> Handover | None:
    """Between the streams on ``device``; the CPU needs none."""
    if device.type == "cpu":
        return None
    from gala.device.cuda import CudaHandover

    return CudaHandover(device)


def apart_on(device: torch.device) -> AbstractContextManager[object]:
    """While it is entered, no thread of this process records work for ``device``.

    For calls that wait for the whole device, or let a library reserve memory there: both end the
    recording of anybody.
    """
    if device.type == "cpu":
        return nullcontext()
    from gala.device.cuda import RECORDING

    return RECORDING


def stream_on(device: torch.device) -> Stream:
    """A new stream on ``device``."""
    if device.type == "cpu":
        return Direct()
    from gala.device.cuda import CudaQueue

    return Queued(CudaQueue(device))


def usage_on(device: torch.device) -> Callable[[], dict[str, float | None]]:
    """What is recorded of ``device``: :func:`gala.device.cuda.usage`; of the CPU nothing."""
    if device.type != "cuda":
        return dict
    from gala.device.cuda import usage

    return partial(usage, device)
