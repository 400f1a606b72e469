"""Cores that a process may use, and how many agents share them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")

SLURM_VARIABLE = "SLURM_CPUS_PER_TASK"
"""Cores that Slurm gives each task, whether it binds the task to them or not."""


def available_cores(environment: Mapping[str, str] = os.environ, quota: Path = CPU_QUOTA) -> int:
    """Cores that this process may use: bound to, within its container, and of its Slurm task."""
    limits = [len(bound_cores()), cpu_quota(quota), slurm_cores(environment)]
    return max(1, int(min(each for each in limits if each is not None)))


def bound_cores() -> frozenset[int]:
    """The cores that the kernel lets this process run on."""
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def slurm_cores(environment: Mapping[str, str] = os.environ) -> int | None:
    """Cores of this task, None outside of Slurm."""
    text = environment.get(SLURM_VARIABLE, "")
    return int(text) if text.isascii() and text.isdecimal() and int(text) > 0 else None


def cpu_quota(path: Path) -> float | None:
    """Cores' worth of time that a container may use; None without a limit."""
    try:
        most, _, period = path.read_text().partition(" ")
        return None if most == "max" else int(most) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None
