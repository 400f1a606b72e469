"""What the command lines of all commands share: the parser, and the types of its options.

``gala train`` takes its options from the configuration instead, see :mod:`gala.config.tree`.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import NoReturn

from gala.errors import UserError


class Parser(argparse.ArgumentParser):
    """An argument parser whose mistakes are a line, like all others."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage and exiting."""
        raise UserError(message, hint=f"see {self.prog} --help")


def at_least_one(text: str) -> int:
    """The type of an option that counts something there must be."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text!r}")
    return int(text)


def whole(text: str) -> int:
    """The type of an option that counts from zero."""
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"must be a whole number from 0, got {text!r}")
    return int(text)


def number(text: str) -> float:
    """The type of an option that is a number, whatever its sign."""
    return _number(text, "a number", lambda value: True)


def positive(text: str) -> float:
    """The type of an option that is a number above 0."""
    return _number(text, "a number above 0", lambda value: value > 0)


def not_negative(text: str) -> float:
    """The type of an option that is a number of at least 0."""
    return _number(text, "a number of at least 0", lambda value: value >= 0)


def probability(text: str) -> float:
    """The type of an option that is a share, all excluded."""
    return _number(text, "a number of at least 0 and below 1", lambda value: 0 <= value < 1)


def _number(text: str, rule: str, valid: Callable[[float], bool]) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and valid(value)):
        raise argparse.ArgumentTypeError(f"must be {rule}, got {text!r}")
    return value
