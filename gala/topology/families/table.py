"""The families of graphs by name; a new one is a function in this folder and a line here."""

from __future__ import annotations

from collections.abc import Callable

from gala.topology.families import classic, finite_time, hierarchical, random_graphs
from gala.topology.graph import Graph

FAMILIES: dict[str, Callable[..., Graph]] = {
    "ring": classic.ring,
    "line": classic.line,
    "star": classic.star,
    "complete": classic.complete,
    "torus": classic.torus,
    "hypercube": classic.hypercube,
    "exponential": classic.exponential,
    "one-peer-exponential": classic.one_peer_exponential,
    "n-peer-exponential": finite_time.n_peer_exponential,
    "bipartite-exponential": finite_time.bipartite_exponential,
    "base": finite_time.base,
    "random-peer": random_graphs.random_peer,
    "random-regular": random_graphs.random_regular,
    "small-world": random_graphs.small_world,
    "erdos-renyi": random_graphs.erdos_renyi,
    "hierarchical": hierarchical.hierarchical,
}
"""Every family by the name that files use."""
