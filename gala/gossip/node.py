"""One agent's part in the gossip: publish after each update, mix when the neighbours are fresh.

Nothing here is a collective operation and nothing waits, except an agent that reached its
``max_staleness``, and that one only for neighbours that are alive, and not for ever.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from gala.gossip.message import NEVER, Header, Identity, Refusal, Refused
from gala.gossip.mixing import mix_, without_missing
from gala.gossip.transport import PeerState, Transport
from gala.topology import Topology
from gala.topology.weights import discount_by_age

WINDOW = 256
"""Mixes over which the largest staleness and message age are kept."""


@dataclass(slots=True)
class GossipCounters:
    """What happened so far; all numbers only grow."""

    mixes: int = 0
    sent: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    waited_s: float = 0.0


class GossipNode:
    """Publishes and mixes the parameters of one agent.

    Args:
        rank: index of this agent.
        topology: who listens to whom, with which weights.
        vector: Float32[P], this agent's parameters, mixed in place.
        transport: what carries the messages.
        identity: what messages must agree on.
        max_staleness: updates without a mix before the agent waits; 0 is lock-step: version k is
            mixed with version k of every in-neighbour, and version k + 1 is published only when
            every living out-neighbour has taken k. None: never wait.
        timeout_s: longest wait; then the missing neighbour's weight stays with self for this mix.
        aborted: asked during waits; True ends them.

    Attributes:
        staleness: updates since the last mix.
        stop_at: in lock-step, the update after which all agents stop, agreed by gossip.
        refused: messages refused, by reason.
        messages: newest accepted header of each in-neighbour.
    """

    def __init__(
        self,
        *,
        rank: int,
        topology: Topology,
        vector: Tensor,
        transport: Transport,
        identity: Identity,
        max_staleness: int | None = None,
        timeout_s: float = 60.0,
        aborted: Callable[[], bool] = lambda: False,
    ) -> None:
        self.rank, self.topology, self.transport = rank, topology, transport
        self._vector, self._identity = vector, identity
        self._max_staleness, self._timeout_s, self._aborted = max_staleness, timeout_s, aborted
        self.counters = GossipCounters()
        self.refused: Counter[Refusal] = Counter()
        self.messages: dict[int, Header] = {}
        self.staleness = 0
        self.stop_at = NEVER
        self._version = 0
        self._round = 0
        self._used: dict[int, int] = {}
        self._ages: dict[int, int] = {}
        self._update_s = 0.0
        self._published_at = time.monotonic()
        self._recent_staleness: deque[int] = deque(maxlen=WINDOW)
        self._recent_delay: deque[int] = deque(maxlen=WINDOW)

    @property
    def lock_step(self) -> bool:
        """Whether every agent mixes equal versions (``max_staleness`` 0)."""
        return self._max_staleness == 0

    @property
    def neighbours(self) -> tuple[int, ...]:
        """All in-neighbours over the topology's period."""
        return tuple(self.topology.in_neighbours(self.rank))

    @property
    def mix_every(self) -> int:
        """Largest recent number of updates from one mix to the next (at least 1)."""
        return max([self.staleness, 1, *self._recent_staleness])

    @property
    def delay(self) -> int:
        """Largest recent age of a message when it was mixed, in own updates; 0 in lock-step."""
        return max(self._recent_delay, default=0)

    def publish(self, *, update: int, step: int) -> None:
        """Put the parameters into the mailbox (Algorithm 1, line 7). Waits in lock-step only."""
        if self.lock_step and self._version:
            self._await_taken()
        now = time.monotonic()
        if self._version:
            self._update_s += (now - self._published_at - self._update_s) * (
                0.1 if self._update_s else 1.0
            )
        self._published_at = now
        self._version += 1
        self.staleness += 1
        header = Header(
            identity=self._identity,
            rank=self.rank,
            version=self._version,
            update=update,
            step=step,
            stop_at=self.stop_at,
            time=time.time(),
        )
        self.transport.publish(header, self._vector)
        self.counters.sent += 1
        self.counters.bytes_sent += self._vector.numel() * self._vector.element_size()

    def mix(self) -> bool:
        """Average with the in-neighbours of this round if all of them are fresh (lines 8-9).

        Returns:
            Whether the parameters were mixed.
        """
        self_weight, weights = self.topology.row(self.rank, self._round)
        if not weights:
            self._round += 1
            return False
        fresh = {j for j in weights if self._is_fresh(j)}
        gone = {j for j in weights if j not in fresh and not self.transport.state(j).expected}
        if len(fresh) + len(gone) < len(weights):
            if self._max_staleness is None or self.staleness <= self._max_staleness:
                if not self.lock_step:
                    return False
            fresh = self._await_fresh(set(weights))
        received = {}
        for j in sorted(fresh):
            vector = self._take(j)
            if vector is not None:
                received[j] = (weights[j], vector)
        self._round += 1
        if not received:
            return False
        self_weight, kept = without_missing(self_weight, weights, set(received))
        if self.topology.discount < 1.0:
            self_weight, kept = discount_by_age(
                self_weight, kept, self._ages, self.topology.discount
            )
        mix_(self._vector, self_weight, {j: (kept[j], received[j][1]) for j in received})
        self._recent_staleness.append(self.staleness)
        self.staleness = 0
        self.counters.mixes += 1
        return True

    def peer_state(self, peer: int) -> PeerState:
        """What is known of ``peer``."""
        return self.transport.state(peer)

    def snapshot(self) -> dict[int, Tensor]:
        """Newest parameters of every agent whose mailbox can be read, own ones included.

        Float32[P] each, valid until the next call. Reading disturbs nobody, but takes a copy per
        agent: for measurements, not for every update.
        """
        found = {self.rank: self._vector}
        for peer in range(self.topology.agents):
            if peer != self.rank:
                with contextlib.suppress(Refused):
                    message = self.transport.latest(peer)
                    if message is not None:
                        found[peer] = message[1]
        return found

    def state_dict(self) -> dict[str, int]:
        """Counters from which :meth:`load_state_dict` goes on in the same round."""
        return {"version": self._version, "round": self._round, "staleness": self.staleness}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from :meth:`state_dict`; in lock-step all agents must come from the same update."""
        self._version, self._round = state["version"], state["round"]
        self.staleness = state["staleness"]
        if self.lock_step:  # what the neighbours published before counts as taken
            for j in self.neighbours:
                self.transport.acknowledge(j, self._version)

    def close(self) -> None:
        """Leave; the neighbours see it and go on without."""
        self.transport.close()

    def _is_fresh(self, peer: int) -> bool:
        needed = self._version if self.lock_step else self._used.get(peer, 0) + 1
        return self.transport.version(peer) >= needed

    def _take(self, peer: int) -> Tensor | None:
        try:
            message = self.transport.latest(peer)
        except Refused as refused:
            self.refused[refused.reason] += 1
            # Do not look at the same message again, and do not hold the sender up for it.
            version = self.transport.version(peer)
            self._used[peer] = version
            self.transport.acknowledge(peer, version)
            return None
        if message is None:
            return None
        header, vector = message
        self._used[peer] = header.version
        self.transport.acknowledge(peer, header.version)
        self.messages[peer] = header
        self.stop_at = min(self.stop_at, header.stop_at) if self.lock_step else self.stop_at
        self.counters.bytes_received += header.payload_bytes
        if not self.lock_step:
            age_s = max(time.time() - header.time, 0.0)
            self._ages[peer] = -int(-age_s // self._update_s) if self._update_s else 1
            self._recent_delay.append(self._ages[peer])
        return vector

    def _await_fresh(self, wanted: set[int]) -> set[int]:
        """Wait until every wanted neighbour that is still expected is fresh; bounded."""

        def pending() -> bool:
            return any(not self._is_fresh(j) and self.transport.state(j).expected for j in wanted)

        self._wait_while(pending)
        return {j for j in wanted if self._is_fresh(j)}

    def _await_taken(self) -> None:
        """Wait until every out-neighbour of the last round has taken the last version; bounded."""
        listeners = [
            i
            for i in self.topology.out_neighbours(self.rank)
            if self.rank in self.topology.row(i, self._round - 1)[1]
        ]

        def pending() -> bool:
            return any(
                self.transport.acknowledged(i) < self._version and self.transport.state(i).expected
                for i in listeners
            )

        self._wait_while(pending)

    def _wait_while(self, pending: Callable[[], bool]) -> None:
        start = time.monotonic()
        pause = 20e-6
        while pending() and not self._aborted() and time.monotonic() - start < self._timeout_s:
            time.sleep(pause)
            pause = min(pause * 1.5, 1e-3)
        self.counters.waited_s += time.monotonic() - start
