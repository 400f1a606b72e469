"""Edge lists and adjacency lists, as networkx writes them.

They do not say whether they are directed. networkx writes each edge of an undirected graph once,
from the earlier node to the later, so that such a file has no directed circle, whereas a directed
topology needs one: a list without a circle is heard both ways, with a note that says so. A comment
``# directed`` or ``# undirected`` settles it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gala.topology import complaints
from gala.topology.description import Key, Place
from gala.topology.formats.graphs import Label, RawGraph, label_of


def read_edge_list(text: str, path: Path) -> RawGraph:
    """``source target``, and a weight or a mapping of attributes if there is one, per line."""
    place, lines = Place(file=path), []
    raw = RawGraph(place=place, directed=False)
    for line, words in _words(text):
        if len(words) < 2:
            rule = "an edge is: source target [weight]"
            raise place.error(rule, line=line, hint="for example 0 1")
        raw.edges.append((label_of(words[0]), label_of(words[1]), _data(words[2:], place, line)))
        lines.append(line)
    return _settle(raw, text, lines)


def read_adjacency_list(text: str, path: Path) -> RawGraph:
    """``node neighbour neighbour ...`` per line; the first publishes, the others average.

    networkx's multiline adjacency lists, with ``node count`` and then ``count`` lines of
    ``neighbour {attributes}``, are known by these attributes.
    """
    place, lines = Place(file=path), []
    raw = RawGraph(place=place, directed=False)
    listed = list(_words(text))
    multiline = any(words[-1].startswith("{") for _, words in listed)
    missing = 0  # neighbours of the last node that are still to come
    for line, words in listed:
        if missing:
            raw.edges.append((raw.nodes[-1], label_of(words[0]), _data(words[1:], place, line)))
            lines.append(line)
            missing -= 1
            continue
        raw.nodes.append(label_of(words[0]))
        if multiline:
            missing = int(words[1]) if len(words) == 2 and words[1].isdecimal() else -1
            if not 0 <= missing <= len(listed):
                rule = "a node of a multiline adjacency list is: node count"
                raise place.error(rule, line=line, hint="write it with networkx.write_adjlist")
            continue
        for word in words[1:]:
            raw.edges.append((raw.nodes[-1], label_of(word), {}))
            lines.append(line)
    return _settle(raw, text, lines)


def _settle(raw: RawGraph, text: str, lines: list[int]) -> RawGraph:
    """Read the comments of a list, and whether it is directed."""
    if not raw.edges and not raw.nodes:
        raise raw.place.error("is empty", hint="for example: 0 1")
    seen = dict.fromkeys(raw.nodes) | dict.fromkeys(n for s, t, _ in raw.edges for n in (s, t))
    raw.nodes = list(seen)
    raw.ignore = "a comment line '# weights uniform'"
    where: dict[Key, int] = {}
    said = set()
    for number, line in enumerate(text.splitlines(), start=1):
        words = line[1:].split(maxsplit=1) if line.startswith("#") else []
        if len(words) == 1:
            said.add(words[0].lower())
        if len(words) == 2 and words[0].lower() in ("rounds", "discount", "weights", "name"):
            word, value = words[0].lower(), words[1].strip()
            where["graph", word] = number
            raw.attributes[word] = {"rounds": label_of, "discount": _float}.get(word, str)(value)

    def line_of(key: Key) -> int | None:
        if len(key) > 1 and isinstance(key[1], int):
            return lines[key[1]]
        return lines[0] if key == ("edges",) and lines else where.get(key[:2])

    raw.place = Place(file=raw.place.file, line=line_of)
    raw.directed = "directed" in said or ("undirected" not in said and _has_circle(raw))
    if not raw.directed and "undirected" not in said and len(raw.nodes) > 1:
        raw.notes = (
            "the edges hold no directed circle, as when networkx writes an undirected graph: they "
            "are heard both ways; a comment line '# directed' or '# undirected' settles it",
        )
    return raw


def _has_circle(raw: RawGraph) -> bool:
    after: dict[Label, list[Label]] = {node: [] for node in raw.nodes}
    incoming = dict.fromkeys(raw.nodes, 0)
    for source, target, _ in raw.edges:
        after[source].append(target)
        incoming[target] += 1
    free = [node for node, count in incoming.items() if count == 0]
    gone = 0
    while free:
        node = free.pop()
        gone += 1
        for target in after[node]:
            incoming[target] -= 1
            if incoming[target] == 0:
                free.append(target)
    return gone < len(raw.nodes)


WORD = re.compile(r"\{.*\}|\([^()]*\)|\S+")
"""A word of a list: attributes, a tuple as networkx names the nodes of grids, or a plain word."""


def _words(text: str) -> Iterable[tuple[int, list[str]]]:
    for number, line in enumerate(text.splitlines(), start=1):
        plain = line.split("#", 1)[0]
        words = WORD.findall(plain) if "{" in plain or "(" in plain else plain.split()
        if words:
            yield number, words


def _data(words: list[str], place: Place, line: int) -> dict[str, Any]:
    if not words:
        return {}
    text = " ".join(words)
    weight = _float(text)
    if not isinstance(weight, str):
        return {"weight": weight}
    try:
        # networkx writes nan and inf as names, which are no Python; 1e999 is infinite
        value = ast.literal_eval(re.sub(r"\b(nan|inf)\b", "1e999", text))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        value = None
    if isinstance(value, dict):
        return value
    raise place.error(
        f"{complaints.short(text)} is neither a weight nor a mapping",
        line=line,
        hint="for example 0 1 0.5; names with spaces need .json or .graphml",
    )


def _float(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
