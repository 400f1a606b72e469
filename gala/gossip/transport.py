"""Transports carry messages: one small protocol, so that another transport is one more file."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from torch import Tensor

from gala.gossip.membership import PeerState
from gala.gossip.message import Header

__all__ = ["PeerState", "Transport"]


class Transport(Protocol):
    """A mailbox: every agent publishes, every agent may look at what another one published.

    The newest message wins; none of these calls waits for another agent.
    """

    @property
    def copies_sent(self) -> int:
        """Copies of payloads sent."""
        ...

    def publish(self, header: Header, payload: Tensor, to: Collection[int] | None = None) -> None:
        """Put ``payload`` (Uint8[B], sealed by ``header``) where the others see it.

        Args:
            header: of the message.
            payload: of the message.
            to: whom it is for, a union of what :meth:`copies` returned; None: everybody.
        """
        ...

    def copies(self, peers: Sequence[int]) -> list[tuple[int, ...]]:
        """``peers`` by the copy of a message that serves them: leaving some out saves bytes only
        where the others do not need the same copy.
        """
        ...

    def version(self, peer: int) -> int:
        """Version of the newest message of ``peer``, 0 when there is none. Cheap."""
        ...

    def latest(self, peer: int) -> tuple[Header, Tensor] | None:
        """Newest whole message of ``peer``: its header and Uint8[B], valid until the next call
        for the same peer; None when there is none, or none that could be read whole just now.

        Raises:
            Refused: the message breaks a rule.
        """
        ...

    def steps(self, peer: int) -> int:
        """Environment steps that ``peer`` is known to have done, 0 when nothing is known."""
        ...

    def acknowledge(self, peer: int, version: int) -> None:
        """Tell ``peer`` that its message ``version`` was taken (lock-step)."""
        ...

    def acknowledged(self, peer: int) -> int:
        """Newest version of own messages that ``peer`` acknowledged; 0 for none."""
        ...

    def state(self, peer: int) -> PeerState:
        """State of ``peer``: JOINING (nothing seen yet), ACTIVE, DOWN or LEFT.

        From its first word on it is never JOINING again: ACTIVE is seen no later than a version.
        """
        ...

    def close(self) -> None:
        """Leave: the others see LEFT."""
        ...
