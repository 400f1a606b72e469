"""Families that are drawn from a seed: the same seed gives every agent the same graph.

References
----------
Watts, Strogatz 1998, "Collective dynamics of small-world networks".
Erdos, Renyi 1959, "On random graphs I".
Friedman 2003, "A proof of Alon's second eigenvalue conjecture" (random regular graphs).
Boyd et al. 2006, "Randomized gossip algorithms" (a random peer per round).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from gala.topology.families.classic import Count
from gala.topology.graph import Edges, Graph, colour_edges, edge_array
from gala.topology.limits import MAX_EDGES, MAX_ROUNDS, Unfit, check, count

if TYPE_CHECKING:
    import networkx as nx

Seed = Annotated[int, Field(ge=0, strict=True)]
Probability = Annotated[float, Field(gt=0, le=1)]

TRIES = 100
"""Draws before a graph that should be connected is given up."""


def random_peer(
    agents: int, *, seed: Seed = 0, period: Annotated[int, Field(ge=1, le=MAX_ROUNDS)] = 64
) -> Graph:
    """In every round all agents stand on a new random circle and hear the one before them.

    One message per update, doubly stochastic, and about as good as the one-peer exponential graph
    for any N. ``period`` rounds are drawn from the seed and then repeat.

    Source: Boyd et al. 2006, "Randomized gossip algorithms", with circles instead of pairs.
    """
    check(agents, rounds=period, option="period")
    generator = np.random.default_rng(seed)
    layers = [_circle(generator.permutation(agents)) for _ in range(period if agents > 1 else 0)]
    return Graph(agents=agents, layers=tuple(layers), timed=True)


def random_regular(agents: int, *, degree: Count | None = None, seed: Seed = 0) -> Graph:
    """Everybody hears ``degree`` random agents (default 2) and is heard by as many.

    The union of a random circle, which makes it strongly connected, and random permutations. With
    high probability its gap stays away from zero as N grows, at a constant number of messages: beta
    is near ``2 sqrt(degree) / (degree + 1)`` (a directed analogue of Friedman 2003).

    Source: Friedman 2003, "A proof of Alon's second eigenvalue conjecture".
    """
    if degree is not None and degree >= max(agents, 2):
        raise Unfit(
            f"{count(agents)} have {agents - 1} others, degree cannot be {degree}",
            option="degree",
            hint=f"degree: {max(agents - 1, 1)}",
        )
    degree = min(2 if degree is None else degree, agents - 1)
    check(agents, edges=agents * degree, option="degree", hint=f"degree: {MAX_EDGES // agents}")
    generator = np.random.default_rng(seed)
    if 2 * degree > agents:  # too crowded to draw: distinct hops on a random circle
        places = generator.permutation(agents)
        hops = [1, *(2 + generator.permutation(max(agents - 2, 0))[: degree - 1]).tolist()]
        circles = [edge_array(np.stack([places, np.roll(places, -h)], axis=1)) for h in hops]
        return Graph(agents=agents, layers=tuple(circles[:degree]))
    taken = np.zeros((0,), dtype=np.int64)
    layers: list[Edges] = []
    for number in range(degree if agents > 1 else 0):
        heard = np.empty(agents, dtype=np.int64)
        order = generator.permutation(agents)
        heard[np.roll(order, -1)] = order  # a circle
        if number:
            heard = _free_of(generator.permutation(agents), taken, generator)
        layers.append(edge_array(np.stack([heard, np.arange(agents)], axis=1)))
        taken = np.union1d(taken, np.arange(agents) * agents + heard)
    return Graph(agents=agents, layers=tuple(layers))


def small_world(
    agents: int,
    *,
    neighbours: Annotated[int, Field(ge=2, multiple_of=2, strict=True)] = 4,
    rewire: Annotated[float, Field(ge=0, le=1)] = 0.1,
    seed: Seed = 0,
) -> Graph:
    """A ring with ``neighbours`` per agent of which a share ``rewire`` leads anywhere instead.

    Watts and Strogatz's model, drawn until it is connected. Irregular: Metropolis-Hastings weights.

    Source: Watts, Strogatz 1998, "Collective dynamics of small-world networks".
    """
    import networkx as nx  # a tenth of a second that the other families do not need

    few = MAX_EDGES // agents // 2 * 2
    wanted = agents * min(neighbours, agents - 1)
    check(agents, edges=wanted, option="neighbours", hint=f"neighbours: {few}")
    if agents <= neighbours:
        return _undirected(nx.complete_graph(agents))
    graph = nx.connected_watts_strogatz_graph(agents, neighbours, rewire, tries=TRIES, seed=seed)
    return _undirected(graph)


def erdos_renyi(agents: int, *, probability: Probability | None = None, seed: Seed = 0) -> Graph:
    """Each pair hears each other with ``probability``; by default ``min(1, 2 ln N / N)``.

    Twice the threshold of connectedness; drawn until it is connected. Irregular:
    Metropolis-Hastings weights.

    Source: Erdos, Renyi 1959, "On random graphs I".
    """
    import networkx as nx

    threshold = min(1.0, 2 * np.log(max(agents, 2)) / agents)
    chance = threshold if probability is None else probability
    fits = f"probability: {MAX_EDGES / agents / max(agents - 1, 1):.2g}"
    check(agents, edges=round(chance * agents * (agents - 1)), option="probability", hint=fits)
    for attempt in range(TRIES):
        graph = nx.fast_gnp_random_graph(agents, chance, seed=seed * TRIES + attempt)
        if nx.is_connected(graph):
            return _undirected(graph)
    raise Unfit(
        f"{agents} agents stayed unconnected in {TRIES} draws with probability {chance:g}",
        option="probability",
        hint=f"use {threshold:.2g} or more",
    )


def _circle(order: NDArray[np.int64]) -> Edges:
    return edge_array(np.stack([order, np.roll(order, -1)], axis=1))


def _free_of(
    heard: NDArray[np.int64], taken: NDArray[np.int64], generator: np.random.Generator
) -> NDArray[np.int64]:
    """Swap entries of the permutation until nobody hears itself or an agent it hears already."""
    agents = len(heard)
    index = np.arange(agents)
    while True:
        clash = np.flatnonzero((heard == index) | np.isin(index * agents + heard, taken))
        if not len(clash):
            return heard
        for i in clash.tolist():
            j = int(generator.integers(agents))
            heard[[i, j]] = heard[[j, i]]


def _undirected(graph: nx.Graph[int]) -> Graph:
    agents = graph.number_of_nodes()
    edges = edge_array([edge for i, j in graph.edges for edge in ((i, j), (j, i))])
    return Graph(agents=agents, layers=colour_edges(edges, agents))
