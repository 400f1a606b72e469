"""Counters of one agent's gossip."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class GossipCounters:
    """Counters of what happened so far; all only grow."""

    mixes: int = 0
    sent: int = 0
    bytes_received: int = 0
