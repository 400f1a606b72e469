"""Switches: what is true and false on a command line and in a file."""

from __future__ import annotations

from collections.abc import Sequence

TRUTHS = dict.fromkeys(("true", "yes", "on", "1", "y", "t"), True)
TRUTHS |= dict.fromkeys(("false", "no", "off", "0", "n", "f"), False)
"""In letters of either size."""


def switched(arguments: Sequence[str], name: str, default: bool) -> bool:
    """Whether switch ``name`` is on in a command line that nobody has parsed yet; the last counts.

    As :mod:`gala.config.options` reads it, for processes that must not wait for its imports.
    """
    value = default
    for k, argument in enumerate(arguments):
        flag, has_value, text = argument.partition("=")
        if argument == f"--no-{name}":
            value = False
        elif flag == f"--{name}":
            text = text if has_value else next(iter(arguments[k + 1 : k + 2]), "")
            value = TRUTHS.get(text.lower(), True)
    return value
