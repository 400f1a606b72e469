"""What a value means to a field: the type of the field decides, not what the value looks like.

Paths, names and ids are text, taken literally: ``1e3``, ``on``, ``007``. Numbers are decimal, as
people write them: ``1e6``, ``1_000_000``, ``2.5e3`` also where a whole number is wanted; octal and
sexagesimal ones (``010``, ``1:30``) are refused, as one reader takes them for 8 and another for 10.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from gala.errors import UserError
from gala.files.numbers import number_of
from gala.files.switches import TRUTHS
from gala.files.yaml import Document, Key, parse_yaml

NOTHING = ("null", "~")
LISTS = (tuple, list, set, frozenset)
"""What a list may become: the settings of an own algorithm are typed as its author likes."""


class _Misread(ValueError):
    """A value is no number; the text is the rule, then the hint if there is one."""


def of_option(kind: Any, text: str, flag: str) -> Any:
    """What the ``text`` of a command line means for a field.

    Args:
        kind: type of the field; Any: read as a value of a free mapping.
        text: as given.
        flag: the option, for messages.

    Raises:
        UserError: it is no number where one is wanted, or no list.
    """
    members = _members(kind)
    listed = any(_items_of(each) for each in members)
    free = any(each is Any or (typing.get_origin(each) or each) is dict for each in members)
    if (free and text) or (listed and text.lstrip().startswith("[")):
        try:
            document = parse_yaml(text, "option")
        except UserError as error:
            rule = f"cannot read the value {text!r}: {error.rule}"
            raise UserError(rule, field=f"--{flag}") from None
        given, written = document.data, document.written
    else:
        given, written = (None if _is_null(members, text) else text), {}
    try:
        return _typed(kind, given, written, ())
    except _Misread as error:
        raise UserError(error.args[0], field=f"--{flag}", hint=_hint(error)) from None


def of_document(kind: type[Any], document: Document) -> dict[Any, Any]:
    """The fields of a file, whose names have been checked, as what they mean.

    Args:
        kind: the dataclass of its fields.
        document: the file, a mapping.

    Raises:
        UserError: one is no number where one is wanted.
    """
    return _section(kind, document.data, document, ())


def _section(kind: type[Any], data: Any, document: Document, key: Key) -> dict[Any, Any]:
    hints = typing.get_type_hints(kind, include_extras=True)
    read = {}
    for name, value in data.items():
        inner, here = hints[name], (*key, name)
        if dataclasses.is_dataclass(inner):
            read[name] = _section(typing.cast("type[Any]", inner), value, document, here)
            continue
        try:
            read[name] = _typed(inner, value, document.written, here)
        except _Misread as error:
            raise document.error(error.args[0], *here, hint=_hint(error)) from None
    return read


def _typed(kind: Any, value: Any, written: Mapping[Key, str], key: Key) -> Any:
    """``value`` for a field of ``kind``: text as it is written, numbers by the grammar."""
    members = _members(kind)
    items = [item for each in members for item in _items_of(each)]
    if isinstance(value, list):
        for item in items:
            return [_typed(item, one, written, (*key, i)) for i, one in enumerate(value)]
        return value
    wanted = {each for kind in (*members, *items) for each in _members(kind)}
    if value is None and (type(None) in wanted or not written.get(key)):
        return None
    if str in wanted or any(typing.get_origin(each) is Literal for each in wanted):
        return written.get(key, value) if not isinstance(value, dict) else value
    if wanted & {int, float}:
        return _number(value, whole=float not in wanted)
    if bool in wanted and isinstance(value, str):
        return _truth(value)
    return value


def _truth(text: str) -> bool:
    if text.lower() not in TRUTHS:
        raise _Misread(f"must be true or false, got {text!r}")
    return TRUTHS[text.lower()]


def _number(value: Any, *, whole: bool) -> Any:
    if isinstance(value, bool):
        raise _Misread(f"must be a number, got {str(value).lower()}")
    if isinstance(value, str):
        found = number_of(value)
        if found is None:
            bare = value.replace("_", "").lstrip("0oO")
            near = bare if value[:1] == "0" and bare.isdecimal() and bare.isascii() else None
            kind = "valid integer" if whole else "valid number"
            shown = value if len(value) <= 60 else value[:57] + "..."
            raise _Misread(f"must be a {kind}, got {shown!r}", near and f"decimal, such as {near}")
        value = found
    if whole and isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _is_null(members: tuple[Any, ...], text: str) -> bool:
    if type(None) not in members:
        return False
    return text in (NOTHING[:1] if str in members else NOTHING)


def _members(kind: Any) -> tuple[Any, ...]:
    """The types of a union, without what is annotated to them."""
    if typing.get_origin(kind) is Annotated:
        return _members(typing.get_args(kind)[0])
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return tuple(each for part in typing.get_args(kind) for each in _members(part))
    return (kind,)


def _items_of(kind: Any) -> tuple[Any, ...]:
    """The type of the items of a list; nothing for what is none."""
    if (typing.get_origin(kind) or kind) not in LISTS:
        return ()
    return (*typing.get_args(kind), Any)[:1]


def _hint(error: _Misread) -> str | None:
    return error.args[1] if len(error.args) > 1 else None
