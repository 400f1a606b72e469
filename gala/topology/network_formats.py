"""Graphs as networkx writes them: node-link JSON, GraphML, edge lists and adjacency lists.

An undirected graph is heard both ways. Agents are the nodes: whole numbers in their order, other
names in the order of the file. An edge may carry ``weight`` (what its target gives to its source)
and ``round``; the graph may carry ``name``, ``weights``, ``rounds``. Where the graph says
``weights: uniform`` (or metropolis, lazy, push-sum), weights of edges mean something else and are
ignored.

Edge lists and adjacency lists do not say whether they are directed. networkx writes each edge of an
undirected graph once, from the earlier node to the later, so that such a file has no directed
circle, whereas a directed topology needs one: a list without a circle is heard both ways. A comment
``# directed`` settles it.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from gala.errors import UserError, did_you_mean
from gala.topology.description import Description, EdgeList, Key, Place
from gala.topology.weights import Weights, WeightsKind
from gala.yaml_file import parse_yaml

Label = int | str

MAX_ROUNDS = 4096


@dataclass(kw_only=True)
class RawGraph:
    """A graph file, read but not understood.

    Attributes:
        place: for messages.
        directed: whether edges are heard one way.
        nodes: labels in the order of the file.
        edges: (source, target, attributes) in the order of the file.
        attributes: of the graph.
        edges_key: field of the edges, for messages.
    """

    place: Place
    directed: bool
    nodes: list[Label] = field(default_factory=list)
    edges: list[tuple[Label, Label, dict[str, Any]]] = field(default_factory=list)
    attributes: dict[str, Any] = field(default_factory=dict)
    edges_key: str = "edges"


def describe_graph(raw: RawGraph, path: Path) -> Description:
    """What the graph says.

    Raises:
        UserError: an edge leads to a node that is not there, or an attribute is of the wrong type.
    """
    place = raw.place
    index = _index(raw.nodes)
    weights = _weights(raw)
    made = weights is not None and weights.kind != "explicit"
    triples: list[tuple[int, int, float | None]] = []
    rounds: list[int] = []
    entries: list[int] = []
    for entry, (source, target, attributes) in enumerate(raw.edges):
        for label in (source, target):
            if label not in index:
                raise place.error(f"leads to {label!r}, which is no node", raw.edges_key, entry)
        weight = None if made else _number(attributes.get("weight"), place, raw.edges_key, entry)
        numbers = _rounds(attributes.get("round"), place, raw.edges_key, entry)
        ways = [(index[source], index[target])]
        if not raw.directed and source != target:
            ways.append((index[target], index[source]))
        for number in numbers:
            for way in ways:
                triples.append((*way, weight))
                rounds.append(number)
                entries.append(entry)
    declared = raw.attributes.get("rounds", 1)
    if not isinstance(declared, int) or not 1 <= declared <= MAX_ROUNDS:
        raise place.error(
            f"is a number from 1 to {MAX_ROUNDS}, got {declared!r}", "graph", "rounds"
        )
    period = max(declared, max(rounds, default=-1) + 1)
    name = raw.attributes.get("name")
    return Description(
        name=str(name) if name else path.stem,
        place=place,
        agents=len(raw.nodes),
        agents_key=None,
        edges=EdgeList.of(triples, round=rounds, entry=entries, rounds=period),
        edges_key=raw.edges_key,
        weights=weights,
    )


def read_node_link(text: str, path: Path) -> RawGraph:
    """Node-link JSON of networkx, with ``edges`` or ``links``."""
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"malformed JSON: {error.msg}", file=path, line=error.lineno) from None
    except RecursionError:
        raise UserError("malformed JSON: nested too deeply", file=path) from None
    place = Place(file=path, line=_lines_of_json(text, path))
    if not isinstance(data, dict) or not isinstance(data.get("nodes"), list):
        raise place.error(
            "is not networkx node-link data, which has nodes and edges",
            hint="write it with networkx.node_link_data",
        )
    links = "edges" if "edges" in data else "links"
    if not isinstance(data.get(links), list):
        raise place.error("is missing", links, hint="node-link data has edges or links")
    raw = RawGraph(
        place=place,
        directed=bool(data.get("directed", False)),
        attributes=data["graph"] if isinstance(data.get("graph"), dict) else {},
        edges_key=links,
    )
    for entry, node in enumerate(data["nodes"]):
        if not isinstance(node, dict) or "id" not in node:
            raise place.error("a node is a mapping with an id", "nodes", entry)
        raw.nodes.append(label_of(node["id"]))
    for entry, edge in enumerate(data[links]):
        if not isinstance(edge, dict) or not {"source", "target"} <= edge.keys():
            raise place.error("an edge is a mapping with source and target", links, entry)
        raw.edges.append((label_of(edge["source"]), label_of(edge["target"]), edge))
    if len(set(raw.nodes)) < len(raw.nodes):
        twice = next(i for i, n in enumerate(raw.nodes) if n in raw.nodes[:i])
        raise place.error(f"node {raw.nodes[twice]!r} is given twice", "nodes", twice)
    return raw


def read_edge_list(text: str, path: Path) -> RawGraph:
    """``source target``, and a weight or a mapping of attributes if there is one, per line."""
    raw, lines = RawGraph(place=Place(file=path), directed=False), []
    for line, words in _words(text):
        if len(words) < 2:
            raise UserError("an edge is: source target [weight]", file=path, line=line)
        raw.edges.append((label_of(words[0]), label_of(words[1]), _data(words[2:], path, line)))
        lines.append(line)
    return _settle(raw, text, path, lines)


def read_adjacency_list(text: str, path: Path) -> RawGraph:
    """``node neighbour neighbour ...`` per line; the first publishes, the others average."""
    raw, lines = RawGraph(place=Place(file=path), directed=False), []
    for line, words in _words(text):
        raw.nodes.append(label_of(words[0]))
        for word in words[1:]:
            raw.edges.append((label_of(words[0]), label_of(word), {}))
            lines.append(line)
    return _settle(raw, text, path, lines)


def _settle(raw: RawGraph, text: str, path: Path, lines: list[int]) -> RawGraph:
    if not raw.edges and not raw.nodes:
        raise UserError("is empty", file=path)
    seen = dict.fromkeys(raw.nodes) | dict.fromkeys(n for s, t, _ in raw.edges for n in (s, t))
    raw.nodes = list(seen)
    comments = [line.strip("# \t").lower() for line in text.splitlines() if line.startswith("#")]
    for comment in comments:
        if comment.startswith("rounds "):
            raw.attributes["rounds"] = label_of(comment.split()[1])
        elif comment.startswith("discount "):
            raw.attributes["discount"] = _data(comment.split()[1:], path, 1).get("weight")
        elif comment.startswith(("weights ", "name ")):
            word, value = comment.split(maxsplit=1)
            raw.attributes[word] = value
    raw.directed = "directed" in comments or _has_circle(raw)

    def line(key: Key) -> int | None:
        return lines[key[1]] if len(key) > 1 and isinstance(key[1], int) else None

    raw.place = Place(file=path, line=line)
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


def _words(text: str) -> Iterable[tuple[int, list[str]]]:
    for number, line in enumerate(text.splitlines(), start=1):
        words = (
            line.split("#", 1)[0].split(maxsplit=2) if "{" in line else line.split("#")[0].split()
        )
        if words:
            yield number, words


def _data(words: list[str], path: Path, line: int) -> dict[str, Any]:
    if not words:
        return {}
    text = " ".join(words)
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise UserError(
            f"{text[:40]!r} is neither a weight nor a mapping", file=path, line=line
        ) from None
    if isinstance(value, dict):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return {"weight": value}
    raise UserError(f"{text[:40]!r} is neither a weight nor a mapping", file=path, line=line)


def label_of(value: Any) -> Label:
    """Whole numbers stay numbers, also when written as text; everything else is a name."""
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, int):
        return value
    if isinstance(value, str) and value.isascii() and value.isdigit() and str(int(value)) == value:
        return int(value)
    return value if isinstance(value, str) else json.dumps(value)


def _index(nodes: list[Label]) -> dict[Label, int]:
    numbers = [node for node in nodes if isinstance(node, int)]
    if len(numbers) == len(nodes):
        return {node: i for i, node in enumerate(sorted(numbers))}
    return {node: i for i, node in enumerate(nodes)}


def _weights(raw: RawGraph) -> Weights | None:
    kind = raw.attributes.get("weights")
    if kind is None:
        return None
    kinds = get_args(WeightsKind)
    if kind not in kinds:
        raise raw.place.error(
            f"unknown weights {kind!r}", "graph", "weights", hint=did_you_mean(str(kind), kinds)
        )
    discount = raw.attributes.get("discount", 1.0)
    if not isinstance(discount, int | float) or not 0 < discount <= 1:
        raise raw.place.error(
            f"is a number above 0 and up to 1, got {discount!r}", "graph", "discount"
        )
    return Weights(kind=kind, discount=float(discount))


def _number(value: Any, place: Place, key: str, entry: int) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise place.error(f"a weight is a number, got {value!r}", key, entry, "weight")
    return float(value)


def _rounds(value: Any, place: Place, key: str, entry: int) -> list[int]:
    if value is None:
        return [-1]
    numbers = value if isinstance(value, list) else [value]
    if not all(type(n) is int and 0 <= n < MAX_ROUNDS for n in numbers):
        raise place.error(
            f"a round is a number from 0 to {MAX_ROUNDS - 1}, got {value!r}", key, entry, "round"
        )
    return numbers


def _lines_of_json(text: str, path: Path) -> Callable[[Key], int | None]:
    def line(key: Key) -> int | None:
        if len(text) > 2**20:
            return None  # finding it would take longer than the user waits
        try:
            return parse_yaml(text, path).line(*key)
        except UserError:
            return None

    return line
