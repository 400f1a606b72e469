"""The command line: ``--a2c.lr 7e-4`` is ``a2c: {lr: 7e-4}`` of an experiment file.

This is the only module that knows the library behind ``--help`` (tyro).
"""

from __future__ import annotations

import argparse
import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from gala.config.fields import FreeForm
from gala.config.tree import Config
from gala.config.values import of_option
from gala.errors import UserError, did_you_mean
from gala.files.switches import TRUTHS


def parse_options(
    kind: type[Config],
    arguments: Sequence[str],
    also: Mapping[str, Any] = types.MappingProxyType({}),
    *,
    strict: bool = True,
) -> tuple[list[str], list[tuple[str, Any]]]:
    """Split a command line into positional arguments and ``(dotted name, value)`` options.

    Options are ``--section.field value`` or ``--section.field=value``; the type of the field says
    how a value is read, see :mod:`gala.config.values`: text literally, and ``1e6``, ``null``,
    ``true`` and ``[32, 64, 32]`` as in a file. ``--section.field`` and ``--section.no-field``
    switch a boolean. A field that is a mapping takes any name below its own:
    ``--env.kwargs.size 5``.

    Args:
        kind: the tree of the configuration.
        arguments: the command line without the program.
        also: names (with underscores) and types of options that are not part of the configuration.
        strict: refuse unknown options; else they are taken to have a value and left out, as a
            first look at a command line does that does not know yet which sections there are.

    Raises:
        UserError: an unknown option (with the nearest one) or a missing value.
    """
    positional: list[str] = []
    options: list[tuple[str, Any]] = []
    known = dict(_leaves(kind)) | dict(also)
    mappings = tuple(f"{name}." for name, each in known.items() if each == FreeForm)
    rest = list(arguments)
    while rest:
        token = rest.pop(0)
        if not token.startswith("--") or token == "--":
            positional.append(token)
            continue
        flag, has_value, text = token[2:].partition("=")
        name = flag.replace("-", "_")
        if name not in known and not has_value:
            head, dot, leaf = name.rpartition(".")
            if leaf.startswith("no_") and known.get(head + dot + leaf[3:]) is bool:
                options.append((head + dot + leaf[3:], False))
                continue
        if name not in known and strict and not name.startswith(mappings):
            names = ["--" + each.replace("_", "-") for each in known]
            hint = did_you_mean(f"--{flag}", names)
            raise UserError("unknown option", field=f"--{flag}", hint=hint)
        if not has_value:
            if known.get(name) is bool and (not rest or rest[0].lower() not in TRUTHS):
                options.append((name, True))
                continue
            if not rest:
                raise UserError("needs a value", field=f"--{flag}")
            text = rest.pop(0)
        if name in known or strict:
            options.append((name, of_option(known.get(name, Any), text, flag)))
    return positional, options


def print_help(kind: type[Config], program: str, launch: Mapping[str, str]) -> None:
    """Print every option with its default and meaning.

    Args:
        kind: the tree of the configuration.
        program: its name.
        launch: further options as they are typed, without their hyphens, and what each does.
    """
    import tyro

    registry = tyro.constructors.ConstructorRegistry()

    @registry.primitive_rule
    def mapping(info: Any) -> Any:  # an empty one, else, is not shown
        if typing.get_origin(info.type) is not dict:
            return None
        return tyro.constructors.PrimitiveConstructorSpec(
            nargs=1,
            metavar="MAPPING",
            instance_from_str=lambda words: words[0],
            is_instance=lambda value: isinstance(value, dict),
            str_from_instance=lambda value: [str(value)],
        )

    width = max(map(len, launch))
    rows = [f"  --{form:{width}}  {text}" for form, text in launch.items()]
    usage = "\n".join([_USAGE, "", "Of the launch:", *rows])
    try:
        tyro.cli(kind, prog=program, args=["--help"], description=usage, registry=registry)
    except SystemExit:
        return


_USAGE = (
    "Train gossiping actor-learners. The first argument is an experiment file "
    "(experiments/pong.yaml) or the name of a shipped one (pong)."
)


def _leaves(cls: type[Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Dotted name and type of every option below a dataclass."""
    hints = typing.get_type_hints(cls, include_extras=True)
    found: list[tuple[str, Any]] = []
    for each in dataclasses.fields(cls):
        kind = hints[each.name]
        if dataclasses.is_dataclass(kind):
            found += _leaves(typing.cast("type[Any]", kind), f"{prefix}{each.name}.")
        else:
            found.append((prefix + each.name, kind))
    return found


def option_names(kind: type[Config]) -> list[str]:
    """Every option of the command line, as typed (``--a2c.lr``)."""
    return ["--" + name.replace("_", "-") for name, _ in _leaves(kind)]


def add_options(
    parser: argparse.ArgumentParser, kind: type[Config], also: Mapping[str, Any]
) -> None:
    """Add every option that :func:`parse_options` knows, with the values it has few of."""
    known = {**also, **dict(_leaves(kind))}
    for name, each in known.items():
        flag, values = "--" + name.replace("_", "-"), _values_of(each)
        parser.add_argument(flag, choices=values)
        if each is bool:
            head, dot, leaf = flag[2:].rpartition(".")
            parser.add_argument(f"--{head}{dot}no-{leaf}", action="store_true")


def _values_of(kind: Any) -> list[str] | None:
    """The words that a field takes; None where there are no few."""
    if kind is bool:
        return ["true", "false"]
    if typing.get_origin(kind) is typing.Literal:
        return [str(each) for each in typing.get_args(kind)]
    return None
