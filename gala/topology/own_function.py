"""A topology from a function of the user: ``MODULE:CALLABLE``, called with the number of agents.

It returns a networkx graph (undirected: heard both ways), an iterable of edges
``(source, target)`` or ``(source, target, weight)`` (target averages what source publishes), or a
mixing matrix as a numpy array, N x N or rounds x N x N (row i holds the weights agent i gives). It
is held to every rule of a file.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Iterable, Mapping
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gala.files.importing import import_object, shown, users_code
from gala.topology import complaints
from gala.topology.building import build
from gala.topology.description import Description, EdgeList, Place
from gala.topology.formats.graphs import describe_graph, of_networkx
from gala.topology.formats.matrices import describe_array
from gala.topology.topology import Topology

if TYPE_CHECKING:
    import networkx as nx

FIELD = "topology"


def call_topology(spec: str, agents: int | None) -> Topology:
    """The topology that the function ``spec`` returns for ``agents`` agents.

    Raises:
        UserError: there is no such function, it raises, what it returns breaks a rule, or two calls
            return different topologies: agents, who call it each, would not agree.
    """
    function = import_object(spec, field=FIELD)
    place = _place(function)
    if not callable(function):
        rule = (
            f"{spec} is {complaints.short(function)}, expected a function of the number of agents"
        )
        raise place.error(rule, FIELD, hint="def ring(agents: int): return networkx.Graph(...)")
    if agents is None:
        raise place.error("takes any number of agents; which?", hint="give --agents N")
    if agents < 1:
        rule = f"a topology needs at least one agent, got {agents}"
        raise place.error(rule, hint="--agents 1")

    def once() -> Topology:
        with users_code(spec, field=FIELD):
            returned = function(agents)
            if isinstance(returned, Iterable) and not _is_graph(returned, np.ndarray, str, Mapping):
                returned = list(returned)  # of a generator the code runs now
        return build(_describe(returned, spec, agents, place), agents)

    topology = once()
    if once() != topology:
        rule = f"{spec} returns another topology at each call, and every agent calls it"
        raise place.error(rule, FIELD, hint="give its random numbers a seed")
    return topology


def _is_graph(returned: Any, *others: type) -> bool:
    import networkx as nx

    return isinstance(returned, (nx.Graph, *others))  # the class above all four of its graphs


def _describe(returned: Any, spec: str, agents: int, place: Place) -> Description:
    if isinstance(returned, list):
        edges = _edges(returned, place)
        return Description(name=spec, place=place, agents=agents, edges=edges)
    if isinstance(returned, np.ndarray):
        description = describe_array(np.asarray(returned), spec, place)
    elif _is_graph(returned):
        description = describe_graph(of_networkx(_numbered(returned), place), spec)
    else:
        rule = f"{spec} returned {complaints.short(returned)}"
        fix = "return a networkx graph, a list of edges or a mixing matrix"
        raise place.error(rule, FIELD, hint=fix)
    if description.agents != agents:
        rule = f"{spec} was called with {agents} agents and returned {description.agents}"
        raise place.error(rule, FIELD, hint=f"return {agents}")
    return description


def _numbered(graph: nx.Graph[Any]) -> nx.Graph[int]:
    """With agents as nodes: whole numbers in their order, other names in that of the graph."""
    import networkx as nx

    try:
        numbers = {node: operator.index(node) for node in graph}
    except TypeError:
        numbers = {node: agent for agent, node in enumerate(graph)}
    return nx.relabel_nodes(graph, numbers)


def _edges(returned: list[Any], place: Place) -> EdgeList:
    triples: list[tuple[int, int, float | None]] = []
    for index, edge in enumerate(returned):
        try:
            source, target, *rest = edge
            (weight,) = rest or (None,)
            assert weight is None or isinstance(weight, Real)
            ends = operator.index(source), operator.index(target)
            triples.append((*ends, None if weight is None else float(weight)))
        except (TypeError, ValueError, OverflowError, AssertionError):
            rule = "an edge is (source, target) or (source, target, weight), got "
            rule += complaints.short(edge)
            fix = "for example (0, 1); a mixing matrix is a numpy.array"
            raise place.error(rule, "edges", index, hint=fix) from None
    return EdgeList.of(triples)


def _place(function: Any) -> Place:
    """Where the function is defined, as far as Python can tell."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is None:
        return Place()
    file = shown(code.co_filename)
    return Place(file=Path(str(file)), line=lambda key: code.co_firstlineno)
