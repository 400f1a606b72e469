"""Dense where messages are cheap, sparse where they are dear: graphs for several hosts."""

from __future__ import annotations

import numpy as np

from gala.topology.families.classic import Count, powers
from gala.topology.graph import Graph, edge_array
from gala.topology.limits import MAX_EDGES, Unfit, check, count


def hierarchical(agents: int, *, per_host: Count | None = None) -> Graph:
    """Complete inside each host of ``per_host`` agents, exponential between the hosts.

    Agent number j of every host carries the hops of length 2^j, 2^(j + per_host), ... between
    hosts, so that a host sends log2(hosts) messages per update over the network, and no agent is a
    bottleneck. Hosts hold consecutive agents, as torchrun numbers them. Without ``per_host`` the
    largest divisor of N up to its square root is taken. Irregular: Metropolis-Hastings weights,
    which are doubly stochastic here.

    Source: made for this toolkit; two levels as in the hierarchical local SGD of Lin et al. 2018,
    "Don't Use Large Mini-Batches, Use Local SGD", arXiv 1808.07217.
    """
    if per_host is None:
        per_host = max(m for m in range(1, int(np.sqrt(agents)) + 1) if agents % m == 0)
    if agents % per_host:
        fits = min(
            (m for m in range(1, agents + 1) if agents % m == 0), key=lambda m: abs(m - per_host)
        )
        raise Unfit(
            f"{count(agents)} cannot fill hosts of {per_host}",
            option="per_host",
            hint=f"per_host: {fits}",
        )
    fits = max(m for m in range(1, MAX_EDGES // agents + 1) if agents % m == 0)
    check(agents, edges=agents * (per_host - 1), option="per_host", hint=f"per_host: {fits}")
    hosts = agents // per_host
    index = np.arange(agents, dtype=np.int64)
    host, place = index // per_host, index % per_host
    layers = [
        edge_array(np.stack([index, host * per_host + (place + hop) % per_host], axis=1))
        for hop in range(1, per_host)
    ]
    for number, hop in enumerate(powers(hosts)):
        carrier = index[place == number % per_host]
        layers.append(edge_array(np.stack([carrier, (carrier + hop * per_host) % agents], axis=1)))
    angle = 2 * np.pi * host / hosts
    inner = 2 * np.pi * place / per_host + angle
    radius = 0.0 if hosts == 1 else min(0.35, 1.1 * np.pi / hosts)
    positions = np.stack([np.sin(angle), np.cos(angle)], axis=1) * float(hosts > 1)
    spread = (radius or 1.0) * float(per_host > 1)
    positions += spread * np.stack([np.sin(inner), np.cos(inner)], axis=1)
    return Graph(agents=agents, layers=tuple(layers), positions=positions)
