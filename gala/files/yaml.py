"""YAML files that come from people: parsed as data, with the line of every field.

Used for experiment and topology files. Refuses what no hand-written file needs (aliases that
multiply, deep nesting, megabytes of text) while it reads, so that a file from elsewhere cannot
exhaust memory or patience.

Numbers are decimal (``10``, ``1_000``, ``1e-4``), truth is ``true`` and ``false``, nothing is
``null`` or ``~``; everything else is text. YAML 1.1 made numbers of ``017`` and ``1:30``, truth of
``on`` and dates of ``2020-01-01``.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from gala.errors import UserError
from gala.files.bounded import read_bounded
from gala.files.numbers import FLOAT, WHOLE

try:  # ten times as fast, where PyYAML was built with it
    from yaml import CSafeLoader as _SafeLoader
except ImportError:
    from yaml import SafeLoader as _SafeLoader  # type: ignore[assignment]

MAX_BYTES = 16 * 2**20
MAX_DEPTH = 32

TEXT_TAG = "tag:yaml.org,2002:str"

Key = tuple[str | int, ...]


class _Loader(_SafeLoader):
    """Safe loader that reads as number, truth or nothing only what people mean so."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}


class _Dumper(yaml.SafeDumper):
    """Safe dumper that quotes text which any loader would read as something else."""


for _tag, _pattern, _first in (
    ("int", WHOLE, "-+0123456789"),
    ("float", FLOAT, "-+0123456789."),
    ("bool", re.compile("^(?:true|True|TRUE|false|False|FALSE)$"), "tTfF"),
    ("null", re.compile("^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
):
    for _cls in (_Loader, _Dumper):
        _cls.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _pattern, list(_first))


@dataclass(frozen=True, kw_only=True)
class Document:
    """A parsed YAML file.

    Attributes:
        path: the file it came from, for messages.
        data: plain Python data (dict, list, str, int, float, bool, None).
        lines: 1-based line of every key and item, by its path, e.g. ``("edges", 3, "weight")``.
        written: what stands in the file for a number, truth or nothing, by its path.
    """

    path: Path
    data: Any
    lines: dict[Key, int]
    written: dict[Key, str] = field(default_factory=dict)

    def line(self, *key: str | int) -> int | None:
        """Line of ``key``, or of its nearest enclosing field, or None."""
        while key:
            if key in self.lines:
                return self.lines[key]
            key = key[:-1]
        return self.lines.get(())

    def error(self, rule: str, *key: str | int, hint: str | None = None) -> UserError:
        """A :class:`UserError` that points at the field ``key`` of this file."""
        field = ".".join(str(part) for part in key) or None
        return UserError(rule, file=self.path, line=self.line(*key), field=field, hint=hint)


def load_yaml(path: str | Path) -> Document:
    """Read one YAML document.

    Raises:
        UserError: the file is missing, unreadable, too large, empty, not UTF-8, not YAML, holds a
            duplicate key or an alias.
    """
    path = Path(path)
    if path.is_dir():
        raise UserError("is a folder, expected a YAML file", file=path)
    try:
        text = read_bounded(path, MAX_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        rule = f"is not UTF-8 text (byte {error.start})"
        raise UserError(rule, file=path, hint="save it as UTF-8") from None
    return parse_yaml(text, path)


def dump_yaml(data: Any) -> str:
    """Plain data as text from which :func:`parse_yaml` makes the same."""
    text: str = yaml.dump(data, Dumper=_Dumper, sort_keys=False)
    return text


def parse_yaml(text: str, path: str | Path) -> Document:
    """Parse YAML ``text``; ``path`` names it in messages. Raises as :func:`load_yaml`."""
    path = Path(path)
    try:
        _check_events(text, path)
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            raise UserError("is empty", file=path, hint="a comment is no field")
        lines: dict[Key, int] = {}
        written: dict[Key, str] = {}
        _walk(node, (), lines, written, path)
        data = loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        rows = text.split("\n")
        line = min(mark.line + 1, len(rows)) if mark is not None else None
        hint = "check brackets, colons and indentation up to this line"
        if line and "\t" in rows[line - 1]:
            hint = "indent with spaces instead of tabs"
        elif "tag" in str(error.problem):
            hint = "remove the tag: values are plain text and numbers"
        rule = f"malformed YAML: {error.problem}"
        raise UserError(rule, file=path, line=line, hint=hint) from None
    except yaml.YAMLError as error:
        hint = "remove the control character"
        raise UserError(f"malformed YAML: {error}", file=path, hint=hint) from None
    except ValueError as error:
        rule = f"malformed YAML: {str(error).split(';')[0]}"
        raise UserError(rule, file=path, hint="correct the number, or quote it") from None
    return Document(path=path, data=data, lines=lines, written=written)


def _check_events(text: str, path: Path) -> None:
    """Refuse aliases and deep nesting where they appear, before anything is made of them."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        line = event.start_mark.line + 1 if event.start_mark else None
        if isinstance(event, yaml.AliasEvent):
            raise UserError(
                "aliases (*name) are not allowed",
                file=path,
                line=line,
                hint="write the value out where it is used",
            )
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise UserError(
                f"malformed YAML: nested too deeply, the limit is {MAX_DEPTH} levels",
                file=path,
                line=line,
                hint="close the brackets that are open",
            )


def _walk(
    node: yaml.Node, key: Key, lines: dict[Key, int], written: dict[Key, str], path: Path
) -> None:
    lines.setdefault(key, node.start_mark.line + 1)
    if isinstance(node, yaml.ScalarNode) and node.tag != TEXT_TAG:
        written[key] = node.value
    if isinstance(node, yaml.MappingNode):
        seen: set[Hashable] = set()
        for name, value in node.value:
            part = name.value if isinstance(name, yaml.ScalarNode) else str(name.tag)
            line = name.start_mark.line + 1
            if part in seen:
                raise UserError(
                    "is given twice",
                    file=path,
                    line=line,
                    field=".".join(map(str, (*key, part))),
                    hint="keep one of them",
                )
            seen.add(part)
            lines[(*key, part)] = line
            _walk(value, (*key, part), lines, written, path)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _walk(value, (*key, index), lines, written, path)
