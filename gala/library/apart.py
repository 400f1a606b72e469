"""Agents that a framework would synchronise: hidden from it, refused, or told.

Accelerate, transformers and others take every launch of torchrun for data-parallel training, and
average gradients at every step: agents would never drift apart, and wait for one another.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch.distributed as dist
from torch import Tensor, nn

from gala.errors import UserError

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

_hidden: dict[str, str] = {}


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
    _hidden.update(hidden)
    try:
        yield
    finally:
        for name in LAUNCHED:
            os.environ.pop(name, None)
        for name in hidden:
            os.environ[name] = _hidden.pop(name)


def require_seen() -> None:
    """Refuse to begin where :func:`alone` hides the other agents: it would exchange nothing.

    Raises:
        UserError: saying what to do.
    """
    if _hidden:
        rule = "begins within gala.alone(), which hides the other agents"
        raise UserError(rule, field="gala.gossip", hint="only make the framework's objects there")


def require_apart(name: str, part: Any) -> None:
    """Refuse a module or an optimizer whose processes do each step together.

    Raises:
        ValueError: saying by what, and what to do.
    """
    for each in part.modules() if isinstance(part, nn.Module) else [part]:
        if (processes := _processes(each)) > 1:
            raise ValueError(
                f"{name}: {type(each).__name__} keeps its {processes} processes alike, which "
                "leaves nothing to gossip; make it, or what wraps it, within gala.alone()"
            )


def require_whole(name: str, tensor: Tensor) -> None:
    """Refuse a tensor of which each process has a part, as fully_shard makes them.

    Raises:
        ValueError: saying so.
    """
    if hasattr(tensor, "device_mesh"):
        kind = type(tensor).__name__
        raise ValueError(f"{name}: is sharded ({kind}); an agent that gossips has all of it")


def synchronous_group() -> int:
    """Processes of torch.distributed's default group; 1 where there is none."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def _processes(part: Any) -> int:
    """How many do each step of ``part`` together, as what synchronises names their group.

    DistributedDataParallel, FullyShardedDataParallel, ZeroRedundancyOptimizer, SyncBatchNorm.
    """
    group = getattr(part, "process_group", None)
    if group is None and isinstance(part, nn.SyncBatchNorm):
        return synchronous_group()
    return dist.get_world_size(group) if isinstance(group, dist.ProcessGroup) else 1
