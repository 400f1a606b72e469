"""Which edges a round uses.

An agent looks its round up by its own counter of mixes, modulo the period: nothing has to be agreed
on while training runs, and agents whose counters differ by a round or two merely use neighbouring
rounds. Random schedules are drawn from their seed before training and repeat after ``period``
rounds, so that the bound on the divergence can be computed for them exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gala.topology.graph import (
    Edges,
    Graph,
    colour_edges,
    degrees,
    edge_array,
    neighbour_lists,
    symmetric,
)

ScheduleKind = Literal["static", "rotate", "one-peer", "random"]


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How rounds are made from a graph.

    Attributes:
        kind: ``static`` uses every edge in every round. ``rotate`` uses one layer of the graph per
            round (``peers`` of them): a hop of the exponential graph, a direction of the torus, a
            dimension of the hypercube, a matching of any other graph. ``one-peer`` lets every agent
            hear exactly one of its in-neighbours per round, in turns. ``random`` draws: pairs in
            symmetric graphs, a layer where layers are permutations, else one in-neighbour each.
        peers: layers per round of ``rotate``.
        seed: of ``random``; the same seed gives the same rounds to every agent.
        period: rounds of ``random`` before it repeats.
    """

    kind: ScheduleKind = "static"
    peers: int = 1
    seed: int = 0
    period: int = 64


def rounds_of(graph: Graph, schedule: Schedule) -> tuple[Edges, ...]:
    """Edges of each round of one period; a graph that is ``timed`` keeps its own rounds."""
    if not graph.layers or graph.timed or schedule.kind == "static":
        return graph.layers if graph.timed and graph.layers else (graph.union,)
    if schedule.kind == "rotate":
        layers = spread(graph)
        peers = min(schedule.peers, len(layers))
        period = len(layers) // np.gcd(len(layers), peers)
        return tuple(
            edge_array(
                np.concatenate([layers[(r * peers + p) % len(layers)] for p in range(peers)])
            )
            for r in range(period)
        )
    if schedule.kind == "one-peer":
        return _in_turns(graph)
    generator = np.random.default_rng(schedule.seed)
    return tuple(_draw(graph, generator) for _ in range(schedule.period))


def spread(graph: Graph) -> tuple[Edges, ...]:
    """Layers of ``graph`` in which nobody hears, or is heard by, more than one agent."""
    if all(max(map(_most, degrees(layer, graph.agents))) <= 1 for layer in graph.layers):
        return graph.layers
    return colour_edges(graph.union, graph.agents)


def _most(degree: NDArray[np.int64]) -> int:
    return int(degree.max(initial=0))


def _permutations(graph: Graph) -> bool:
    return all(len(layer) == graph.agents for layer in spread(graph))


def _in_turns(graph: Graph) -> tuple[Edges, ...]:
    if _permutations(graph):  # everybody is busy in every layer: one peer in, one peer out
        return spread(graph)
    heard = neighbour_lists(graph.union[:, 1], graph.union[:, 0], graph.agents)
    period = max(map(len, heard))
    return tuple(
        edge_array([(peers[r % len(peers)], i) for i, peers in enumerate(heard) if peers])
        for r in range(period)
    )


def _draw(graph: Graph, generator: np.random.Generator) -> Edges:
    edges = graph.union
    if symmetric(edges):
        free = np.ones(graph.agents, dtype=np.bool_)
        pairs = []
        for source, target in generator.permutation(edges).tolist():
            if free[source] and free[target]:
                free[[source, target]] = False
                pairs += [(source, target), (target, source)]
        return edge_array(pairs)
    if _permutations(graph):
        layers = spread(graph)
        return layers[int(generator.integers(len(layers)))]
    heard = neighbour_lists(edges[:, 1], edges[:, 0], graph.agents)
    return edge_array(
        [(peers[int(generator.integers(len(peers)))], i) for i, peers in enumerate(heard) if peers]
    )
