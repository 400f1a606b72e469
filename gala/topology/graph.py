"""Who hears whom, before anybody gives a weight.

A graph is a list of *layers*. A layer is a set of directed edges that one round can use alone: one
hop length of the exponential graph, one direction of the torus, one dimension of the hypercube, one
matching of any other graph. The schedule decides whether a round uses all layers (``static``), one
after the other (``rotate``), or single neighbours (``one-peer``, ``random``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Edges = NDArray[np.int64]
"""Int64[E, 2]: (source, target); target averages what source publishes."""


def edge_array(edges: Iterable[tuple[int, int]] | NDArray[np.int64]) -> Edges:
    """Int64[E, 2], sorted by target then source, without duplicates and self-edges."""
    array = np.asarray(list(edges) if not isinstance(edges, np.ndarray) else edges, dtype=np.int64)
    array = array.reshape(-1, 2)
    array = array[array[:, 0] != array[:, 1]]
    span = int(array.max(initial=0)) + 1
    keys = np.sort(array[:, 1] * span + array[:, 0])  # one number per edge: many times faster
    keys = keys[np.flatnonzero(np.diff(keys, prepend=-1))]  # np.unique hashes, which is slow here
    return np.stack([keys % span, keys // span], axis=1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Graph:
    """Layers of directed edges between ``agents`` agents.

    Attributes:
        agents: N.
        layers: each Int64[E, 2] of (source, target), as :func:`edge_array` makes them.
        weights: one Float64[E] per layer where the graph prescribes its weights, else None.
        timed: the layers are rounds by nature (one-peer exponential, base-(k+1)); no schedule
            may put them together.
        positions: Float64[N, 2] for drawing, or None for a circle.
    """

    agents: int
    layers: tuple[Edges, ...]
    weights: tuple[NDArray[np.float64], ...] | None = None
    timed: bool = False
    positions: NDArray[np.float64] | None = None

    @cached_property
    def union(self) -> Edges:
        """All edges of all layers, each once."""
        if len(self.layers) == 1:
            return self.layers[0]
        if not self.layers:
            return edge_array([])
        return edge_array(np.concatenate(self.layers))

    @property
    def symmetric(self) -> bool:
        """Everybody hears whoever hears it."""
        return symmetric(self.union)


def symmetric(edges: Edges) -> bool:
    """Whether each edge of ``edges`` is there in both directions."""
    return np.array_equal(edge_array(edges), edge_array(edges[:, ::-1]))


def degrees(edges: Edges, agents: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """In- and out-degree of every agent, Int64[N] each."""
    return (
        np.bincount(edges[:, 1], minlength=agents).astype(np.int64),
        np.bincount(edges[:, 0], minlength=agents).astype(np.int64),
    )


def neighbour_lists(
    keys: NDArray[np.int64], values: NDArray[np.int64], agents: int
) -> list[list[int]]:
    """For every agent a sorted list of the ``values`` that stand beside it in ``keys``."""
    order = np.lexsort((values, keys))
    bounds = np.searchsorted(keys[order], np.arange(agents + 1)).tolist()
    flat = values[order].tolist()
    return [flat[a:b] for a, b in zip(bounds[:-1], bounds[1:], strict=True)]


def reached(edges: Edges, agents: int, start: int) -> NDArray[np.bool_]:
    """Bool[N]: agents that what ``start`` publishes arrives at, directly or through others."""
    after = neighbour_lists(edges[:, 0], edges[:, 1], agents)
    seen = np.zeros(agents, dtype=np.bool_)
    seen[start] = True
    frontier = [start]
    while frontier:
        fresh = [j for i in frontier for j in after[i] if not seen[j]]
        seen[fresh] = True
        frontier = list(dict.fromkeys(fresh))
    return seen


def strongly_connected(edges: Edges, agents: int) -> bool:
    """Whether information from every agent arrives at every other."""
    return bool(reached(edges, agents, 0).all() and reached(edges[:, ::-1], agents, 0).all())


@dataclass(frozen=True, kw_only=True)
class Group:
    """Agents that reach each other.

    Attributes:
        agents: sorted.
        has_in: whether they average what any other group publishes.
        has_out: whether any other group averages what they publish.
        reaches: number, among all groups, of one that they reach and that reaches none.
    """

    agents: list[int]
    has_in: bool
    has_out: bool
    reaches: int


def groups(edges: Edges, agents: int) -> list[Group]:
    """The strongly connected groups of a graph, in the order of their first agents."""
    import networkx as nx  # only for a graph that is refused

    graph: nx.DiGraph[int] = nx.DiGraph()
    graph.add_nodes_from(range(agents))
    graph.add_edges_from(edges.tolist())
    parts = sorted(map(sorted, nx.strongly_connected_components(graph)))
    parts_graph = nx.condensation(graph, parts)
    last: dict[int, int] = {}
    for number in reversed(list(nx.topological_sort(parts_graph))):
        last[number] = max((last[after] for after in parts_graph[number]), default=number)
    return [
        Group(
            agents=part,
            has_in=parts_graph.in_degree(number) > 0,
            has_out=parts_graph.out_degree(number) > 0,
            reaches=last[number],
        )
        for number, part in enumerate(parts)
    ]


def colour_edges(edges: Edges, agents: int) -> tuple[Edges, ...]:
    """Split any graph into layers in which nobody hears, or is heard by, more than one agent.

    A symmetric graph is split into matchings: both directions of an edge share a layer, and nobody
    is in two pairs, so that pairs average and the mean is preserved. Greedy: at most twice the
    degree minus one layers.
    """
    pairs = symmetric(edges)
    busy_in: list[set[int]] = [set() for _ in range(agents)]
    busy_out = busy_in if pairs else [set() for _ in range(agents)]
    layers: list[list[tuple[int, int]]] = []
    for source, target in edges.tolist():
        if pairs and source > target:
            continue
        colour = 0
        while colour in busy_out[source] or colour in busy_in[target]:
            colour += 1
        if colour == len(layers):
            layers.append([])
        layers[colour].append((source, target))
        if pairs:
            layers[colour].append((target, source))
        busy_out[source].add(colour)
        busy_in[target].add(colour)
    return tuple(edge_array(layer) for layer in layers)


def shift(agents: int, hop: int) -> Edges:
    """Agent i is heard by agent i + hop (modulo N): a rotation of the circle."""
    source = np.arange(agents, dtype=np.int64)
    return edge_array(np.stack([source, (source + hop) % agents], axis=1))


def distinct(layers: Sequence[Edges]) -> tuple[Edges, ...]:
    """``layers`` without empty ones and without edges that an earlier layer holds."""
    seen: set[tuple[int, int]] = set()
    kept = []
    for layer in layers:
        fresh = [edge for edge in map(tuple, layer.tolist()) if edge not in seen]
        seen.update(fresh)
        if fresh:
            kept.append(edge_array(fresh))
    return tuple(kept)
