"""What was measured on this machine before: one JSON object a line in the user's cache folder."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def default_path() -> Path:
    """``$XDG_CACHE_HOME/gala/bench.jsonl``, or the same below ``~/.cache``."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "gala" / "bench.jsonl"


def machine() -> dict[str, Any]:
    """What must be equal for two measurements to be compared."""
    processor = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next(x.split(":", 1)[1].strip() for x in lines if x.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return {"processor": processor, "cores": cores()}


def cores() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        return os.cpu_count() or 1


def last(path: Path, where: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The newest result of each case on the machine ``where``; damaged lines are passed over."""
    found: dict[str, dict[str, Any]] = {}
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return found
    for line in lines:
        try:
            result = json.loads(line)
            if result["machine"] == where and result["steps_per_second"] > 0:
                found[result["case"]] = result
        except (ValueError, KeyError, TypeError):
            continue
    return found


def add(path: Path, result: Mapping[str, Any]) -> None:
    """Append a result; where that cannot be written, nothing is remembered."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a") as file:
            file.write(json.dumps(result) + "\n")
    except OSError:
        pass
