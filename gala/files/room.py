"""Room: how much memory this host, or the container on it, has left."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gala.errors import UserError

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")


def free_memory(meminfo: Path = MEMINFO, cgroup: Path = CGROUP) -> int | None:
    """Bytes that can be taken without swapping; None where nobody says.

    Args:
        meminfo: of the kernel.
        cgroup: folder of the control group, version 2, which may have a limit of its own.
    """
    found = [_available(meminfo), _below_the_limit(cgroup)]
    known = [free for free in found if free is not None]
    return min(known) if known else None


TOO_LARGE = ("allocate", "out of memory", "calculation overflowed", "array is too big")
"""What torch and numpy say of sizes that no memory holds, in a RuntimeError or a ValueError."""


@contextmanager
def within_memory() -> Iterator[None]:
    """Make what the user has sized: networks, batches, environments.

    Raises:
        UserError: it does not fit.
    """
    try:
        yield
    except (MemoryError, RuntimeError, ValueError, OverflowError) as error:
        plain = isinstance(error, (RuntimeError, ValueError))
        if plain and not any(word in str(error) for word in TOO_LARGE):
            raise
        asked = re.search(r"allocate ([\d.]+ \w+)", str(error))
        free = free_memory()
        told = [f"asked for {asked[1]} at once"] if asked else []
        told += [f"{free / 1e9:.1f} GB are free"] if free is not None else []
        rule = "network, batches or environments are too large for the memory"
        hint = "smaller --network.hidden, --network.memory-size, n-step or --env.num-envs"
        raise UserError(": ".join([rule, ", ".join(told)] if told else [rule]), hint=hint) from None


def _available(meminfo: Path) -> int | None:
    try:
        lines = meminfo.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    words = next((line.split() for line in lines if line.startswith("MemAvailable:")), None)
    return int(words[1]) * 1024 if words else None


def _below_the_limit(cgroup: Path) -> int | None:
    try:
        limit = (cgroup / "memory.max").read_text(encoding="ascii").strip()
        used = int((cgroup / "memory.current").read_text(encoding="ascii"))
        stat = (cgroup / "memory.stat").read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return None
    if limit == "max":
        return None
    # what was read of files is given back when memory is wanted
    cached = sum(int(line.split()[1]) for line in stat if line.startswith("inactive_file "))
    return max(int(limit) - used + cached, 0)
