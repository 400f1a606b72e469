"""Steered agents in a closed loop, in one thread: the toolkit's own parts, made-up steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from fake_transport import FakeEdges, FakeTransport, Network, identity

from gala.config.sections import GossipConfig
from gala.couplings.gossip import Gossip
from gala.couplings.pace import EpsilonPace, pace_of
from gala.divergence.policy import PolicyDivergence
from gala.gossip.mixing import among_present, mixer_of
from gala.gossip.node import GossipNode
from gala.topology import Topology, load_topology

P = 300
NORM = 10.0
NOBODY = PolicyDivergence(lambda: None, lambda vector, obs: obs, lambda p, q: p)


@dataclass
class Loop:
    """What was seen.

    Attributes:
        relative: Float[updates], largest relative distance after each sweep over the agents.
        copies: per agent and update, along edges.
        intervals: Float[updates, N].
        paces: of the agents, at the end.
    """

    relative: np.ndarray
    copies: float
    intervals: np.ndarray
    paces: list[EpsilonPace]


def run(
    name: str,
    agents: int,
    target: float,
    *,
    in_turns: bool = True,
    updates: int = 600,
    norm: Callable[[int], float] = lambda k: 0.05,
    drift: float = 0.0,
    seed: int = 1,
    lazy: dict[int, int] | None = None,
) -> Loop:
    """Agents in random order, each doing an update of random direction.

    Args:
        name: of the topology.
        agents: N.
        target: relative distance.
        in_turns: whether neighbours need a copy each; else one serves all, and counts for each.
        updates: of each agent.
        norm: length of the steps of an update, on parameters of length 10.
        drift: share of each step that always points the agent's own way.
        seed: of the dice.
        lazy: sweeps per update of slow agents.
    """
    topology = load_topology(name, agents)
    dice = np.random.default_rng(seed)
    start = dice.standard_normal(P)
    x = torch.tensor(
        np.tile(NORM * start / np.linalg.norm(start), (agents, 1)), dtype=torch.float32
    )
    own_way = dice.standard_normal((agents, P))
    own_way /= np.linalg.norm(own_way, axis=1, keepdims=True)
    network = Network(agents)
    local_group = [_agent(topology, network, i, x[i], target, in_turns) for i in range(agents)]
    paces = [each._pace for each in local_group]
    relative, intervals, sent = [], [], 0
    done = [0] * agents
    for k in range(1, updates + 1):
        for i in map(int, dice.permutation(agents)):
            if lazy and k % lazy.get(i, 1):
                continue
            done[i] += 1
            step = dice.standard_normal(P)
            step = np.sqrt(1 - drift**2) * step / np.linalg.norm(step) + drift * own_way[i]
            x[i] += torch.tensor(norm(k) * step, dtype=torch.float32)
            local_group[i].exchange(done[i], done[i])
        mean = x.mean(0)
        distances = (x - mean).norm(dim=1) / mean.norm()
        relative.append(float(distances.max()))
        intervals.append([pace.controller.interval for pace in paces])
        if k % 50 == 0:
            for i in range(agents):
                paces[i].controller.measured(float(distances[i]))
    for i, each in enumerate(local_group):
        each_costs = 1 if in_turns else len(topology.out_neighbours(i))
        sent += each_costs * each.node.transport.copies_sent
    return Loop(np.array(relative), sent / sum(done), np.array(intervals), paces)


def _agent(
    topology: Topology, network: Network, rank: int, vector: torch.Tensor, target: float,
    in_turns: bool,
) -> Gossip:  # fmt: skip
    transport = (
        FakeEdges(network, rank, topology.out_neighbours(rank))
        if in_turns
        else FakeTransport(network, rank)
    )
    node = GossipNode(
        rank=rank,
        topology=topology,
        vector=vector,
        transport=transport,
        identity=identity(),
        mixer=mixer_of(topology, vector, weigh=among_present),
        partial=True,
    )
    flat: Any = SimpleNamespace(weights=vector, data=vector)
    pace = pace_of(GossipConfig(epsilon_target=target), topology, rank, flat, NOBODY)
    assert isinstance(pace, EpsilonPace)
    return Gossip(node, pace=pace)
