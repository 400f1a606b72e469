"""Gossip: mailboxes, messages, the mixing rule and the node that uses them.

The package can be called: ``gala.gossip(model, optimizer, topology="ring")`` is the library API,
:func:`gala.library.api.gossip`.
"""

from __future__ import annotations

import sys
import types
from typing import Any

from gala.gossip.message import Header, Identity, Refusal, Refused
from gala.gossip.mixing import mix_, without_missing
from gala.gossip.node import GossipNode
from gala.gossip.shared_memory import SharedMemoryTransport
from gala.gossip.transport import PeerState, Transport

__all__ = [
    "GossipNode",
    "Header",
    "Identity",
    "PeerState",
    "Refusal",
    "Refused",
    "SharedMemoryTransport",
    "Transport",
    "mix_",
    "without_missing",
]


class _CallableModule(types.ModuleType):
    """A module that can be called, so that ``gala.gossip`` is both package and function."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """See :func:`gala.library.api.gossip`."""
        import gala  # its own name: what is called stands on the roof, and this room below

        return gala.open_gossip(*arguments, **options)


sys.modules[__name__].__class__ = _CallableModule
