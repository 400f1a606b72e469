"""Memory that an agent shares with its actors: heartbeats, and slots for unrolls.

It has no name in any file system, so that nothing is left of it when the last process ends that
holds it, however that happens.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from dataclasses import dataclass

import numpy as np
import torch

from gala.errors import UserError
from gala.experience.unroll import Layout, Unroll


def nameless_file(name: str) -> int:
    """Descriptor of an empty file in memory; ``name`` is for people who look at processes."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create(name)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is in the memory of a pool.

    Attributes:
        actors: there is a heartbeat for each of them.
        slots: for unrolls.
        layout: of an unroll.
        envs: of an unroll.
    """

    actors: int
    slots: int
    layout: Layout
    envs: int

    @property
    def heartbeats(self) -> int:
        """Bytes of the heartbeats, whole pages."""
        return -(-8 * self.actors // mmap.PAGESIZE) * mmap.PAGESIZE

    @property
    def slot(self) -> int:
        """Bytes of a slot."""
        return Unroll.size(self.layout, self.envs)

    @property
    def size(self) -> int:
        """Bytes of all."""
        return self.heartbeats + self.slots * self.slot


class Memory:
    """The memory of a pool, mapped.

    Args:
        fd: of a file of its own.
        plan: what is in it.
        create: give the file its size.

    Attributes:
        heartbeats: Int64 words.
        unrolls: of each slot.

    Raises:
        UserError: there is no room, or the file is of another plan.
    """

    def __init__(self, fd: int, plan: Plan, *, create: bool = False) -> None:
        if create:
            try:
                os.posix_fallocate(fd, 0, plan.size)  # fail now, not with SIGBUS at a later write
            except OSError:
                rule = f"no memory for {plan.slots} unrolls of {plan.slot / 2**20:.1f} MiB"
                raise UserError(rule, field="actors.slots", hint="use fewer") from None
        elif os.fstat(fd).st_size != plan.size:
            rule = "is another environment here than in the agent: its unrolls have another size"
            raise UserError(rule, field="env.id")
        self.fd = fd
        held = mmap.mmap(fd, plan.size)
        self.heartbeats = memoryview(held)[: plan.heartbeats].cast("q")
        self.unrolls = []
        for start in range(plan.heartbeats, plan.size, plan.slot):
            bytes_ = torch.from_numpy(np.frombuffer(held, np.uint8, plan.slot, start))
            self.unrolls.append(Unroll(bytes_, plan.layout, plan.envs))

    def close(self) -> None:
        """Close the file; the memory goes with the last reference to it."""
        os.close(self.fd)
