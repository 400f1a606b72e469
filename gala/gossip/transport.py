"""What carries messages: one small protocol, so that another transport is one more file."""

from __future__ import annotations

from enum import IntEnum
from typing import Protocol

from torch import Tensor

from gala.gossip.message import Header


class PeerState(IntEnum):
    """What is known of a neighbour; the numbers are those of the metric ``gossip/in/<j>/state``."""

    JOINING = 0
    """Expected, nothing seen of it yet."""
    ACTIVE = 1
    SUSPECT = 2
    """Alive as a process, silent beyond its deadline."""
    DOWN = 3
    LEFT = 4
    """Finished or left on purpose."""

    @property
    def expected(self) -> bool:
        """Whether it makes sense to wait for a message of it."""
        return self <= PeerState.SUSPECT


class Transport(Protocol):
    """A mailbox: every agent publishes, every agent may look at what another one published.

    The newest message wins; none of these calls waits for another agent.
    """

    def publish(self, header: Header, vector: Tensor) -> None:
        """Put ``vector`` (Float32[P], any device) where the others can see it."""
        ...

    def version(self, peer: int) -> int:
        """Version of the newest message of ``peer``, 0 when there is none. Cheap."""
        ...

    def latest(self, peer: int) -> tuple[Header, Tensor] | None:
        """Newest whole message of ``peer``: its header and Float32[P], valid until the next call
        for the same peer; None when there is none, or none that could be read whole just now.

        Raises:
            Refused: the message breaks a rule.
        """
        ...

    def acknowledge(self, peer: int, version: int) -> None:
        """Tell ``peer`` that its message ``version`` was taken (lock-step)."""
        ...

    def acknowledged(self, peer: int) -> int:
        """Newest version of own messages that ``peer`` said it took; 0 for none."""
        ...

    def state(self, peer: int) -> PeerState:
        """What is known of ``peer``."""
        ...

    def close(self) -> None:
        """Leave: the others see LEFT."""
        ...
