"""Environment variables that workers need before their libraries load."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Mapping, MutableMapping
from urllib.parse import urlparse

from gala.errors import UserError

MALLOC_KEEP_BYTES, MALLOC_KEEP_AT_LEAST = 256 * 2**20, 32 * 2**20
"""Freed blocks below this size stay with the process: the page faults of freshly mapped tensors
cost float32 inference up to 30 %. Old releases of glibc refuse more than the second."""

MALLOC_VARIABLES = {"MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"}
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3

SPINS = 5_000
"""Rounds: microseconds, more than between two layers, far less than a step of an environment."""

EXIT_NOTE_VARIABLE = "GALA_EXIT_NOTE"
"""A file in which workers of ``gala train`` leave an exit code that is no crash: 2 or 3."""

STORE_VARIABLE = "GALA_STORE"
"""Store of agents that were started one by one: ``tcp://host:port`` or ``file:///folder``."""


def check_store_address(address: str) -> None:
    """Refuse what is no address of a store.

    Raises:
        UserError: with an example of one.
    """
    url = urlparse(address)
    try:
        tcp = url.scheme == "tcp" and bool(url.hostname) and bool(url.port)
    except ValueError:  # a port that is no number
        tcp = False
    if not tcp and not (url.scheme == "file" and url.path and not url.netloc):
        raise UserError(
            f"{address!r} is no store",
            field="--store",
            hint="tcp://host:29400, or file:///folder/file on a disk that all hosts share",
        )


def rank_from_environment() -> tuple[int, int]:
    """(rank, processes) as torchrun set them; (0, 1) without torchrun."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def share_cores(environment: MutableMapping[str, str]) -> None:
    """Idle OpenMP threads wait a moment for the next layer, then sleep.

    If they went on spinning, they would steal the cores that environments need. Read when torch
    loads; who has chosen a policy keeps it.
    """
    if "OMP_WAIT_POLICY" not in environment:
        environment["OMP_WAIT_POLICY"] = "PASSIVE"
        environment.setdefault("GOMP_SPINCOUNT", str(SPINS))


def keep_freed_memory(environment: Mapping[str, str]) -> bool:
    """Let malloc keep what is freed for the next update instead of returning it to the kernel.

    A call and no variables, which would have to be there before the process.

    Returns:
        Whether it does now: not where somebody has chosen (``MALLOC_...`` in ``environment``), nor
        where the C library is not glibc.
    """
    if sys.platform != "linux" or MALLOC_VARIABLES & environment.keys():
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    sizes = (MALLOC_KEEP_BYTES, MALLOC_KEEP_AT_LEAST)
    keeps = any(mallopt(_M_MMAP_THRESHOLD, size) for size in sizes)
    return keeps and bool(mallopt(_M_TRIM_THRESHOLD, MALLOC_KEEP_BYTES))


def worker_environment(agents: int, base: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of ``agents`` workers on this host; what the user set stays as it is.

    - ``OMP_NUM_THREADS``: a fair share of the cores (torchrun would say 1 and warn);
    - see :func:`share_cores`.
    """
    environment = dict(os.environ if base is None else base)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    environment.setdefault("OMP_NUM_THREADS", str(max(1, (cores or 1) // agents)))
    share_cores(environment)
    return environment


def restarted_by_torchrun() -> bool:
    """Whether torchrun has started all workers anew (``--max-restarts``)."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0
