"""One agent's part in the gossip: publish after each update, mix when the neighbours are fresh.

Nothing here is a collective operation and nothing waits, except an agent that reached its
``max_staleness``, and that one only for neighbours that are alive, and not for ever. Who waits for
whom in lock-step is :mod:`gala.gossip.lock_step`.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Literal

import torch
from torch import Tensor

from gala.gossip import lock_step, message
from gala.gossip.adopting import Adopting, moved
from gala.gossip.arrivals import Ages, Arrivals
from gala.gossip.counters import GossipCounters
from gala.gossip.judging import Parts, Screen
from gala.gossip.membership import Changes, Membership, PeerState
from gala.gossip.message import NEVER, Header, Identity, Refusal, Refused
from gala.gossip.mixing import Averaging, Mixer
from gala.gossip.notes import Notes
from gala.gossip.outbox import Outbox
from gala.gossip.patience import Patience
from gala.gossip.sights import Sights
from gala.gossip.transport import Transport
from gala.gossip.trust import QUARANTINE, Quarantine
from gala.gossip.wire import Exact, Wire
from gala.telemetry.history import History
from gala.topology import Topology

WINDOW = 256
"""Mixes over which the largest staleness and message age are kept."""

FASTER = 64
"""Steps beyond so many times the own ones are not believed to have been done by a neighbour."""

Policy = Literal["never", "skip", "wait"]
BeforeMix = Callable[[Mapping[int, float], Mapping[int, Tensor], Mapping[int, int]], None]


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
        every: updates from one version to the next, as far as lock-step can tell.
        policy: at ``max_staleness``, ``wait`` for the missing, ``skip`` them (their weight stays
            with self for this mix), or ``never`` do either.
        timeout_s: longest wait; then the missing neighbour's weight stays with self: for this mix,
            in lock-step until there is a word of it.
        partial: mix with whoever is fresh, instead of when all that live are; for agents that
            publish only when their parameters moved, or not to all at once.
        trust_factor: messages from beyond the trust radius with this factor are refused, see
            :class:`~gala.gossip.trust.TrustRadius`; None: any finite message is believed.
        moved: asked for the L2 norm of this agent's largest recent update, for that radius.
        parts: the tensors of ``vector``, for that radius; None: one.
        history: is told of all that enters and leaves the parameters; None: nobody is.
        incarnation: restarts of this agent so far.
        asked: asked during waits; True once the agent is to stop: from then on none takes long.
        aborted: asked during waits; True ends them.
        notes: where the transport, too, leaves what it has to tell; None: new ones.

    Attributes:
        staleness: updates since the last mix.
        stop_at: in lock-step, the update after which all agents stop, agreed by gossip.
        refused: messages refused, by reason.
        messages: newest accepted header of each in-neighbour.
        members: the state of each in-neighbour.
        before_mix: called with the weights of the row, the received parameters, and the local
            updates that their senders had done.
        events: (kind, text) of what happened to neighbours; whoever logs takes them.
        partial, every: as given.
        patience: waits for others, and counts the seconds.
        jumped: updates that the last mix left out to join the others anew.
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
        every: int = 1,
        policy: Policy = "wait",
        timeout_s: float = 60.0,
        partial: bool = False,
        trust_factor: float | None = None,
        moved: Callable[[], float] = lambda: 0.0,
        parts: Parts | None = None,
        history: History | None = None,
        incarnation: int = 0,
        asked: Callable[[], bool] = lambda: False,
        aborted: Callable[[], bool] = lambda: False,
        notes: Notes | None = None,
    ) -> None:
        self.rank, self.topology, self.transport = rank, topology, transport
        self._vector = vector
        self._mixer = mixer if mixer is not None else Averaging(vector, topology.discount)
        self._wire = wire if wire is not None else Exact(vector.numel(), torch.float32)
        self._max_staleness, self._policy, self.every = max_staleness, policy, every
        self._ages = Ages(time.monotonic())
        self.patience = Patience(
            timeout_s,
            update_s=lambda: self._ages.update_s,
            asked=lambda: asked() or self.stop_at != NEVER,
            aborted=aborted,
        )
        self.partial = partial
        self.before_mix: BeforeMix | None = None
        self._screen = Screen(trust_factor, parts, moved)
        self._quarantine, self._history = Quarantine(), history
        self.members = Membership(self.neighbours, transport.state)
        notes = self._notes = notes if notes is not None else Notes()
        self.events, self.refused = notes.events, notes.refused
        self.members.changed = Changes(self.events.append, self._mixer.forget)
        self.counters = GossipCounters()
        self._adopting = Adopting(transport, self._wire, self._mixer, notes, self.lock_step)
        self._adopting.history = history
        self.messages: dict[int, Header] = {}
        self.staleness, self.stop_at = 0, NEVER
        # in lock-step a version is a position among the others, which a newcomer takes over
        self._version = 0 if self.lock_step else incarnation * message.VERSIONS_PER_INCARNATION
        self._outbox = Outbox(transport, topology, rank, identity, incarnation, self._wire)
        self._outbox.history, self._outbox.learned = history, parts.learned if parts else None
        self._outbox.record = self._mixer.record_sent
        self._sights = Sights(transport, topology, rank, self.patience, notes)
        self._arrivals = Arrivals()
        self._steps = self._update = self._round = self.jumped = 0
        self._used: dict[int, int] = {}
        self._used_at: dict[int, float] = {}
        self._recent_staleness: deque[int] = deque(maxlen=WINDOW)

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
        return self._ages.largest

    @property
    def copies(self) -> list[tuple[int, ...]]:
        """All out-neighbours, by the copy of a message that serves them, in turns."""
        return self._outbox.copies

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
        if self.lock_step and self._outbox.last is not None:
            self._await_taken()
            if self.counters.sent >= self.topology.period:  # all neighbours had their turn
                self._sights.founder = False
        self.rest()
        self._steps, self._update = max(self._steps, step), update
        self._version += 1
        self._put(update, step, self._round, copies)

    def _put(self, update: int, step: int, round_: int, copies: int | None = None) -> None:
        self._outbox.put(
            self._mixer.outgoing(self._living_out_neighbours),
            version=self._version,
            update=update,
            step=step,
            round_=round_,
            stop_at=self.stop_at,
            copies=copies,
        )
        self.counters.sent += 1

    def rest(self) -> None:
        """One more update that is not published."""
        self._ages.tick(time.monotonic())
        self.staleness += 1

    def mix(self) -> bool:
        """Average with the in-neighbours of this round if all of them are fresh (lines 8-9).

        Returns:
            Whether the parameters were mixed.
        """
        self_weight, weights = self.topology.row(self.rank, self._round)
        self.jumped = 0
        if self.lock_step:
            self._await_messages(weights)
            if self._is_left_behind():
                return self._join_anew()
            fresh = {j for j in weights if lock_step.mixable(self._version, self._arrived(j))}
        elif (found := self._fresh(set(weights))) is not None:
            fresh = found
        else:
            return False
        received = {}
        for j in sorted(fresh):
            vector = self._take(j)
            if vector is not None:
                received[j] = vector
        self._round += 1
        if self.lock_step:  # also towards those whose message was missing: it is needed no more
            self._sights.through_with(self._version)
        if not received:
            return False
        if self.before_mix is not None:
            self.before_mix(weights, received, {j: self.messages[j].update for j in received})
        entered = self._mixer.mix(self_weight, weights, received, self._ages.of)
        if self._history is not None:
            self._mixer.record(self._history, entered, self.messages)
        self._recent_staleness.append(self.staleness)
        self.staleness = 0
        self.counters.mixes += 1
        return True

    def _fresh(self, wanted: set[int]) -> set[int] | None:
        """Neighbours to mix with, asynchronously; None: not yet."""
        if not wanted:
            self._round += 1
            return None
        now = time.monotonic()
        fresh = {j for j in wanted if self._is_fresh(j)}
        for j in wanted - fresh:
            self.members.look(j, now)
        patient = self._mixer.needs_all and not self.partial
        if patient and any(self._is_needed(j) for j in wanted - fresh):
            impatient = self._max_staleness is not None and self.staleness > self._max_staleness
            if impatient and self._policy == "wait":
                return self._await_fresh(wanted)
            if not (impatient and self._policy == "skip"):
                return None
        return fresh

    def adopt(self, *, timeout_s: float = 0.0) -> Header | None:
        """Take over the parameters and the round of the most advanced living neighbour.

        For an agent that joins a running group, before it publishes anything. In lock-step it
        publishes what it adopted, at the position that it takes: from then on it is waited for.

        Args:
            timeout_s: how long to wait for a first message, where connections must form first.

        Returns:
            Header of the message that was adopted; None when nobody is there.
        """
        deadline = time.monotonic() + timeout_s
        while (header := self._adopting.adopt(self.neighbours)) is None:
            if time.monotonic() >= deadline or self.patience.ended:
                return None
            time.sleep(0.005)
        self._steps = max(self._steps, header.step)
        if self.lock_step:
            return self._take_position(header)
        self._round = header.round
        self._used[header.rank] = header.version
        self.transport.acknowledge(header.rank, header.version)
        return header

    def _take_position(self, header: Header) -> Header:
        """Speak up at the position of ``header``, or further on where out-neighbours are.

        Returns:
            ``header``, moved to the position that was taken.
        """
        self._sights.founder = False
        for _ in range(self.topology.agents):
            header = moved(header, max(header.version, self._foremost_version()), self.every)
            self._version, self._round = header.version, header.round + 1
            self.stop_at = min(self.stop_at, header.stop_at)
            self._sights.through_with(self._version)  # before the word that makes it waited for
            self._put(header.update, header.step, header.round)
            if lock_step.in_place(self._version, self._sights.front(self._version)):
                break
            # the others went on before they could know of this one: once more, now they wait
            header = self._adopting.adopt(self.neighbours, above=self._version) or header
        return header

    def _foremost_version(self) -> int:
        """Of neighbours, by a whole message: words in a mailbox could be anything."""
        everybody = {*self.neighbours, *self.topology.out_neighbours(self.rank)}
        found = self._adopting.foremost(everybody)
        return found[0].version if found is not None else 0

    def _is_left_behind(self) -> bool:
        own, agents = self._version, self.topology.agents
        return lock_step.left_behind(own, self._sights.front(own), agents) and (
            lock_step.left_behind(own, self._foremost_version(), agents)
        )

    def _join_anew(self) -> bool:
        """Take a position among those who went on without this agent; whether anything changed."""
        sent, version = self._outbox.last, self._version
        assert sent is not None, "an agent mixes what it published"
        newest = self._adopting.adopt(self.neighbours, above=version)
        self._take_position(newest or sent)
        self.jumped = self.every * (self._version - version)
        self.events.append(("join", f"was left behind by {self.jumped} updates"))
        return newest is not None

    def peer_state(self, peer: int) -> PeerState:
        """State of ``peer`` as it is known now."""
        self._arrived(peer)
        return self.members.look(peer, time.monotonic())

    def steps_of(self, peer: int) -> int:
        """Environment steps that ``peer`` is known to have done; 0 where nothing can be believed.

        What a neighbour claims must not end the run of all: a claim beyond ``FASTER`` times the
        own steps counts for nothing.
        """
        claims = [self.transport.steps(peer)]
        if peer in self.messages:
            claims.append(self.messages[peer].step)
        return max((n for n in claims if 0 <= n <= FASTER * self._steps), default=0)

    def age_s(self, peer: int) -> float | None:
        """Seconds since a message of ``peer`` was last used, by the own clock; None: never."""
        used_at = self._used_at.get(peer)
        return time.monotonic() - used_at if used_at is not None else None

    def snapshot(self, peers: Iterable[int] | None = None) -> dict[int, Tensor]:
        """Newest parameters of every agent (of ``peers``) whose mailbox can be read, and own ones.

        Float32[P] each, on the CPU. Reading disturbs nobody, but takes a copy per agent: for
        measurements, not for every update. Empty but for the own ones where messages are not
        parameters (push-sum).
        """
        found = {self.rank: self._vector.detach().to("cpu", copy=True)}
        if self._mixer.needs_all:
            wanted = range(self.topology.agents) if peers is None else peers
            found |= self._adopting.readable(j for j in wanted if j != self.rank)
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
            self._sights.through_with(self._version)

    def close(self) -> None:
        """Leave; the neighbours see it and go on without.

        In lock-step a version is there until every living out-neighbour is through with it, the
        last one, too: who has yet to open the mailbox of this agent would miss it.
        """
        if self.lock_step and self._outbox.last is not None:
            self._await_taken()
        self.transport.close()

    def _arrived(self, peer: int) -> int:
        """Version of the newest message of ``peer``; keeps book of arrivals."""
        version, now = self.transport.version(peer), time.monotonic()
        if self._arrivals.look(peer, version, now):
            self.members.arrived(peer, now)
            # a version from the future is forgotten when the sender speaks on from a lower one
            self._used[peer] = min(self._used.get(peer, 0), version - 1)
        return version

    def _is_fresh(self, peer: int) -> bool:
        return self._arrived(peer) > self._used.get(peer, 0)

    def _is_needed(self, peer: int) -> bool:
        """Whether a mix without a message of ``peer`` would be premature."""
        if peer in self._quarantine:
            return False
        return self.members[peer] is PeerState.ACTIVE

    def _living_out_neighbours(self) -> int:
        state, version = self.transport.state, self.transport.version
        peers = self.topology.out_neighbours(self.rank, self._round)
        return sum(state(i).takes(together=self.lock_step and not version(i)) for i in peers)

    def _take(self, peer: int) -> Tensor | None:
        try:
            latest = self.transport.latest(peer)
            if latest is None:
                return None
            header, payload = latest
            if self.lock_step and not lock_step.mixable(self._version, header.version):
                return None
            message.require_possible(header)
            vector = self._wire.decode(payload)
            typical = 1.0 if self.lock_step else self.members.rhythms[peer].typical
            vector = self._screen.admit(
                peer,
                vector,
                self._mixer.staged if self._mixer.needs_all else None,
                now=float(self._version) if self.lock_step else time.monotonic(),
                updates=self._ages.updates,
                apart=abs(header.update - self._update),
                typical=typical,
            )
        except Refused as refused:
            self._refuse(peer, refused.reason)
            return None
        self._used[peer] = header.version
        self._used_at[peer] = time.monotonic()
        self.transport.acknowledge(peer, header.version)
        if peer in self.messages and self.messages[peer].incarnation != header.incarnation:
            self._mixer.forget(peer)  # it came back before anybody noticed that it was gone
        self.messages[peer] = header
        if self._quarantine.accept(peer):
            text = f"agent {peer} left quarantine: its messages are good again"
            self.events.append(("alive", text))
        if self.lock_step:
            self.stop_at = min(self.stop_at, header.stop_at)
        else:
            claimed_s = time.time() - header.time
            self._ages.note(peer, self._arrivals, claimed_s, time.monotonic())
        self.counters.bytes_received += header.payload_bytes
        return vector

    def _refuse(self, peer: int, reason: Refusal) -> None:
        self._notes.refuse(reason)
        # Do not look at the same message again, and do not hold the sender up for it.
        version = self.transport.version(peer)
        self._used[peer] = version
        if 0 <= version < message.MAX_VERSION:
            self.transport.acknowledge(peer, version)
        if self._quarantine.refuse(peer):
            text = f"{QUARANTINE} messages in a row were refused, the last one: {reason}"
            self.events.append(("refused", f"agent {peer} is in quarantine: {text}"))

    def _await_fresh(self, wanted: set[int]) -> set[int]:
        """Wait until every wanted neighbour that is needed is fresh; bounded."""

        def missing() -> set[int]:
            stale = {j for j in wanted if not self._is_fresh(j)}
            for j in stale:
                self.members.look(j, time.monotonic())
            return {j for j in stale if self._is_needed(j)}

        self.patience.wait_while(missing)
        return {j for j in wanted if self._is_fresh(j)}

    def _await_messages(self, wanted: Iterable[int]) -> None:
        """Lock-step: wait until no in-neighbour of this round that counts is behind; bounded."""

        def missing() -> set[int]:
            behind = {j for j in wanted if self._arrived(j) < self._version}
            for j in behind:
                self.members.look(j, time.monotonic())
            good = {j for j in behind if j not in self._quarantine}
            return self._sights.lacking_messages(self._version, good)

        self._sights.await_while(missing)

    def _await_taken(self) -> None:
        """Wait until every out-neighbour of the last round is through with the last version."""
        out_neighbours = self.topology.out_neighbours(self.rank, max(self._round - 1, 0))
        self._sights.await_while(lambda: self._sights.lacking_taking(self._version, out_neighbours))
