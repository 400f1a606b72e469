"""What may be tried of an option: ``lr=1e-5..1e-2:log``, ``n_step=5..40``, ``clip=0.1,0.2``.

A range of whole numbers gives whole numbers. One notation serves the command line and the spaces
that stand beside the sections of algorithms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gala.config.tree import Config, section_of
from gala.errors import UserError
from gala.files.numbers import number_of

FIELD = "--parameter"
EXAMPLE = "a2c.lr=1e-5..1e-2:log, or a2c.n_step=5,8,16"


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """An option and what may be tried of it.

    Attributes:
        name: dotted name, with underscores.
        choices: values as typed; empty: a range.
        low: smallest value.
        high: largest value.
        log: whether equal ratios are as likely, not equal differences.
    """

    name: str
    choices: tuple[str, ...] = ()
    low: int | float = 0
    high: int | float = 0
    log: bool = False

    @property
    def ends(self) -> tuple[str, ...]:
        """The values that all others lie between, as typed; or all of them."""
        return self.choices or (str(self.low), str(self.high))

    def option(self, text: str) -> list[str]:
        """Its words of a command line."""
        return [f"--{self.name.replace('_', '-')}", text]

    def suggest(self, trial: Any) -> str:
        """The value of an Optuna trial, as typed."""
        if self.choices:
            return str(trial.suggest_categorical(self.name, self.choices))
        if isinstance(self.low, int) and isinstance(self.high, int):
            return str(trial.suggest_int(self.name, self.low, self.high, log=self.log))
        value = trial.suggest_float(self.name, self.low, self.high, log=self.log)
        return repr(float(f"{value:.4g}"))

    def current(self, config: Config) -> str | int | float | None:
        """What ``config`` has of it, as Optuna knows it; None where that is not to be tried."""
        value: Any = config
        for part in self.name.split("."):
            value = value.get(part) if isinstance(value, Mapping) else getattr(value, part)
        if self.choices:
            return next((each for each in self.choices if _same(each, value)), None)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        return value if self.low <= value <= self.high else None

    def __str__(self) -> str:
        """As it is typed."""
        if self.choices:
            return f"{self.name}={','.join(self.choices)}"
        return f"{self.name}={self.low}..{self.high}{':log' * self.log}"


def parse(text: str) -> Parameter:
    """The parameter that a text means.

    Raises:
        UserError: it is none.
    """
    name, separator, rest = text.partition("=")
    if not separator or not name or not rest:
        raise _mistake(f"must be NAME=LOW..HIGH or NAME=A,B, got {text!r}")
    name = name.removeprefix("--").replace("-", "_")
    span, colon, scale = rest.partition(":")
    if ".." not in span:
        choices = tuple(each.strip() for each in rest.split(","))
        if not all(choices) or len(set(choices)) < max(2, len(choices)):
            raise _mistake(f"{name} needs several different values, got {rest!r}")
        return Parameter(name=name, choices=choices)
    if colon and scale != "log":
        raise UserError(f"{name}: no scale is named {scale!r}", field=FIELD, hint="log")
    low, high = (number_of(each) for each in span.split("..", 1))
    if low is None or high is None or not low < high < float("inf"):
        raise _mistake(f"{name} needs two numbers, the smaller first, got {span!r}")
    if scale and low <= 0:
        raise UserError(f"{name}: on a log scale all is above 0, got {span!r}", field=FIELD)
    if isinstance(low, float) or isinstance(high, float):
        low, high = float(low), float(high)
    return Parameter(name=name, low=low, high=high, log=bool(scale))


def space_of(config: Config, texts: Sequence[str]) -> tuple[Parameter, ...]:
    """What is searched: ``texts``, or what the section of the algorithm states (``search``).

    Raises:
        UserError: a text is no parameter, or names an option twice.
    """
    section = section_of(config.algorithm)
    stated = [f"{section}.{text}" for text in type(config.learning).search]
    found = tuple(parse(text) for text in texts or stated)
    names = [each.name for each in found]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{name} is named twice", field=FIELD)
    return found


def _mistake(rule: str) -> UserError:
    return UserError(rule, field=FIELD, hint=f"for example {EXAMPLE}")


def _same(text: str, value: object) -> bool:
    number = number_of(text)
    if number is not None and isinstance(value, int | float) and not isinstance(value, bool):
        return number == value
    spoken = {True: "true", False: "false", None: "null"}
    told = spoken.get(value) if value is None or isinstance(value, bool) else str(value)
    return text == told
