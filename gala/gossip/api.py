"""The library API: gossip around anybody's PyTorch loop, whatever the algorithm.

::

    with gala.gossip(model, optimizer, topology="ring") as node:
        ...  # the loop stays as it is; parameters are averaged after every optimizer.step()

Under torchrun every process is an agent; alone it is a loop as before. The model keeps its own
tensors: after a step they are copied into one flat vector, published, mixed with what the
neighbours published, and copied back only after a mix.
"""

from __future__ import annotations

import itertools
import secrets
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from gala.config.sections import GossipConfig
from gala.gossip.joining import make_node
from gala.gossip.mixing import require_mixable
from gala.gossip.node import GossipNode
from gala.gossip.shared_memory import check_room
from gala.launch.launch import Launch, from_environment
from gala.parameters.flat import layout_hash
from gala.topology import load_topology

_opened = itertools.count()


class Gossiping:
    """Node that ``with gala.gossip(...)`` yields; made by :func:`gossip`.

    Attributes:
        rank: index of this agent.
        neighbours: agents that this one averages with.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        topology: str | Path,
        every: int,
        max_staleness: int | None,
        transport: Any,
        buffers: bool,
        launch: Launch,
    ) -> None:
        named: list[tuple[str, Tensor]] = list(model.named_parameters())
        if buffers:
            named += [(n, b) for n, b in model.named_buffers() if b.is_floating_point()]
        assert named, "a model without parameters cannot gossip"
        assert every >= 1, every
        self._tensors: list[Tensor] = [tensor for _, tensor in named]
        layout = [(name, tuple(tensor.shape)) for name, tensor in named]
        self._vector = torch.zeros(sum(tensor.numel() for tensor in self._tensors))
        parts = torch.split(self._vector, [tensor.numel() for tensor in self._tensors])
        self._views = [p.view(t.shape) for p, t in zip(parts, self._tensors, strict=True)]
        self._every, self._steps = every, 0
        graph = load_topology(topology, launch.agents)
        self.rank = launch.rank
        self.neighbours = tuple(graph.in_neighbours(launch.rank))
        self._node: GossipNode | None = None
        if launch.agents > 1:
            require_mixable(graph)
            name = f"gossip/{next(_opened)}"
            run = launch.share(name, secrets.token_hex(8) if launch.leads else None)
            check_room(self._vector.nbytes, launch.local_agents)
            self._start_together(launch, name)
            self._node = make_node(
                launch=launch,
                topology=graph,
                vector=self._vector,
                layout_hash=layout_hash(layout),
                run=run,
                gossip=GossipConfig(
                    max_staleness=max_staleness, transport=transport, trust_radius=None
                ),
            )
        self._hook = optimizer.register_step_post_hook(self._after_step)

    @property
    def staleness(self) -> int:
        """Gossip rounds since the last mix."""
        return self._node.staleness if self._node is not None else 0

    @property
    def mix_count(self) -> int:
        """Mixes so far."""
        return self._node.counters.mixes if self._node is not None else 0

    @property
    def divergence(self) -> float:
        """``||x_i - mean||_2`` over the agents whose newest parameters can be read; exact.

        Reads a copy of everybody's parameters: ask every few seconds, not after every step.
        """
        if self._node is None:
            return 0.0
        rows = torch.stack(list(self._node.snapshot().values()))
        return float((rows[0] - rows.mean(0)).norm())

    def close(self) -> None:
        """Stop gossiping; the neighbours go on without this agent. May be called twice."""
        self._hook.remove()
        if self._node is not None:
            self._node.close()
            self._node = None

    def __enter__(self) -> Gossiping:
        """This object."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the gossip, also when the loop raised."""
        self.close()

    def _start_together(self, launch: Launch, name: str) -> None:
        """All agents begin with the parameters of rank 0: bounds hold from consensus on."""
        self._collect()
        # once per model, so the store will do; the agents' own edges may not have formed yet
        data = launch.share_bytes(f"{name}/start", self._vector.numpy().tobytes())
        self._vector.copy_(torch.frombuffer(bytearray(data), dtype=torch.float32))
        self._distribute()

    @torch.no_grad()
    def _after_step(self, *arguments: Any) -> None:
        self._steps += 1
        if self._node is None or self._steps % self._every:
            return
        self._collect()
        self._node.publish(update=self._steps, step=self._steps)
        if self._node.mix():
            self._distribute()

    @torch.no_grad()
    def _collect(self) -> None:
        torch._foreach_copy_(self._views, self._tensors)

    @torch.no_grad()
    def _distribute(self) -> None:
        torch._foreach_copy_(self._tensors, self._views)


def gossip(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    topology: str | Path,
    every: int = 1,
    max_staleness: int | None = None,
    transport: str = "auto",
    buffers: bool = False,
) -> Gossiping:
    """Average ``model`` with the neighbours' after every ``every``-th ``optimizer.step()``.

    Rank and number of agents come from torchrun's environment; without it nothing is exchanged.
    All agents start from the parameters of rank 0.

    Args:
        model: parameters on any device; mixed in float32.
        optimizer: any; its state stays local.
        topology: a topology file, the name of a family, or ``MODULE:CALLABLE``.
        every: optimizer steps between two exchanges.
        max_staleness: exchanges without a mix before waiting; 0 lock-step; None never waits.
        transport: "auto", "shared-memory" or "gloo"; auto chooses by neighbour.
        buffers: average floating-point buffers too (running means of batch norms).

    Raises:
        gala.errors.UserError: the topology does not fit, or shared memory is full.
    """
    assert transport in ("auto", "shared-memory", "gloo"), transport
    return Gossiping(
        model,
        optimizer,
        topology=topology,
        every=every,
        max_staleness=max_staleness,
        transport=transport,
        buffers=buffers,
        launch=from_environment(),
    )
