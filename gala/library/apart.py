"""Agents that a framework would synchronise: hidden from it, or told.

Accelerate, transformers and others take every launch of torchrun for data-parallel training, and
average gradients at every step: agents would never drift apart, and wait for one another.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

LAUNCHED = (
    "RANK",
    "LOCAL_RANK",
    "WORLD_SIZE",
    "LOCAL_WORLD_SIZE",
    "OMPI_COMM_WORLD_SIZE",
    "PMI_SIZE",
    "MV2_COMM_WORLD_SIZE",
)
"""Variables by which a framework sees that it is one process of several."""


@contextmanager
def alone() -> Iterator[None]:
    """Let what is made within see one process, where the launch has several.

    For frameworks that make one synchronous group of torchrun's processes::

        with gala.alone():
            accelerator = Accelerator()

    Outside of it the launch is as it was, and :func:`gala.gossip` finds its agents. Where each
    agent has a GPU of its own, choose it before, with ``torch.cuda.set_device``.
    """
    hidden = {name: os.environ.pop(name) for name in LAUNCHED if name in os.environ}
    try:
        yield
    finally:
        for name in LAUNCHED:
            os.environ.pop(name, None)
        os.environ |= hidden


def require_apart(name: str, module: nn.Module) -> None:
    """Refuse a module whose processes are kept alike at every step.

    Raises:
        ValueError: saying by what, and what to do.
    """
    for part in module.modules():
        if isinstance(part, DistributedDataParallel):
            processes = dist.get_world_size(part.process_group)
            if processes > 1:
                raise ValueError(
                    f"{name}: DistributedDataParallel keeps its {processes} processes alike, which "
                    "leaves nothing to gossip; make it, or what wraps it, within gala.alone()"
                )


def synchronous_group() -> int:
    """Processes of torch.distributed's default group; 1 where there is none."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
