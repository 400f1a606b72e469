"""One agent's part in the gossip: publish after each update, mix when the neighbours are fresh.

Nothing here is a collective operation and nothing waits, except an agent that reached its
``max_staleness``, and that one only for neighbours that are alive, and not for ever.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from gala.gossip import message
from gala.gossip.membership import Membership, PeerState
from gala.gossip.message import NEVER, VERSIONS_PER_INCARNATION, Header, Identity, Refusal, Refused
from gala.gossip.mixing import Averaging, Mixer
from gala.gossip.transport import Transport
from gala.gossip.trust import QUARANTINE, Quarantine, TrustRadius, distance_between
from gala.gossip.wire import Exact, Wire
from gala.topology import Topology

WINDOW = 256
"""Mixes over which the largest staleness and message age are kept."""

MAX_EVENTS = 1000
"""Events kept until somebody takes them."""

Policy = Literal["never", "skip", "wait"]
BeforeMix = Callable[[Mapping[int, float], Mapping[int, Tensor], Mapping[int, int]], None]


@dataclass(slots=True)
class GossipCounters:
    """Counters of what happened so far; all only grow."""

    mixes: int = 0
    sent: int = 0
    bytes_received: int = 0
    waited_s: float = 0.0


class GossipNode:
    """Publishes and mixes the parameters of one agent.

    Args:
        rank: index of this agent.
        topology: the in-neighbours of each agent, with their weights.
        vector: Float32[P], this agent's parameters, mixed in place.
        transport: what carries the messages.
        identity: what messages must agree on.
        wire: how parameters become bytes; None: float32 as they are.
        mixer: the rule by which received parameters enter; None: weighted averages.
        max_staleness: updates without a mix before ``policy`` is applied; 0 is lock-step: version k
            is mixed with version k of every in-neighbour, and version k + 1 is published only when
            every living out-neighbour has taken k. None: never.
        policy: at ``max_staleness``, ``wait`` for the missing, ``skip`` them (their weight stays
            with self for this mix), or ``never`` do either.
        timeout_s: longest wait; then the missing neighbour's weight stays with self for this mix.
        partial: mix with whoever is fresh, instead of when all that live are; for agents that
            publish only when their parameters moved, or not to all at once.
        trust_factor: messages from beyond the trust radius with this factor are refused, see
            :class:`~gala.gossip.trust.TrustRadius`; None: any finite message is believed.
        moved: asked for the L2 norm of this agent's largest recent update, for that radius.
        incarnation: restarts of this agent so far.
        aborted: asked during waits; True ends them.

    Attributes:
        staleness: updates since the last mix.
        stop_at: in lock-step, the update after which all agents stop, agreed by gossip.
        refused: messages refused, by reason.
        messages: newest accepted header of each in-neighbour.
        members: the state of each in-neighbour.
        before_mix: called with the weights of the row, the received parameters, and the local
            updates that their senders had done.
        events: (kind, text) of what happened to neighbours; whoever logs takes them.
        partial: as given.
    """

    def __init__(
        self,
        *,
        rank: int,
        topology: Topology,
        vector: Tensor,
        transport: Transport,
        identity: Identity,
        wire: Wire | None = None,
        mixer: Mixer | None = None,
        max_staleness: int | None = None,
        policy: Policy = "wait",
        timeout_s: float = 60.0,
        partial: bool = False,
        trust_factor: float | None = None,
        moved: Callable[[], float] = lambda: 0.0,
        incarnation: int = 0,
        aborted: Callable[[], bool] = lambda: False,
    ) -> None:
        self.rank, self.topology, self.transport = rank, topology, transport
        self._vector, self._identity = vector, identity
        self._mixer = mixer if mixer is not None else Averaging(vector, topology.discount)
        self._wire = wire if wire is not None else Exact(vector.numel(), torch.float32)
        self._max_staleness, self._policy = max_staleness, policy
        self._timeout_s, self._aborted = timeout_s, aborted
        self.partial = partial
        self.before_mix: BeforeMix | None = None
        self._trust = TrustRadius(trust_factor, moved) if trust_factor is not None else None
        self._quarantine = Quarantine()
        self._incarnation = incarnation
        self.members = Membership(self.neighbours, transport.state)
        self.members.changed = self._on_change
        self.events: deque[tuple[str, str]] = deque(maxlen=MAX_EVENTS)
        self.counters = GossipCounters()
        self.refused: Counter[Refusal] = Counter()
        self.messages: dict[int, Header] = {}
        self.staleness = 0
        self.stop_at = NEVER
        self._version = incarnation * VERSIONS_PER_INCARNATION
        self._round = 0
        # beginning with the next rank, so that agents in step do not all send to the same one
        self._out_neighbours = sorted(
            topology.out_neighbours(rank), key=lambda i: (i - rank) % topology.agents
        )
        self._turn = 0
        self._known: set[int] = set()
        self._seen: dict[int, int] = {}
        self._used: dict[int, int] = {}
        self._examined: dict[int, float] = {}
        self._ages: dict[int, int] = {}
        self._update_s = 0.0
        self._updated_at: float | None = None
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

    @property
    def copies(self) -> list[tuple[int, ...]]:
        """All out-neighbours, by the copy of a message that serves them, in turns."""
        return self.transport.copies(self._out_neighbours)

    @property
    def bytes_sent(self) -> int:
        """Bytes of parameters sent."""
        return self.transport.copies_sent * self._wire.payload_bytes

    def publish(self, *, update: int, step: int, copies: int | None = None) -> None:
        """Put the parameters into the mailbox (Algorithm 1, line 7). Waits in lock-step only.

        Args:
            update: local updates done.
            step: environment steps done.
            copies: how many of :attr:`copies` to send, the next in turn; None: all.
        """
        if self.lock_step and self._updated_at is not None:
            self._await_taken()
        self.rest()
        self._version += 1
        payload = self._wire.encode(self._mixer.outgoing(self._living_out_neighbours))
        header = Header(
            identity=self._identity,
            rank=self.rank,
            incarnation=self._incarnation,
            version=self._version,
            update=update,
            step=step,
            round=self._round,
            stop_at=self.stop_at,
            time=time.time(),
        )
        self.transport.publish(message.sealed(header, payload), payload, self._next(copies))
        self.counters.sent += 1

    def rest(self) -> None:
        """One more update that is not published."""
        now = time.monotonic()
        if self._updated_at is not None:
            self._update_s += (now - self._updated_at - self._update_s) * (
                0.1 if self._update_s else 1.0
            )
        self._updated_at = now
        self.staleness += 1

    def mix(self) -> bool:
        """Average with the in-neighbours of this round if all of them are fresh (lines 8-9).

        Returns:
            Whether the parameters were mixed.
        """
        self_weight, weights = self.topology.row(self.rank, self._round)
        if not weights:
            self._round += 1
            return False
        now = time.monotonic()
        fresh = {j for j in weights if self._is_fresh(j)}
        for j in weights.keys() - fresh:
            self.members.look(j, now)
        patient = self._mixer.needs_all and not self.partial
        if patient and any(self._is_needed(j) for j in weights.keys() - fresh):
            impatient = self._max_staleness is not None and self.staleness > self._max_staleness
            if self.lock_step or (impatient and self._policy == "wait"):
                fresh = self._await_fresh(set(weights))
            elif not (impatient and self._policy == "skip"):
                return False
        received = {}
        for j in sorted(fresh):
            vector = self._take(j)
            if vector is not None:
                received[j] = vector
        self._round += 1
        if not received:
            return False
        if self.before_mix is not None:
            self.before_mix(weights, received, {j: self.messages[j].update for j in received})
        self._mixer.mix(self_weight, weights, received, self._ages)
        self._recent_staleness.append(self.staleness)
        self.staleness = 0
        self.counters.mixes += 1
        return True

    def adopt(self, *, timeout_s: float = 0.0) -> Header | None:
        """Take over the parameters and the round of the most advanced living neighbour.

        For an agent that joins a running group, before it publishes anything.

        Args:
            timeout_s: how long to wait for a first message, where connections must form first.

        Returns:
            Header of the message that was adopted; None when nobody is there.
        """
        deadline = time.monotonic() + timeout_s
        looked: dict[int, int] = {}
        while (header := self._adopt_newest(looked)) is None:
            if time.monotonic() >= deadline or self._aborted():
                return None
            time.sleep(0.005)
        self._round = header.round
        if self.lock_step:
            self._version = header.version
        self._used[header.rank] = header.version
        self.transport.acknowledge(header.rank, header.version)
        return header

    def _adopt_newest(self, looked: dict[int, int]) -> Header | None:
        """Try the most advanced message not in ``looked`` (version by neighbour)."""
        found: tuple[Header, Tensor] | None = None
        for j in self.neighbours:
            if self.transport.state(j) is not PeerState.ACTIVE:
                continue
            with contextlib.suppress(Refused):
                latest = self.transport.latest(j)
                if latest is None or latest[0].version == looked.get(j):
                    continue
                if found is None or latest[0].update > found[0].update:
                    found = latest
        if found is None:
            return None
        header, payload = found
        looked[header.rank] = header.version
        return header if self._mixer.adopt(header.rank, self._wire.decode(payload)) else None

    def peer_state(self, peer: int) -> PeerState:
        """State of ``peer`` as it is known now."""
        self._is_fresh(peer)
        return self.members.look(peer, time.monotonic())

    def snapshot(self, peers: Iterable[int] | None = None) -> dict[int, Tensor]:
        """Newest parameters of every agent (of ``peers``) whose mailbox can be read, and own ones.

        Float32[P] each, on the CPU. Reading disturbs nobody, but takes a copy per agent: for
        measurements, not for every update. Empty but for the own ones where messages are not
        parameters (push-sum).
        """
        found = {self.rank: self._vector.detach().to("cpu", copy=True)}
        if peers is None:
            peers = range(self.topology.agents)
        for peer in peers if self._mixer.needs_all else ():
            if peer != self.rank:
                with contextlib.suppress(Refused):
                    latest = self.transport.latest(peer)
                    if latest is not None:
                        found[peer] = self._wire.decode(latest[1]).to("cpu", copy=True)
        return found

    def state_dict(self) -> dict[str, int]:
        """Counters from which :meth:`load_state_dict` goes on in the same round."""
        return {"version": self._version, "round": self._round, "staleness": self.staleness}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from :meth:`state_dict`; in lock-step all agents must come from the same update."""
        # a version of an earlier incarnation would look old to the neighbours
        self._version = max(state["version"], self._version)
        self._round, self.staleness = state["round"], state["staleness"]
        if self.lock_step:  # what the neighbours published before counts as taken
            for j in self.neighbours:
                self.transport.acknowledge(j, self._version)

    def close(self) -> None:
        """Leave; the neighbours see it and go on without."""
        self.transport.close()

    def _next(self, count: int | None) -> frozenset[int] | None:
        """Whom the next ``count`` copies serve; None: everybody."""
        if count is None or count >= len(copies := self.copies):
            return None
        turns = range(self._turn, self._turn + count)
        self._turn += count
        return frozenset().union(*(copies[turn % len(copies)] for turn in turns))

    def _is_fresh(self, peer: int) -> bool:
        version = self.transport.version(peer)
        if version > self._seen.get(peer, 0):
            self._seen[peer] = version
            self.members.arrived(peer, time.monotonic())
        needed = self._version if self.lock_step else self._used.get(peer, 0) + 1
        return version >= needed

    def _is_needed(self, peer: int) -> bool:
        """Whether a mix without a message of ``peer`` would be premature."""
        if peer in self._quarantine:
            return False
        state = self.members[peer]
        return state.expected if self.lock_step else state is PeerState.ACTIVE

    def _living_out_neighbours(self) -> int:
        out_neighbours = self.topology.hearers(self.rank, self._round)
        return sum(self.transport.state(i).expected for i in out_neighbours)

    def _take(self, peer: int) -> Tensor | None:
        silence = self._silence(peer)
        try:
            latest = self.transport.latest(peer)
            if latest is None:
                return None
            header, payload = latest
            vector = self._wire.decode(payload)
            message.require_finite(vector)
            self._require_trust(peer, vector, silence)
        except Refused as refused:
            self._refuse(peer, refused.reason)
            return None
        self._used[peer] = header.version
        self.transport.acknowledge(peer, header.version)
        self.messages[peer] = header
        if self._quarantine.accept(peer):
            self.events.append(
                ("alive", f"agent {peer} left quarantine: its messages are good again")
            )
        if self.lock_step:
            self.stop_at = min(self.stop_at, header.stop_at)
            self._version = max(self._version, header.version)  # a joiner that lags catches up
        else:
            age_s = max(time.time() - header.time, 0.0)
            self._ages[peer] = -int(-age_s // self._update_s) if self._update_s else 1
            self._recent_delay.append(self._ages[peer])
        self.counters.bytes_received += header.payload_bytes
        return vector

    def _require_trust(self, peer: int, vector: Tensor, silence: float) -> None:
        if self._trust is None or not self._mixer.needs_all:
            return
        distance = distance_between(vector, self._mixer.staged)
        if not self._trust.accepts(peer, distance, silence):
            raise Refused(Refusal.DISTANCE)

    def _silence(self, peer: int) -> float:
        """Time since the last message of ``peer`` that was looked into, in its typical gaps."""
        now, typical = time.monotonic(), self.members.rhythms[peer].typical
        before = self._examined.get(peer, now)
        self._examined[peer] = now
        return (now - before) / typical if typical else 1.0

    def _refuse(self, peer: int, reason: Refusal) -> None:
        self.refused[reason] += 1
        # Do not look at the same message again, and do not hold the sender up for it.
        version = self.transport.version(peer)
        self._used[peer] = version
        self.transport.acknowledge(peer, version)
        if self._quarantine.refuse(peer):
            text = f"{QUARANTINE} messages in a row were refused, the last one: {reason}"
            self.events.append(("refused", f"agent {peer} is in quarantine: {text}"))

    def _on_change(self, peer: int, old: PeerState, new: PeerState) -> None:
        if new is PeerState.JOINING:
            return
        kind, text = _EVENTS[new]
        if new is PeerState.ACTIVE and peer in self._known:
            kind, text = "alive", "is back"
        self._known.add(peer)
        if new in (PeerState.DOWN, PeerState.LEFT):
            self._mixer.forget(peer)
        self.events.append((kind, f"agent {peer} {text}"))

    def _await_fresh(self, wanted: set[int]) -> set[int]:
        """Wait until every wanted neighbour that is needed is fresh; bounded."""

        def missing(peer: int) -> bool:
            if self._is_fresh(peer):
                return False
            self.members.look(peer, time.monotonic())
            return self._is_needed(peer)

        self._wait_while(lambda: any(map(missing, wanted)))
        return {j for j in wanted if self._is_fresh(j)}

    def _await_taken(self) -> None:
        """Wait until every out-neighbour of the last round has taken the last version; bounded."""
        out_neighbours = self.topology.hearers(self.rank, max(self._round - 1, 0))

        def pending() -> bool:
            return any(
                self.transport.acknowledged(i) < self._version and self.transport.state(i).expected
                for i in out_neighbours
            )

        self._wait_while(pending)

    def _wait_while(self, pending: Callable[[], bool]) -> None:
        start = time.monotonic()
        pause = 20e-6
        while pending() and not self._aborted() and time.monotonic() - start < self._timeout_s:
            time.sleep(pause)
            pause = min(pause * 1.5, 1e-3)
        self.counters.waited_s += time.monotonic() - start


_EVENTS = {
    PeerState.ACTIVE: ("join", "is there"),
    PeerState.SUSPECT: ("suspect", "is silent for longer than its habit explains"),
    PeerState.DOWN: ("dead", "is down; its weight stays with self"),
    PeerState.LEFT: ("leave", "has left"),
}
