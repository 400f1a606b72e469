"""Families of graphs that take their size from the launch.

Each family is a function ``(agents, **options) -> Graph``. Hops follow the publisher: a hop of h
means that agent i is heard by agent i + h modulo N. Closed-form spectra (``beta``, the second
largest singular value of the mixing matrix with uniform weights) are checked by the tests.

References
----------
Assran et al. 2019, "Gossip-based Actor-Learner Architectures", arXiv 1906.04585 (directed ring).
Assran et al. 2019, "Stochastic Gradient Push", arXiv 1811.10792 (exponential graphs).
Ying et al. 2021, "Exponential Graph is Provably Efficient", arXiv 2110.13363 (their spectra).
Nedic, Olshevsky, Rabbat 2018, "Network Topology and Communication-Computation Tradeoffs in
Decentralized Optimization", arXiv 1709.08765 (paths, rings, stars, grids and their gaps).
Boyd, Diaconis, Xiao 2004, "Fastest Mixing Markov Chain on a Graph" (Metropolis-Hastings weights).
Chung 1997, "Spectral Graph Theory" (hypercubes, complete graphs).
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from gala.topology.graph import Edges, Graph, colour_edges, distinct, edge_array, shift
from gala.topology.limits import Unfit, check, count

Count = Annotated[int, Field(ge=1, strict=True)]


def ring(agents: int, *, directed: bool = False) -> Graph:
    """A circle. Undirected: everybody hears both sides; directed: agent i hears agent i - 1 alone.

    The directed ring with self-weight 1/2 is the topology of the GALA paper. beta: directed
    ``cos(pi/N)``, undirected ``(1 + 2 cos(2 pi/N)) / 3`` for N > 3. Cheap, and slow to agree when
    large: the gap closes as 1/N^2.

    Source: Assran et al. 2019, arXiv 1906.04585 (directed); Nedic et al. 2018 (undirected).
    """
    hops = [1] if directed else [1, -1]
    return Graph(agents=agents, layers=distinct([shift(agents, hop) for hop in hops]))


def line(agents: int) -> Graph:
    """A path: agent i and agent i + 1 hear each other, the ends hear one neighbour.

    Irregular, so that doubly stochastic mixing needs Metropolis-Hastings weights; beta is then
    ``1/3 + 2/3 cos(pi/N)``. The slowest of the connected graphs.

    Source: Nedic et al. 2018, arXiv 1709.08765, with the weights of Boyd et al. 2004.
    """
    pairs = [(i, i + 1) for i in range(agents - 1)]
    positions = np.stack([np.arange(agents), np.zeros(agents)], axis=1).astype(np.float64)
    return _undirected(agents, pairs, positions)


def star(agents: int, *, hub: Annotated[int, Field(ge=0, strict=True)] = 0) -> Graph:
    """One hub hears everybody, everybody hears the hub.

    Irregular: use Metropolis-Hastings weights (beta is then ``1 - 1/N``). The hub sends and
    receives N - 1 messages and its loss cuts the graph into pieces.

    Source: Nedic et al. 2018, arXiv 1709.08765, with the weights of Boyd et al. 2004.
    """
    if hub >= agents:
        raise Unfit(
            f"agent {hub} is missing, agents are 0..{agents - 1}", option="hub", hint="hub: 0"
        )
    leaves = [leaf for leaf in range(agents) if leaf != hub]
    angle = 2 * np.pi * np.arange(len(leaves)) / max(len(leaves), 1)
    positions = np.zeros((agents, 2))
    positions[leaves] = np.stack([np.sin(angle), np.cos(angle)], axis=1)
    ends = (sorted([hub, leaf]) for leaf in leaves)
    layers = tuple(np.array([(high, low), (low, high)], dtype=np.int64) for low, high in ends)
    return Graph(agents=agents, layers=layers, positions=positions)


def complete(agents: int) -> Graph:
    """Everybody hears everybody: the exact mean in one round (beta = 0), at N - 1 messages each.

    The measure of all others: no graph agrees faster, and none costs more.

    Source: Chung 1997; Nedic et al. 2018, arXiv 1709.08765.
    """
    check(agents, edges=agents * (agents - 1))
    return Graph(agents=agents, layers=tuple(shift(agents, hop) for hop in range(1, agents)))


def torus(agents: int, *, rows: Count | None = None) -> Graph:
    """A grid of ``rows`` x (N / rows) that wraps around; everybody hears its four sides.

    Without ``rows`` the most square grid is taken; a prime N leaves one row, hence a ring. With
    both sides longer than two, beta is ``(3 + 2 cos(2 pi / longest side)) / 5`` in absolute value
    where that is the second largest. The gap closes as 1/N.

    Source: Nedic et al. 2018, arXiv 1709.08765.
    """
    if rows is None:
        rows = max(r for r in range(1, int(np.sqrt(agents)) + 1) if agents % r == 0)
    if agents % rows:
        fits = min(
            (r for r in range(1, agents + 1) if agents % r == 0), key=lambda r: abs(r - rows)
        )
        raise Unfit(
            f"{count(agents)} cannot stand in {rows} equal rows",
            option="rows",
            hint=f"rows: {fits}",
        )
    columns = agents // rows
    index = np.arange(agents, dtype=np.int64)
    row, column = index // columns, index % columns
    sides = [
        row * columns + (column + 1) % columns,
        row * columns + (column - 1) % columns,
        (row + 1) % rows * columns + column,
        (row - 1) % rows * columns + column,
    ]
    layers = [edge_array(np.stack([index, side], axis=1)) for side in sides]
    positions = np.stack([column, -row], axis=1).astype(np.float64)
    return Graph(agents=agents, layers=distinct(layers), positions=positions)


def hypercube(agents: int) -> Graph:
    """Agents whose numbers differ in one bit hear each other; N must be a power of two.

    beta is ``1 - 2/(1 + log2 N)``. Rotating through its dimensions (``schedule: rotate``) gives the
    exact mean after log2 N rounds of one message each.

    Source: Chung 1997; one dimension per round as in Assran et al. 2019, arXiv 1811.10792.
    """
    if agents & (agents - 1):
        lower = 2 ** (agents.bit_length() - 1)
        raise Unfit(
            f"a hypercube needs a power of two agents, got {agents}",
            hint=f"use {lower} or {2 * lower} agents, or exponential, which takes any number",
        )
    index = np.arange(agents, dtype=np.int64)
    bits = range(agents.bit_length() - 1)
    layers = [edge_array(np.stack([index, index ^ (1 << bit)], axis=1)) for bit in bits]
    return Graph(agents=agents, layers=tuple(layers))


def exponential(agents: int) -> Graph:
    """Agent i is heard by agents i + 1, i + 2, i + 4, ... modulo N (Ying et al. 2021).

    ceil(log2 N) messages each. beta is ``1 - 2/(1 + ceil(log2 N))`` for even N, and smaller for odd
    N: the gap closes with log N only, which makes it the default choice for many agents.

    Source: Ying et al. 2021, arXiv 2110.13363.
    """
    return Graph(agents=agents, layers=tuple(shift(agents, hop) for hop in powers(agents)))


def one_peer_exponential(agents: int) -> Graph:
    """The exponential graph, one hop per round: every agent hears one agent, and is heard by one.

    For N a power of two the product of log2 N consecutive rounds is exactly the mean (Ying et al.
    2021, Lemma 1): as good as averaging with everybody, at one message per update.

    Source: Assran et al. 2019, arXiv 1811.10792; Ying et al. 2021, arXiv 2110.13363.
    """
    layers = tuple(shift(agents, hop) for hop in powers(agents))
    return Graph(agents=agents, layers=layers, timed=True)


def powers(agents: int) -> list[int]:
    """1, 2, 4, ... below ``agents``."""
    return [1 << bit for bit in range(max(agents - 1, 0).bit_length())]


def _undirected(
    agents: int, pairs: list[tuple[int, int]], positions: NDArray[np.float64] | None = None
) -> Graph:
    edges: Edges = edge_array([edge for i, j in pairs for edge in ((i, j), (j, i))])
    return Graph(agents=agents, layers=colour_edges(edges, agents), positions=positions)
