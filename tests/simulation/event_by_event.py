"""The real nodes under virtual time, one event after another: what the simulation must agree with.

Slow and obvious: a heap of events, one ``GossipNode`` per agent, and links that send one message at
a time.
"""

from __future__ import annotations

import heapq
import itertools
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gala.gossip.message import Header, Identity
from gala.gossip.node import GossipNode
from gala.gossip.transport import PeerState
from gala.gossip.wire import Exact
from gala.topology import Topology


class VirtualNetwork:
    """Links and mailboxes, and the heap of what will happen."""

    def __init__(self, topology: Topology, *, latency_s: float, send_s: float) -> None:
        self.topology, self.latency_s, self.send_s = topology, latency_s, send_s
        self.now = 0.0
        self.heap: list[tuple[float, int, str, Any]] = []
        self._order = itertools.count()
        n = topology.agents
        self.mailbox: dict[tuple[int, int], tuple[Header, Tensor]] = {}
        self._newest: list[tuple[Header, Tensor] | None] = [None] * n
        self._pending: list[set[int]] = [set() for _ in range(n)]
        self._turn = [0] * n
        self._busy = [False] * n
        self.sends = [0] * n

    def at(self, time: float, kind: str, what: Any) -> None:
        heapq.heappush(self.heap, (time, next(self._order), kind, what))

    def publish(self, sender: int, header: Header, payload: Tensor) -> None:
        self._newest[sender] = (header, payload.clone())
        self._pending[sender] = set(self.topology.out_neighbours(sender))
        if not self._busy[sender]:
            self.send(sender)

    def send(self, sender: int) -> None:
        """The link of ``sender`` is free: begin with the next receiver in turn."""
        self._busy[sender] = False
        receivers = self.topology.out_neighbours(sender)
        while self._pending[sender] and not self._busy[sender]:
            receiver = receivers[self._turn[sender] % len(receivers)]
            assert receiver in self._pending[sender]
            self._pending[sender].remove(receiver)
            self._turn[sender] += 1
            self.sends[sender] += 1
            arrival = self.now + self.send_s + self.latency_s
            self.at(arrival, "arrive", (sender, receiver, self._newest[sender]))
            if self.send_s:
                self._busy[sender] = True
                self.at(self.now + self.send_s, "free", sender)

    def arrive(self, sender: int, receiver: int, message: tuple[Header, Tensor]) -> None:
        before = self.mailbox.get((sender, receiver))
        if before is None or message[0].version > before[0].version:
            self.mailbox[sender, receiver] = message


class VirtualTransport:
    """The view of one agent."""

    def __init__(self, network: VirtualNetwork, rank: int) -> None:
        self._network, self._rank = network, rank

    def publish(self, header: Header, payload: Tensor, to: object = None) -> None:
        self._network.publish(self._rank, header, payload)

    def version(self, peer: int) -> int:
        found = self._network.mailbox.get((peer, self._rank))
        return found[0].version if found else 0

    def latest(self, peer: int) -> tuple[Header, Tensor] | None:
        return self._network.mailbox.get((peer, self._rank))

    def steps(self, peer: int) -> int:
        return 0

    def acknowledge(self, peer: int, version: int) -> None: ...

    def acknowledged(self, peer: int) -> int:
        return 0

    def state(self, peer: int) -> PeerState:
        return PeerState.ACTIVE

    def close(self) -> None: ...


def run_nodes(
    topology: Topology,
    durations: np.ndarray,
    updates: np.ndarray,
    *,
    total: int,
    latency_s: float = 0.0,
    send_s: float = 0.0,
    max_staleness: int | None = None,
    policy: str = "wait",
) -> tuple[np.ndarray, list[int], list[int], float]:
    """Parameters, staleness after each exchange, messages sent per agent, time at the end.

    Args:
        durations: Float64[N, K], of each agent's updates.
        updates: Float64[N, K, D], what they add.
        total: updates of all agents together.
    """
    network = VirtualNetwork(topology, latency_s=latency_s, send_s=send_s)
    vectors = torch.zeros(topology.agents, updates.shape[2], dtype=torch.float64)
    identity = Identity(run="00" * 8, topology=topology.hash, layout="22" * 8)
    nodes = [
        GossipNode(
            rank=rank,
            topology=topology,
            vector=vectors[rank],
            transport=VirtualTransport(network, rank),
            identity=identity,
            wire=Exact(updates.shape[2], torch.float64),
            max_staleness=max_staleness,
            policy=policy,
        )
        for rank in range(topology.agents)
    ]
    done = [0] * topology.agents
    waiting: set[int] = set()
    staleness: list[int] = []

    def is_fresh(node: GossipNode, peer: int) -> bool:
        used = node.messages.get(peer)
        return node.transport.version(peer) > (used.version if used else 0)

    def exchange(rank: int) -> None:
        node = nodes[rank]
        row = topology.row(rank, node.state_dict()["round"])[1]
        impatient = max_staleness is not None and node.staleness > max_staleness
        if impatient and policy == "wait" and not all(is_fresh(node, j) for j in row):
            waiting.add(rank)
            return
        waiting.discard(rank)
        node.mix()
        staleness.append(node.staleness)
        network.at(network.now + durations[rank, done[rank]], "finish", rank)

    for rank in range(topology.agents):
        network.at(durations[rank, 0], "finish", rank)
    while sum(done) < total:
        network.now, _, kind, what = heapq.heappop(network.heap)
        if kind == "free":
            network.send(what)
        elif kind == "arrive":
            network.arrive(*what)
            if what[1] in waiting:
                exchange(what[1])
        else:
            vectors[what] += torch.from_numpy(updates[what, done[what]])
            done[what] += 1
            nodes[what].publish(update=done[what], step=0)
            exchange(what)
    return vectors.numpy(), staleness, network.sends, network.now
