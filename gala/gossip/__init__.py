"""Gossip: mailboxes, messages, the mixing rule and the node that uses them."""

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
