"""From documents to a checked configuration: every mistake names file, line, field and rule."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from gala.config.tree import Config, adapter_of
from gala.errors import UserError, did_you_mean
from gala.files.yaml import Document


def from_document(
    kind: type[Config], document: Document, overrides: Sequence[tuple[str, Any]] = ()
) -> Any:
    """The configuration of ``document`` with ``(dotted name, value)`` options laid over it.

    Args:
        kind: the tree, see :func:`gala.config.tree.with_sections`.
        document: an experiment file.
        overrides: options of the command line.

    Raises:
        UserError: an unknown name (with the nearest one) or a value that breaks its field's rule.
    """
    data = document.data if document.data is not None else {}
    if not isinstance(data, dict):
        raise document.error("must be a mapping of fields")
    _refuse_unknown(kind, data, (), document)
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
        first = error.errors(include_url=False)[0]
        key = tuple(part for part in first["loc"] if isinstance(part, int) or part.isidentifier())
        while key and not _names_field(kind, key):
            key = key[:-1]
        message = (
            first["msg"]
            .removeprefix("Input ")
            .removeprefix("Value error, ")
            .replace("should be", "must be")
        )
        shown = f"{message}, got {first['input']!r}"
        dotted = ".".join(map(str, key))
        if any(dotted == name for name, _ in overrides):
            raise UserError(shown, field="--" + dotted.replace("_", "-")) from None
        raise document.error(shown, *key) from None


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


def _refuse_unknown(
    root: type[Any], data: dict[Any, Any], key: tuple[str, ...], document: Document
) -> None:
    section = _section(root, key)
    assert section is not None
    names = [each.name for each in dataclasses.fields(section)]
    for name, value in data.items():
        if name not in names:
            hint = did_you_mean(str(name), names)
            raise document.error("unknown field", *key, str(name), hint=hint)
        if _section(root, (*key, name)) is not None:
            if value is None:
                data[name] = {}
            elif isinstance(value, dict):
                _refuse_unknown(root, value, (*key, name), document)
            else:
                raise document.error(f"must be a mapping of fields, got {value!r}", *key, name)
