"""How an actor hears its learner: the mailbox that gossip uses on one host, without a name.

A message is the flat vector in float32 after the mix, under the header of gossip; its version is
the revision of the parameters, counted from one as 0 means that there is none.
"""

from __future__ import annotations

import contextlib
import time

import torch
from torch import Tensor

from gala.actors.memory import nameless_file
from gala.errors import UserError
from gala.gossip.mailbox import Mailbox
from gala.gossip.message import NEVER, Header, Identity, Refused, sealed
from gala.gossip.shared_memory import mailbox_bytes

NO_TOPOLOGY = "0" * 16


def identity_of(run_id: str, layout_hash: str) -> Identity:
    """What a learner and its actors share."""
    return Identity(run=run_id, topology=NO_TOPOLOGY, layout=layout_hash)


class Publisher:
    """The learner's side.

    Args:
        identity: see :func:`identity_of`.
        rank: of the agent.
        incarnation: restarts of the agent so far.
        payload_bytes: of the flat vector.

    Attributes:
        fd: of the mailbox, for actors to inherit.

    Raises:
        UserError: there is no memory for it.
    """

    def __init__(
        self, identity: Identity, *, rank: int, incarnation: int, payload_bytes: int
    ) -> None:
        self._identity, self._rank, self._incarnation = identity, rank, incarnation
        self.fd = nameless_file("gala-weights")
        size = mailbox_bytes(payload_bytes, 1)
        try:
            self._mailbox = Mailbox(self.fd, size, payload_bytes, create=True)
        except OSError as error:
            raise UserError(f"no memory for the mailbox of actors: {error.strerror}") from None

    def publish(self, vector: Tensor, revision: int) -> None:
        """Let actors act with ``vector``, Float32[P] on the CPU, from their next unroll on."""
        payload = vector.view(torch.uint8)
        header = Header(
            identity=self._identity,
            rank=self._rank,
            incarnation=self._incarnation,
            version=revision + 1,
            update=revision,
            step=0,
            round=0,
            stop_at=NEVER,
            time=time.time(),
        )
        self._mailbox.publish(sealed(header, payload), payload)

    def close(self) -> None:
        """Release the mailbox."""
        self._mailbox.close()


class Listener:
    """The actor's side.

    Args:
        fd: of the mailbox.
        identity: see :func:`identity_of`.
        rank: of the agent.
        payload_bytes: of the flat vector.

    Attributes:
        revision: of what was heard last; -1 before.
    """

    def __init__(self, fd: int, identity: Identity, *, rank: int, payload_bytes: int) -> None:
        self._identity, self._rank = identity, rank
        self._mailbox = Mailbox(fd, mailbox_bytes(payload_bytes, 1), payload_bytes)
        self._staging = torch.empty(payload_bytes, dtype=torch.uint8)
        self.revision = -1

    def hear(self) -> Tensor | None:
        """The newest parameters, Float32[P], valid until the next call; None: those known are.

        What is damaged is passed over: the next unroll looks again.
        """
        with contextlib.suppress(Refused):
            header = self._mailbox.newest(self._staging, identity=self._identity, rank=self._rank)
            if header is not None and header.version - 1 != self.revision:
                self.revision = header.version - 1
                return self._staging.view(torch.float32)
        return None
