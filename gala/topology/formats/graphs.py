"""Graphs of nodes and edges with attributes, whatever the format that held them.

An undirected graph is heard both ways. Agents are the nodes: whole numbers in their order, other
names in the order of the file. An edge may carry ``weight`` (what its target gives to its source)
and ``round``; the graph may carry ``name``, ``weights``, ``rounds``. Where the graph says
``weights: uniform`` (or metropolis, lazy, push-sum), weights of edges mean something else and are
ignored.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from numbers import Real
from typing import TYPE_CHECKING, Any, get_args

from gala.errors import did_you_mean
from gala.topology import complaints
from gala.topology.description import Description, EdgeList, Place
from gala.topology.limits import MAX_ROUNDS
from gala.topology.weights import Weights, WeightsKind

if TYPE_CHECKING:
    import networkx as nx

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


def describe_graph(raw: RawGraph, name: str) -> Description:
    """What the graph says; it is called ``name`` unless it names itself.

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
    own_name = raw.attributes.get("name")
    return Description(
        name=str(own_name) if own_name else name,
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


def of_networkx(graph: nx.Graph[Any], place: Place) -> RawGraph:
    """A graph of networkx, of any of its four classes."""
    return RawGraph(
        place=place,
        directed=graph.is_directed(),
        nodes=[label_of(node) for node in graph],
        edges=[(label_of(s), label_of(t), data) for s, t, data in graph.edges(data=True)],
        attributes=graph.graph,
    )


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
    if isinstance(value, bool) or not isinstance(value, Real):
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
