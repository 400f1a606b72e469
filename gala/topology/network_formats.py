"""Graphs as networkx writes them: node-link JSON, GraphML, edge lists and adjacency lists.

An undirected graph is heard both ways. Agents are the nodes: whole numbers in their order, other
names in the order of the file. An edge may carry ``weight`` (what its target gives to its source)
and ``round``; the graph may carry ``name``, ``weights``, ``rounds``. Where the graph says
``weights: uniform`` (or metropolis, lazy, push-sum), weights of edges mean something else and are
ignored.

Edge lists and adjacency lists do not say whether they are directed. networkx writes each edge of an
undirected graph once, from the earlier node to the later, so that such a file has no directed
circle, whereas a directed topology needs one: a list without a circle is heard both ways, with a
note that says so. A comment ``# directed`` or ``# undirected`` settles it.
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from gala.errors import UserError, did_you_mean
from gala.files.yaml import MAX_DEPTH, parse_yaml
from gala.topology import complaints
from gala.topology.description import Description, EdgeList, Key, Place
from gala.topology.limits import MAX_ROUNDS
from gala.topology.weights import Weights, WeightsKind

Label = int | str


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
        ignore: how the file says that its weights are no mixing weights.
        notes: what the user should know about how the file was read.
    """

    place: Place
    directed: bool
    nodes: list[Label] = field(default_factory=list)
    edges: list[tuple[Label, Label, dict[str, Any]]] = field(default_factory=list)
    attributes: dict[str, Any] = field(default_factory=dict)
    edges_key: str = "edges"
    ignore: str = "the graph attribute weights: uniform"
    notes: tuple[str, ...] = ()


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
                rule = f"leads to {complaints.short(label)}, which is no node"
                fix = "add the node; " + did_you_mean(str(label), map(str, raw.nodes))
                raise place.error(rule, raw.edges_key, entry, hint=fix)
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
        rule = f"is a number from 1 to {MAX_ROUNDS}, got {complaints.short(declared)}"
        raise place.error(rule, "graph", "rounds", hint=f"rounds: {_near(declared)}")
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
        hints={
            "weights": f"or, where weights are lengths and the like, {raw.ignore} ignores them",
            "twice": "remove one of them; networkx.Graph(g) keeps one of parallel edges",
            "self": "remove the edge; names with spaces need .json or .graphml",
        },
        notes=raw.notes,
    )


def read_node_link(text: str, path: Path) -> RawGraph:
    """Node-link JSON of networkx, with ``edges`` or ``links``."""
    data = parse_json(text, path)
    place = Place(file=path, line=lines_of_json(text, path))
    example = "write it with networkx.node_link_data"
    if not isinstance(data, dict) or not isinstance(data.get("nodes"), list):
        raise place.error("is not networkx node-link data, with nodes and edges", hint=example)
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
            fix = f'{{"id": {entry}}}'
            raise place.error("a node is a mapping with an id", "nodes", entry, hint=fix)
        raw.nodes.append(label_of(node["id"]))
    for entry, edge in enumerate(data[links]):
        if not isinstance(edge, dict) or not {"source", "target"} <= edge.keys():
            rule, fix = "an edge is a mapping with source and target", '{"source": 0, "target": 1}'
            raise place.error(rule, links, entry, hint=fix)
        raw.edges.append((label_of(edge["source"]), label_of(edge["target"]), edge))
    if len(set(raw.nodes)) < len(raw.nodes):
        first = {node: i for i, node in reversed(list(enumerate(raw.nodes)))}
        twice = next(i for i, node in enumerate(raw.nodes) if first[node] < i)
        rule = f"node {complaints.short(raw.nodes[twice])} is given twice"
        raise place.error(rule, "nodes", twice, hint="remove one of them")
    return raw


def parse_json(text: str, path: Path) -> Any:
    """The data of JSON ``text``.

    Raises:
        UserError: it is malformed or nested deeper than anybody writes.
    """
    place = Place(file=path)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        rule, fix = f"malformed JSON: {error.msg}", "check brackets, commas and quotes"
        raise place.error(rule, line=error.lineno, hint=fix) from None
    except RecursionError:
        depth, line = 0, 1
        for found in re.finditer(r'"(?:[^"\\]|\\.)*"|[\[{\]}\n]', text):
            line += found[0] == "\n"
            depth += (found[0] in "[{") - (found[0] in "]}")
            if depth > MAX_DEPTH:
                break
        rule = f"malformed JSON: nested too deeply, {MAX_DEPTH} levels are more than enough"
        raise place.error(rule, line=line, hint="close the brackets that are open") from None
    except ValueError as error:  # a number of thousands of digits
        rule = f"malformed JSON: {str(error).split(';')[0]}"
        raise place.error(rule, hint="correct the number") from None


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


NUMBER = re.compile("0|[1-9][0-9]{0,17}")


def label_of(value: Any) -> Label:
    """Whole numbers stay numbers, also when written as text; everything else is a name."""
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, int):
        return value
    if isinstance(value, str) and NUMBER.fullmatch(value):
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
        rule, fix = f"unknown weights {complaints.short(kind)}", did_you_mean(str(kind), kinds)
        raise raw.place.error(rule, "graph", "weights", hint=fix)
    discount = raw.attributes.get("discount", 1.0)
    if not isinstance(discount, int | float) or not 0 < discount <= 1:
        rule = f"is a number above 0 and up to 1, got {complaints.short(discount)}"
        raise raw.place.error(rule, "graph", "discount", hint="discount: 0.9")
    return Weights(kind=kind, discount=float(discount))


def _number(value: Any, place: Place, key: str, entry: int) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        rule = f"a weight is a number, got {complaints.short(value)}"
        raise place.error(rule, key, entry, "weight", hint="weight: 0.5")
    try:
        return float(value)
    except OverflowError:  # hundreds of digits
        return math.inf


def _rounds(value: Any, place: Place, key: str, entry: int) -> list[int]:
    if value is None:
        return [-1]
    numbers = value if isinstance(value, list) else [value]
    if not all(type(n) is int and 0 <= n < MAX_ROUNDS for n in numbers):
        rule = f"a round is a number from 0 to {MAX_ROUNDS - 1}, got {complaints.short(value)}"
        raise place.error(rule, key, entry, "round", hint="round: 0")
    return numbers


def _near(rounds: Any) -> int:
    if isinstance(rounds, int | float) and rounds == rounds:
        return round(max(1, min(rounds, MAX_ROUNDS)))
    return 1


PAIR = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}")


def json_as_yaml(text: str) -> str:
    """JSON without what YAML does not allow: tabs between words, characters escaped in halves."""
    return PAIR.sub(lambda pair: json.loads(f'"{pair[0]}"'), text.replace("\t", " "))


def lines_of_json(text: str, path: Path) -> Callable[[Key], int | None]:
    """Finds the line of a field, by reading JSON as YAML."""

    def line(key: Key) -> int | None:
        if len(text) > 2**20:
            return None  # finding it would take longer than the user waits
        try:
            return parse_yaml(json_as_yaml(text), path).line(*key)
        except UserError:
            return None

    return line
