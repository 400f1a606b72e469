"""Adopting: which message a newcomer takes over, and which position."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import replace

from torch import Tensor

from gala.gossip import message
from gala.gossip.membership import PeerState
from gala.gossip.message import Header, Refused
from gala.gossip.mixing import Mixer
from gala.gossip.notes import Notes
from gala.gossip.transport import Transport
from gala.gossip.wire import Wire
from gala.telemetry.history import History


class Adopting:
    """Takes over what the most advanced neighbour published.

    Args:
        transport: carries messages.
        wire: decodes them.
        mixer: becomes what they say.
        notes: is told of messages that were not finite.
        lock_step: whether the newest version is the most advanced, not the most updates.

    Attributes:
        history: is told of what was adopted; None: nobody is.
    """

    def __init__(
        self, transport: Transport, wire: Wire, mixer: Mixer, notes: Notes, lock_step: bool
    ) -> None:
        self._transport, self._wire, self._mixer = transport, wire, mixer
        self._notes, self._lock_step = notes, lock_step
        self.history: History | None = None
        self._looked: dict[int, int] = {}

    def foremost(self, peers: Iterable[int]) -> tuple[Header, Tensor] | None:
        """The most advanced whole message of those of ``peers`` that are alive and speak."""
        found: tuple[Header, Tensor] | None = None
        for j in peers:
            if self._transport.state(j) is not PeerState.ACTIVE:
                continue
            with contextlib.suppress(Refused):
                latest = self._transport.latest(j)
                if latest is None or latest[0].version == self._looked.get(j):
                    continue
                message.require_possible(latest[0])
                if found is None or self._lead(latest[0]) > self._lead(found[0]):
                    found = latest
        return found

    def adopt(self, neighbours: Iterable[int], *, above: int = -1) -> Header | None:
        """Become what the foremost of ``neighbours`` is, if its version is ``above`` that one.

        A neighbour whose parameters are not finite is no one to begin with: the next best is asked.

        Returns:
            Header of what was adopted; None where there is nothing, or where one more message of
            the same neighbour is needed.
        """
        neighbours = tuple(neighbours)
        while (found := self.foremost(neighbours)) is not None and found[0].version > above:
            header, payload = found
            vector = self._wire.decode(payload)
            try:
                message.require_finite(vector)
            except Refused as refused:
                self._looked[header.rank] = header.version
                self._notes.refuse(refused.reason)
                text = f"agent {header.rank} is not joined: its message {refused.reason}"
                self._notes.events.append(("refused", text))
                continue
            if self._mixer.adopt(header.rank, vector):
                self._looked.clear()
                if self.history is not None and self._mixer.needs_all:
                    self.history.adopted(header.rank, header.incarnation, header.version)
                elif self.history is not None:  # sums over their weight, and a weight of one
                    self.history.mixed(None, {})
                    self.history.weighs(1.0)
                return header
            self._looked[header.rank] = header.version
            return None
        return None

    def readable(self, peers: Iterable[int]) -> dict[int, Tensor]:
        """Copies on the CPU of the newest parameters of those whose mailbox can be read."""
        found = {}
        for peer in peers:
            with contextlib.suppress(Refused):
                latest = self._transport.latest(peer)
                if latest is not None:
                    found[peer] = self._wire.decode(latest[1]).to("cpu", copy=True)
        return found

    def _lead(self, header: Header) -> int:
        return header.version if self._lock_step else header.update


def moved(header: Header, version: int, every: int = 1) -> Header:
    """``header`` as it would be at ``version`` in lock-step, each a round of ``every`` updates."""
    by = version - header.version
    update = header.update + every * by
    return replace(header, version=version, round=header.round + by, update=update)
