"""Environment variables that workers need before their libraries load."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from urllib.parse import urlparse, urlsplit

from gala.errors import (
    EXIT_ALARM,
    EXIT_BAD_INPUT,
    EXIT_NOT_WRITTEN,
    EXIT_OK,
    UserError,
)
from gala.launch.cores import available_cores

MALLOC_KEEP_BYTES, MALLOC_KEEP_AT_LEAST = 256 * 2**20, 32 * 2**20
"""Freed blocks below this size stay with the process: the page faults of freshly mapped tensors
cost float32 inference up to 30 %. Old releases of glibc refuse more than the second."""

MALLOC_VARIABLES = {"MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"}
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3

SPINS = 5_000
"""Rounds: microseconds, more than between two layers, far less than a step of an environment."""

JOIN = "join://"
"""Before the agents that are asked in place of a store."""

EXIT_NOTES_VARIABLE = "GALA_EXIT_NOTES"
"""A folder in which workers of ``gala train --agents`` leave how they ended: files RANK.CODE."""

NOTED = frozenset(
    {EXIT_OK, EXIT_BAD_INPUT, EXIT_ALARM, EXIT_NOT_WRITTEN}
    | {128 + number for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)}
)
"""Exit codes that are no crash."""

STORE_VARIABLE = "GALA_STORE"
"""Store of agents that were started one by one: ``tcp://host:port`` or ``file:///folder``, or
``join://host:port`` of agents that tell what a store would."""


def note_exit(folder: str | Path, rank: int, code: int) -> None:
    """Note how a worker ended: by the name of an empty file, for which a full disk has room.

    Raises:
        OSError: the file cannot be made.
    """
    (Path(folder) / f"{rank}.{code}").touch()


def noted_exits(folder: str | Path) -> dict[int, int]:
    """The exit codes that were noted, by rank."""
    pairs = (name.partition(".") for name in os.listdir(folder))
    return {int(rank): int(code) for rank, _, code in sorted(pairs)}


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


def check_agents(address: str) -> None:
    """Refuse what is not ``join://HOST:PORT[,HOST:PORT ...]``.

    Raises:
        UserError: with an example.
    """
    try:
        whole = bool(agents_at(address))
    except ValueError:
        whole = False
    if not whole:
        raise UserError(
            f"{address.removeprefix(JOIN)!r} is no address of an agent",
            field="--join",
            hint="host:29500, or several: host0:29500,host1:29500",
        )


def agents_at(address: str) -> list[tuple[str, int]]:
    """Host and port of each agent that ``join://HOST:PORT[,HOST:PORT ...]`` names.

    Raises:
        ValueError: it is no such address.
    """
    found = []
    for each in address.removeprefix(JOIN).split(","):
        url = urlsplit(f"//{each}")
        if not url.hostname or not url.port or url.netloc != each or "@" in each:
            raise ValueError(f"{each!r} is no host and port")
        found.append((url.hostname, url.port))
    return found


def store_host() -> str | None:
    """Host of the store of this launch, or of who stands for it; None where it is a file."""
    address = os.environ.get(STORE_VARIABLE, "")
    url = urlparse(address.partition(",")[0])  # of several agents to join through, the first
    return url.hostname or (None if url.scheme else os.environ.get("MASTER_ADDR"))


def rank_from_environment() -> tuple[int, int]:
    """(rank, processes) as torchrun set them; (0, 1) without torchrun.

    Raises:
        UserError: they are no such numbers.
    """
    processes = _whole(os.environ, "WORLD_SIZE", default=1, least=1)
    return _below(os.environ, "RANK", "WORLD_SIZE", processes, default=0), processes


def check_environment(environment: Mapping[str, str]) -> None:
    """Refuse variables that a launcher or a notebook left behind and that nothing can be made of.

    Raises:
        UserError: naming the first one.
    """
    processes = _whole(environment, "WORLD_SIZE", default=1, least=1)
    _below(environment, "RANK", "WORLD_SIZE", processes, default=0 if processes == 1 else None)
    _whole(environment, "TORCHELASTIC_RESTART_COUNT", default=0)
    if processes > 1:
        local = _whole(environment, "LOCAL_WORLD_SIZE", least=1)
        _below(environment, "LOCAL_RANK", "LOCAL_WORLD_SIZE", local)
        if STORE_VARIABLE not in environment:
            if not environment.get("MASTER_ADDR"):
                raise UserError("is not set, and WORLD_SIZE is", field="MASTER_ADDR", hint=UNSET)
            _whole(environment, "MASTER_PORT", least=1, most=65535)
    check_threads(environment)


def check_threads(environment: Mapping[str, str]) -> None:
    """Refuse numbers of threads that are none: libraries would take all cores instead.

    Raises:
        UserError: naming the variable.
    """
    for name in THREADS_VARIABLES:
        for part in environment.get(name, "1").split(","):  # one number for each level of nesting
            _whole({name: part.strip()}, name, least=1, hint="a number of threads, or unset it")


UNSET = "torchrun sets it; to train without torchrun, unset WORLD_SIZE and RANK"
THREADS_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def _whole(
    environment: Mapping[str, str],
    name: str,
    *,
    default: int | None = None,
    least: int = 0,
    most: int = 2**31,
    hint: str = UNSET,
) -> int:
    """The whole number of a variable; without a default it must be there."""
    text = environment.get(name)
    if text is None and default is not None:
        return default
    if text is None:
        raise UserError("is not set, and WORLD_SIZE is", field=name, hint=hint)
    known = text.isascii() and text.isdigit() and len(text) < 12
    if not known or not least <= int(text) <= most:
        raise UserError(f"must be a whole number from {least}, got {text!r}", field=name, hint=hint)
    return int(text)


def _below(
    environment: Mapping[str, str], name: str, of: str, size: int, default: int | None = None
) -> int:
    rank = _whole(environment, name, default=default)
    if rank >= size:
        raise UserError(f"must be below {of}, which is {size}, got {rank}", field=name, hint=UNSET)
    return rank


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
    environment.setdefault("OMP_NUM_THREADS", str(max(1, available_cores() // agents)))
    share_cores(environment)
    return environment


def restarted_by_torchrun() -> bool:
    """Whether torchrun has started all workers anew (``--max-restarts``)."""
    return _whole(os.environ, "TORCHELASTIC_RESTART_COUNT", default=0) > 0
