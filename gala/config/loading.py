"""From documents to a checked configuration: every mistake names file, line, field and rule."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from gala.config.tree import Config, adapter_of
from gala.config.values import of_document
from gala.errors import UserError, did_you_mean
from gala.files.yaml import Document


def from_document(
    kind: type[Config],
    document: Document,
    overrides: Sequence[tuple[str, Any]] = (),
    unknown: list[str] | None = None,
) -> Any:
    """The configuration of ``document`` with ``(dotted name, value)`` options laid over it.

    Args:
        kind: the tree, see :func:`gala.config.tree.with_sections`.
        document: an experiment file.
        overrides: options of the command line.
        unknown: where names that there are not are noted and passed over; None: they are refused.

    Raises:
        UserError: an unknown name (with the nearest one) or a value that breaks its field's rule.
    """
    data = document.data if document.data is not None else {}
    if not isinstance(data, dict):
        raise document.error("must be a mapping of fields")
    data = _known(kind, data, (), document, unknown)
    data = of_document(kind, dataclasses.replace(document, data=data))
    for name, value in overrides:
        target = data
        *parents, leaf = name.split(".")
        for parent in parents:
            if not isinstance(target.get(parent), dict):
                target[parent] = {}
            target = target[parent]
        target[leaf] = value
    try:
        return adapter_of(kind).validate_python(data)
    except ValidationError as error:
        key, shown = broken(error)
        while key and not _names_field(kind, key):
            key = key[:-1]
        dotted = ".".join(map(str, key))
        if any(dotted == name for name, _ in overrides):
            raise UserError(shown, field="--" + dotted.replace("_", "-")) from None
        raise document.error(shown, *key) from None


def broken(error: ValidationError) -> tuple[tuple[str | int, ...], str]:
    """Where the first value is that breaks its field's rule, and the rule and value in words."""
    first = error.errors(include_url=False)[0]
    key = tuple(part for part in first["loc"] if isinstance(part, int) or part.isidentifier())
    message = (
        first["msg"]
        .removeprefix("Input ")
        .removeprefix("Value error, ")
        .replace("should be", "must be")
    )
    return key, f"{message}, got {first['input']!r}"


def _section(root: type[Any], key: Sequence[str | int]) -> type[Any] | None:
    """The dataclass at ``key``, None for a field of plain type."""
    kind: Any = root
    for part in key:
        hints = typing.get_type_hints(kind) if dataclasses.is_dataclass(kind) else {}
        kind = hints.get(str(part))
    return kind if isinstance(kind, type) and dataclasses.is_dataclass(kind) else None


def _names_field(root: type[Any], key: Sequence[str | int]) -> bool:
    section = _section(root, key[:-1])
    return section is not None and any(each.name == key[-1] for each in dataclasses.fields(section))


def _known(
    root: type[Any],
    data: dict[Any, Any],
    key: tuple[str, ...],
    document: Document,
    unknown: list[str] | None,
) -> dict[Any, Any]:
    """The fields that there are; others are refused, or noted in ``unknown``."""
    section = _section(root, key)
    assert section is not None
    names = [each.name for each in dataclasses.fields(section)]
    known: dict[Any, Any] = {}
    for name, value in data.items():
        if name not in names:
            if unknown is None:
                hint = did_you_mean(str(name), names)
                raise document.error("unknown field", *key, str(name), hint=hint)
            unknown.append(".".join((*key, str(name))))
        elif _section(root, (*key, name)) is None:
            known[name] = value
        elif value is None or isinstance(value, dict):
            known[name] = _known(root, value or {}, (*key, name), document, unknown)
        else:
            raise document.error(f"must be a mapping of fields, got {value!r}", *key, name)
    return known
