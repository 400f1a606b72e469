"""Agents of real nodes, wires and histories in one thread, whose parameters are all known."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gala.divergence.certificate import Certificate, certify
from gala.divergence.walk import Incomplete
from gala.gossip.in_process import InProcessTransport, LocalGroup
from gala.gossip.judging import Parts
from gala.gossip.message import Header, Identity
from gala.gossip.mixing import among_present, mixer_of, without_missing
from gala.gossip.node import GossipNode
from gala.gossip.wire import wire_format
from gala.telemetry.history import History, begin_tick, read_history
from gala.topology import Topology

LEARNED, STATISTICS = 300, 7
IDENTITY = Identity(run="00" * 8, topology="11" * 8, layout="22" * 8)


class Lossy(InProcessTransport):
    """Loses what it is told to lose."""

    loses = False

    def publish(self, header: Header, payload: Tensor, to: Collection[int] | None = None) -> None:
        if not self.loses:
            super().publish(header, payload, to)


@dataclass
class Real:
    """N agents with statistics behind their parameters; all sketches are the vectors.

    ``wire`` and ``partial`` are options of runs; ``topology`` says how messages are mixed.
    """

    folder: Path
    topology: Topology
    wire: str = "float32"
    partial: bool = False
    seed: int = 0
    scale: float = 1.0
    capacity: int = 4096
    sketches: dict[tuple[int, int, float], NDArray[np.float64]] = field(default_factory=dict)
    cuts: dict[int, dict[int, float]] = field(default_factory=dict)
    norms: dict[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.agents, self.clock, self.launch = self.topology.agents, 0.0, 1
        self.generator = torch.Generator().manual_seed(self.seed)
        start = self.scale * torch.randn(LEARNED + STATISTICS, generator=self.generator)
        self.x = [start.clone() for _ in range(self.agents)]
        self.updates = [0] * self.agents
        self.incarnations = [0] * self.agents
        self.histories: list[Any] = [None] * self.agents
        self.nodes: list[Any] = [None] * self.agents
        self.group = LocalGroup(range(self.agents))
        for i in range(self.agents):
            self.live(i)
            self.cut(i, begin_tick(0))

    def live(self, i: int) -> None:
        """A life begins."""
        number, x = self.incarnations[i], self.x[i]
        if self.histories[i] is not None:
            self.histories[i].close()
        self.histories[i] = History(
            self.folder / f"{i}.bin", incarnation=number, launch=self.launch, capacity=self.capacity
        )
        self.group.left.discard(i)
        transport = Lossy(rank=i, local_group=self.group, identity=IDENTITY)
        weigh = among_present if self.partial else without_missing
        self.nodes[i] = GossipNode(
            rank=i,
            topology=self.topology,
            vector=x,
            transport=transport,
            identity=IDENTITY,
            wire=wire_format("float64", len(x) + 1)
            if self.topology.push_sum
            else wire_format(self.wire, len(x)),
            mixer=mixer_of(self.topology, x, newcomer=number > 0, weigh=weigh),
            partial=self.partial,
            parts=Parts(sizes=(LEARNED, STATISTICS), learned=LEARNED),
            history=self.histories[i],
            incarnation=number,
        )

    def step(self, i: int, size: float) -> None:
        before = self.x[i].clone()
        self.x[i] += size * self.direction()
        self.updates[i] += 1
        norm = float(torch.dist(self.x[i][:LEARNED], before[:LEARNED]))
        self.histories[i].step(self.updates[i], norm)

    def publish(self, i: int, *, arrives: bool = True) -> None:
        self.nodes[i].transport.loses = not arrives
        self.nodes[i].publish(update=self.updates[i], step=self.updates[i])

    def rest(self, i: int) -> None:
        self.nodes[i].rest()

    def mix(self, i: int) -> bool:
        return bool(self.nodes[i].mix())

    def restart(self, i: int, *, adopts: bool, gone: bool) -> None:
        """Agent i dies, and comes back as a neighbour is or as a checkpoint of long ago was."""
        if gone:
            self.nodes[i].close()
            for j in range(self.agents):
                self.nodes[j].peer_state(i) if i in self.nodes[j].neighbours else None
        self.incarnations[i] += 1
        self.x[i] = self.x[i] + 0.1 * self.scale * self.direction()
        self.live(i)
        if adopts:
            self.nodes[i].adopt()
        self.cut(i, begin_tick(self.incarnations[i]))

    def resume(self) -> None:
        """All end, and go on from parameters and versions of an earlier time in another launch."""
        states = [node.state_dict() for node in self.nodes]
        self.launch += 1
        self.group = LocalGroup(range(self.agents))
        self.incarnations = [0] * self.agents
        for i, state in enumerate(states):
            self.x[i] = self.x[i] + 0.1 * self.scale * self.direction()
            self.live(i)
            self.nodes[i].load_state_dict(state | {"version": max(state["version"] - 3, 0)})
            self.cut(i, begin_tick(0))

    def cut(self, i: int, tick: int) -> None:
        self.clock += 1.0
        weights = self.x[i][:LEARNED].double().numpy().copy()
        self.sketches[i, tick, self.clock] = weights
        self.norms[i] = max(self.norms.get(i, 0.0), float(np.linalg.norm(weights)))
        self.cuts.setdefault(tick, {})[i] = self.clock
        self.histories[i].cut(tick, self.clock)

    def direction(self) -> Tensor:
        drawn = torch.randn(LEARNED + STATISTICS, generator=self.generator)
        return drawn / drawn.norm()

    def distance(self, tick: int) -> float:
        """``||X - Xbar||_F`` at the cut."""
        rows = np.stack([self.sketches[i, tick, t] for i, t in self.cuts[tick].items()])
        return float(np.linalg.norm(rows - rows.mean(axis=0)))

    def certify(self, tick: int, begin: int) -> Certificate | Incomplete:
        return certify(
            {i: read_history(self.folder / f"{i}.bin") for i in range(self.agents)},
            self.sketches,
            tick=tick,
            present=self.cuts[tick],
            begin=begin,
            norms=self.norms,
            sketch_error=0.0,
        )
