"""What :func:`gala.library.api.gossip` may be given: of another kind it is told in one line."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gala.errors import did_you_mean

TRANSPORTS = ("auto", "shared-memory", "gloo", "tcp")
STARTS = ("rank0", "own")

KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "topology": ((str, Path), "the name of a topology, or a file"),
    "run_dir": ((str, Path, type(None)), "a folder"),
    "secret_file": ((str, Path, type(None)), "a file"),
    "env_id": ((str,), "a name"),
    "options": ((Mapping, type(None)), "a mapping of names to values"),
    "config": ((Mapping, type(None)), "a mapping of names to values, such as vars(args)"),
}
"""Kinds of arguments, and what to call them."""


def require_kinds(**given: Any) -> None:
    """Refuse arguments of :data:`KINDS` that are of another kind.

    Raises:
        TypeError: naming the first.
    """
    for name, value in given.items():
        kinds, wanted = KINDS[name]
        if not isinstance(value, kinds):
            raise TypeError(f"{name}: must be {wanted}, got {type(value).__name__}")


def require_valid(*, every: Any, transport: Any, start: Any, total_steps: Any) -> None:
    """Refuse values that break their rule.

    Raises:
        ValueError: naming the first.
    """
    if isinstance(every, bool) or not isinstance(every, int) or every < 1:
        raise ValueError(f"every: must be a whole number of at least 1, got {every!r}")
    if total_steps is not None and not _counts(total_steps):
        rule = "must be a whole number of at least 1, or None"
        raise ValueError(f"total_steps: {rule}, got {total_steps!r}")
    if transport not in TRANSPORTS:
        hint = did_you_mean(str(transport), TRANSPORTS)
        raise ValueError(f"transport: is none of {', '.join(TRANSPORTS)}: {transport!r} ({hint})")
    if not isinstance(start, Mapping) and start not in STARTS:
        raise ValueError(f"start: must be 'rank0', 'own', or a node.state_dict(), got {start!r}")


def _counts(value: Any) -> bool:
    """Whether it is a whole number, also as 1e6."""
    return isinstance(value, numbers.Real) and float(value) >= 1 and float(value).is_integer()
