"""Sights: what an agent in lock-step sees of its neighbours, and whom it has given up."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from gala.gossip import lock_step
from gala.gossip.lock_step import Sight
from gala.gossip.notes import Notes
from gala.gossip.patience import Patience
from gala.gossip.transport import Transport
from gala.topology import Topology


class Sights:
    """The phases of the neighbours of one agent, see :mod:`gala.gossip.lock_step`.

    Args:
        transport: shows their words.
        topology: says who they are.
        rank: index of the agent.
        patience: of this agent.
        notes: is told who was waited for in vain.

    Attributes:
        founder: whether this agent is one of those who begin together; see
            :func:`gala.gossip.lock_step.waited_for`.
    """

    def __init__(
        self,
        transport: Transport,
        topology: Topology,
        rank: int,
        patience: Patience,
        notes: Notes,
    ) -> None:
        self._transport, self._patience, self._notes = transport, patience, notes
        self._in_neighbours = tuple(topology.in_neighbours(rank))
        self._out_neighbours = tuple(topology.out_neighbours(rank))
        self._words: dict[int, tuple[int, int]] = {}
        self._given_up: set[int] = set()
        self.founder = True

    def look(self, peer: int) -> Sight:
        """What ``peer`` shows now; a word of it ends that it is given up."""
        # Before the state: who has a word and then is seen to join has come back. One that speaks
        # up for the first time signs first, and so never looks like that.
        heard = self._transport.version(peer) > 0
        # The state before the words: of an agent that speaks they are of this incarnation then.
        sign = self._transport.state(peer)
        words = self._transport.version(peer), self._transport.acknowledged(peer)
        if words != self._words.get(peer, (0, 0)):
            self._words[peer] = words
            self._given_up.discard(peer)
        phase = lock_step.phase_of(sign, heard=heard, given_up=peer in self._given_up)
        return Sight(phase=phase, version=words[0], taken=words[1])

    def through_with(self, version: int) -> None:
        """Say to every in-neighbour that its messages up to ``version`` are needed no more."""
        for j in self._in_neighbours:
            self._transport.acknowledge(j, version)

    def await_while(self, missing: Callable[[], set[int]]) -> None:
        """Wait for those who are ``missing``; given up is who is so after the longest wait."""
        given_up = self._patience.wait_while(missing)
        self._given_up.update(given_up)
        for j in sorted(given_up):
            text = f"agent {j} was waited for in vain, until its next word"
            self._notes.events.append(("suspect", text))

    def lacking_messages(self, own: int, in_neighbours: Iterable[int]) -> set[int]:
        """Those whose message the mix of version ``own`` must wait for."""
        return {
            j
            for j in in_neighbours
            if lock_step.lacks_message(own, self.look(j), founder=self.founder)
        }

    def lacking_taking(self, own: int, out_neighbours: Iterable[int]) -> set[int]:
        """Those that version ``own`` must stay published for."""
        return {
            i
            for i in out_neighbours
            if lock_step.lacks_taking(own, self.look(i), founder=self.founder)
        }

    def front(self, own: int) -> int:
        """The most advanced version among this agent, at ``own``, and its neighbours."""
        return lock_step.front(
            own, map(self.look, self._in_neighbours), map(self.look, self._out_neighbours)
        )
