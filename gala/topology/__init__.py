"""Topologies: who averages whom, with which weight, in which round, read from a file.

``load_topology("topologies/ring.yaml", agents=4)`` or ``load_topology("ring", agents=4)`` gives a
:class:`Topology`. This room needs numpy, networkx and pydantic, never torch.
"""

from __future__ import annotations

from gala.topology.loading import load_topology
from gala.topology.topology import Topology

__all__ = ["Topology", "load_topology"]
