"""What the command lines of all commands share: the parser, and the types of its options.

``gala train`` takes its options from the configuration instead, see :mod:`gala.config.tree`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NoReturn

from gala.errors import UserError
from gala.files.numbers import number_of

OF_POLICIES = ("distil", "repel")
"""Couplings of agents that hear neighbours' parameters, and never average them."""
HEARING = ("gossip", *OF_POLICIES)
"""Couplings of agents that publish parameters to neighbours, so that the topology matters."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose mistakes are a line, like all others."""

    _wanted: ClassVar[bool] = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse; or hand oneself over to :func:`parser_of`."""
        if Parser._wanted:
            raise _Found(self)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage and exiting."""
        raise UserError(message, hint=f"see {self.prog} --help")


class _Found(BaseException):
    """A parser that was about to parse."""

    def __init__(self, parser: Parser) -> None:
        self.parser = parser


def parser_of(command: Callable[[Sequence[str]], object], words: Sequence[str] = ()) -> Parser:
    """What ``command`` would parse ``words`` with; nothing is parsed and nothing is done."""
    Parser._wanted = True
    try:
        command(words)
    except _Found as found:
        return found.parser
    finally:
        Parser._wanted = False
    raise TypeError(f"{command} parses nothing")


def at_least_one(text: str) -> int:
    """The type of an option that counts something there must be."""
    return _whole(text, 1, f"must be a whole number of at least 1, got {text!r}")


def whole(text: str) -> int:
    """The type of an option that counts from zero."""
    return _whole(text, 0, f"must be a whole number from 0, got {text!r}")


def integer(text: str) -> int:
    """The type of an option that is a whole number, whatever its sign."""
    return _whole(text, -(2**63), f"must be a whole number, got {text!r}")


def _whole(text: str, least: int, rule: str) -> int:
    value = number_of(text)
    if value is None or not least <= value < 2**63 or value != int(value):
        raise argparse.ArgumentTypeError(rule)
    return int(value)


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
    value = number_of(text)
    if value is None or not (abs(value) <= sys.float_info.max and valid(value)):
        raise argparse.ArgumentTypeError(f"must be {rule}, got {text!r}")
    return float(value)
