"""GraphML, read with line numbers and without what XML allows and a graph does not need."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.parsers import expat

from gala.errors import UserError
from gala.topology import complaints
from gala.topology.description import Key, Place
from gala.topology.network_formats import RawGraph, label_of

EXAMPLE = "write it with networkx.write_graphml"
CASTS = {"double": float, "float": float, "int": int, "long": int}


def read_graphml(text: str, path: Path) -> RawGraph:
    """The first graph of a GraphML file.

    Raises:
        UserError: it is not well-formed, declares entities, or holds no graph.
    """
    reader = _Reader(path)
    try:
        reader.parser.Parse(text.encode(), True)
    except expat.ExpatError as error:
        rule = f"malformed XML: {expat.ErrorString(error.code)}"
        raise Place(file=path).error(rule, line=error.lineno, hint=EXAMPLE) from None
    if reader.graph is None:
        raise Place(file=path).error("holds no <graph>", hint=EXAMPLE)
    return reader.graph


class _Reader:
    """Collects nodes, edges and data while expat walks through the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.graph: RawGraph | None = None
        self.parser = expat.ParserCreate(namespace_separator=" ")
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text
        self.parser.StartDoctypeDeclHandler = self._doctype
        self._lines: list[int] = []
        self._keys: dict[str, tuple[str, str, str]] = {}
        self._defaults: dict[str, str] = {}
        self._inside: dict[str, Any] | None = None
        self._key: str | None = None
        self._default: str | None = None
        self._characters = ""

    def _error(self, rule: str, hint: str) -> UserError:
        place = Place(file=self.path)
        return place.error(rule, line=self.parser.CurrentLineNumber, hint=hint)

    def _doctype(self, *_: object) -> None:
        raise self._error("a DOCTYPE is not allowed", "remove it and its entities")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        name = tag.rsplit(" ", 1)[-1]
        self._characters = ""
        if name == "key":
            kind = attributes.get("attr.type", "string")
            self._default = attributes.get("id", "")
            self._keys[self._default] = (
                attributes.get("for", "all"),
                attributes.get("attr.name", ""),
                kind,
            )
        elif name == "graph":
            if self.graph is not None:
                raise self._error("holds more than one graph", "keep one graph per file")
            directed = attributes.get("edgedefault", "directed") == "directed"
            self.graph = RawGraph(place=Place(file=self.path, line=self._line), directed=directed)
            self._inside = self.graph.attributes
        elif name == "node" and self.graph is not None:
            if "id" not in attributes:
                raise self._error("a node needs an id", '<node id="0"/>')
            self.graph.nodes.append(label_of(attributes["id"]))
            self._inside = {}
        elif name == "edge" and self.graph is not None:
            if not {"source", "target"} <= attributes.keys():
                raise self._error(
                    "an edge needs source and target", '<edge source="0" target="1"/>'
                )
            self._inside = self._edge_defaults()
            source, target = label_of(attributes["source"]), label_of(attributes["target"])
            self.graph.edges.append((source, target, self._inside))
            self._lines.append(self.parser.CurrentLineNumber)
        elif name == "data":
            self._key = attributes.get("key", "")

    def _end(self, tag: str) -> None:
        name = tag.rsplit(" ", 1)[-1]
        if name == "data" and self._inside is not None and self._key in self._keys:
            _, label, _ = self._keys[self._key]
            self._inside[label] = self._value(self._key, self._characters)
        elif name == "default" and self._default is not None:
            self._defaults[self._default] = self._characters
        elif name in ("node", "edge") and self.graph is not None:
            self._inside = self.graph.attributes

    def _text(self, characters: str) -> None:
        self._characters += characters

    def _value(self, key: str, text: str) -> Any:
        _, label, kind = self._keys[key]
        try:
            return CASTS.get(kind, str)(text.strip())
        except ValueError:
            rule = f"{label} is {complaints.short(text.strip())}, expected a number"
            raise self._error(rule, f"{label}: 1") from None

    def _edge_defaults(self) -> dict[str, Any]:
        return {
            self._keys[key][1]: self._value(key, text)
            for key, text in self._defaults.items()
            if self._keys[key][0] in ("edge", "all")
        }

    def _line(self, key: Key) -> int | None:
        entry = key[1] if len(key) > 1 else 0
        found = isinstance(entry, int) and key[:1] == ("edges",) and entry < len(self._lines)
        return self._lines[int(entry)] if found else None
