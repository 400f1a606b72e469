"""Outbox: what an agent publishes, and whom the next copies serve where not everybody gets one."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor

from gala.gossip import message
from gala.gossip.message import Header, Identity
from gala.gossip.transport import Transport
from gala.gossip.wire import Wire
from gala.telemetry.history import History
from gala.topology import Topology


class Outbox:
    """Messages of one agent.

    Args:
        transport: carries them, and knows who shares a copy.
        topology: says who the out-neighbours are.
        rank: index of the agent.
        identity: what messages must agree on.
        incarnation: restarts of the agent so far.
        wire: how parameters become bytes.

    Attributes:
        history: is told of what was published; None: nobody is.
        record: tells it of a version, and of the length of its rounding error.
        learned: leading elements of the vector that records are about; None: all.
        last: header of the newest message; None before the first.
    """

    def __init__(
        self,
        transport: Transport,
        topology: Topology,
        rank: int,
        identity: Identity,
        incarnation: int,
        wire: Wire,
    ) -> None:
        self._transport = transport
        # beginning with the next rank, so that agents in step do not all send to the same one
        self._out_neighbours = sorted(
            topology.out_neighbours(rank), key=lambda i: (i - rank) % topology.agents
        )
        self._rank, self._identity, self._incarnation = rank, identity, incarnation
        self._wire = wire
        self.history: History | None = None
        self.record: Callable[[History, int, float], None] = History.published
        self.learned: int | None = None
        self._turn = 0
        self.last: Header | None = None

    @property
    def copies(self) -> list[tuple[int, ...]]:
        """All out-neighbours, by the copy of a message that serves them."""
        return self._transport.copies(self._out_neighbours)

    def put(
        self,
        vector: Tensor,
        *,
        version: int,
        update: int,
        step: int,
        round_: int,
        stop_at: int,
        copies: int | None = None,
    ) -> None:
        """Publish ``vector`` (Float[P]) under a header of these numbers.

        Args:
            vector: the parameters.
            version: see :class:`~gala.gossip.message.Header`, as the following.
            update: of the agent.
            step: of the agent.
            round_: of the agent.
            stop_at: of the agent; it publishes nothing after the update at which it stops.
            copies: how many of :attr:`copies` to send, the next in turn; None: all.
        """
        payload = self._wire.encode(vector)
        if self.history is not None:
            self.record(self.history, version, self._rounding(vector, payload))
        header = Header(
            identity=self._identity,
            rank=self._rank,
            incarnation=self._incarnation,
            version=version,
            update=update,
            step=step,
            round=round_,
            stop_at=max(stop_at, update),
            time=time.time(),
        )
        self.last = message.sealed(header, payload)
        self._transport.publish(self.last, payload, self._next(copies))

    def _rounding(self, vector: Tensor, payload: Tensor) -> float:
        """L2 norm of what the wire format changed."""
        if self._wire.exact:
            return 0.0
        read = self._wire.decode(payload)
        return float(torch.dist(read[: self.learned], vector[: self.learned]))

    def _next(self, count: int | None) -> frozenset[int] | None:
        """Whom the next ``count`` copies serve; None: everybody."""
        if count is None or count >= len(copies := self.copies):
            return None
        turns = range(self._turn, self._turn + count)
        self._turn += count
        return frozenset().union(*(copies[turn % len(copies)] for turn in turns))
