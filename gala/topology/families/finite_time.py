"""Schedules that reach the exact mean after a few rounds of few messages, and their relatives.

References
----------
Takezawa et al. 2023, "Beyond Exponential Graph: Communication-Efficient Topologies for
Decentralized Learning via Finite-time Convergence", arXiv 2305.11420 (base-(k+1) graphs).
Assran et al. 2019, arXiv 1811.10792 (several peers of the exponential graph per round).
Lian et al. 2018, "Asynchronous Decentralized Parallel SGD", arXiv 1710.06952 (bipartite graphs:
half of the agents ask, half answer, so that pairs never wait in a circle).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from gala.topology.families.classic import Count, powers
from gala.topology.graph import Graph, distinct, edge_array, shift
from gala.topology.limits import MAX_EDGES, Unfit, check

Pair = tuple[int, int, float]
"""Two agents that hear each other, and the weight that each gives to the other."""


def n_peer_exponential(agents: int, *, peers: Count = 2) -> Graph:
    """``peers`` hops of the exponential graph per round, the next ones in the next round.

    Between the one-peer (``peers`` 1) and the static exponential graph (log2 N) in messages and in
    speed.

    Source: Assran et al. 2019, arXiv 1811.10792.
    """
    hops = powers(agents)
    peers = min(peers, max(len(hops), 1))
    period = len(hops) // math.gcd(len(hops), peers) if hops else 0
    layers = [
        edge_array(
            np.concatenate([shift(agents, hops[(r * peers + p) % len(hops)]) for p in range(peers)])
        )
        for r in range(period)
    ]
    return Graph(agents=agents, layers=tuple(layers), timed=True)


def bipartite_exponential(agents: int) -> Graph:
    """Even agent i and odd agent i + 2^k - 1 (modulo N) hear each other, for k = 1, 2, ...

    Every hop length is one perfect matching, so that with ``schedule: rotate`` agents meet in
    pairs, one message each. N must be even.

    Source: Lian et al. 2018, arXiv 1710.06952.
    """
    if agents > 1 and agents % 2:
        raise Unfit(
            f"pairs need an even number of agents, got {agents}",
            hint=f"use {agents - 1} or {agents + 1} agents, or base, which takes any number",
        )
    even = np.arange(0, agents, 2, dtype=np.int64)
    layers = []
    for hop in (2 * power - 1 for power in powers(agents) if 2 * power - 1 < agents):
        pair = np.stack([even, (even + hop) % agents], axis=1)
        layers.append(edge_array(np.concatenate([pair, pair[:, ::-1]])))
    return Graph(agents=agents, layers=distinct(layers) if agents > 1 else ())


def base(agents: int, *, peers: Count = 1) -> Graph:
    """The base-(k+1) graph, k = ``peers``: the exact mean after O(log N) rounds, for every N.

    Nobody hears more than ``peers`` agents in a round. For N a power of ``peers`` + 1 it is the
    hypercube of that base, one dimension per round. Otherwise N is written in base k + 1; groups of
    that many agents average among themselves, swap shares with the smaller groups so that each
    group's mean becomes everybody's, and average once more. beta is 0.

    Source: Takezawa et al. 2023, arXiv 2305.11420.
    """
    peers = min(peers, max(agents - 1, 1))
    check(agents, edges=agents * peers, option="peers", hint=f"peers: {MAX_EDGES // agents}")
    everybody = list(range(agents))
    plans = [_simple(everybody, peers)]
    smooth = _smooth_part(agents, peers + 1)
    if 1 < smooth < agents:  # groups of N / smooth agents first, then the hypercube across groups
        size = agents // smooth
        plan = _Plan()
        for group in range(smooth):
            plan.beside(_simple(everybody[group * size : (group + 1) * size], peers))
        across = _Plan()
        for place in range(size):
            across.beside(_hypercube(everybody[place::size], peers))
        plans.append(plan.then(across))
    shortest = min(plans, key=lambda plan: len(plan.rounds))
    layers, weights = [], []
    for pairs in shortest.rounds:
        both = sorted((t, s, w) for i, j, w in pairs for s, t in ((i, j), (j, i)))
        layers.append(np.array([(s, t) for t, s, _ in both], dtype=np.int64).reshape(-1, 2))
        weights.append(np.array([w for _, _, w in both]))
    return Graph(agents=agents, layers=tuple(layers), weights=tuple(weights) or None, timed=True)


@dataclass
class _Plan:
    """Rounds of pairs."""

    rounds: list[list[Pair]] = field(default_factory=list)

    def beside(self, other: _Plan, *, start: int = 0) -> None:
        """Let other agents follow ``other`` meanwhile, from round ``start`` on."""
        for number, pairs in enumerate(other.rounds):
            while len(self.rounds) <= start + number:
                self.rounds.append([])
            self.rounds[start + number] += pairs

    def then(self, other: _Plan) -> _Plan:
        """First this, then ``other``."""
        return _Plan([*self.rounds, *other.rounds])


def _hypercube(members: list[int], peers: int) -> _Plan:
    """Average ``members``, whose number has no prime factor above ``peers`` + 1."""
    plan = _Plan()
    step = 1
    for side in _sides(len(members), peers + 1):
        plan.rounds.append(
            [
                (members[i], members[i + k * step], 1 / side)
                for i in range(len(members))
                for k in range(1, side - i // step % side)
            ]
        )
        step *= side
    return plan


def _simple(members: list[int], peers: int) -> _Plan:
    """Average any number of ``members`` (Takezawa et al. 2023, the simple base-(k+1) graph)."""
    # groups[l] is a list of a_l blocks of (k+1)^(p_l) agents, largest blocks first
    groups: list[list[list[int]]] = []
    left, block = list(members), 1
    while block * (peers + 1) <= len(members):
        block *= peers + 1
    while left:
        count = len(left) // block
        if count:
            groups.append([left[k * block : (k + 1) * block] for k in range(count)])
            left = left[count * block :]
        block = max(block // (peers + 1), 1)
    plan = _Plan()
    for blocks in groups:  # first everybody averages within its group
        plan.beside(_hypercube([agent for one in blocks for agent in one], peers))
    start = len(plan.rounds)
    for number, blocks in enumerate(groups[:-1]):
        rest = [agent for later in groups[number + 1 :] for one in later for agent in one]
        mine = sum(map(len, blocks))
        # Each agent of the rest takes a share mine / (mine + rest) of this group's mean, in equal
        # parts from one agent of each block: the mean of the rest becomes the mean of both, and so
        # does the mean of this group, as pairs swap equal shares.
        weight = mine / (mine + len(rest)) / len(blocks)
        swap = [(one[place], agent, weight) for place, agent in enumerate(rest) for one in blocks]
        plan.beside(_Plan([swap]), start=start + number)
        for one in blocks:  # blocks were given alike, so that each has the group's mean
            plan.beside(_hypercube(one, peers), start=start + number + 1)
    return plan


def _sides(size: int, largest: int) -> list[int]:
    """Fewest factors of ``size``, each at most ``largest``; the largest first."""
    if size == 1:
        return []
    best: list[int] | None = None
    for side in range(min(largest, size), 1, -1):
        if size % side == 0 and _smooth_part(size // side, largest) == size // side:
            sides = [side, *_sides(size // side, side)] if _fits(size // side, side) else None
            if sides is not None and (best is None or len(sides) < len(best)):
                best = sides
    assert best is not None, f"{size} has a prime factor above {largest}"
    return best


def _fits(size: int, largest: int) -> bool:
    return _smooth_part(size, largest) == size


def _smooth_part(size: int, largest: int) -> int:
    """Largest divisor of ``size`` without prime factors above ``largest``."""
    part, left = 1, size
    for factor in range(2, largest + 1):
        while left % factor == 0:
            left //= factor
            part *= factor
    return part
