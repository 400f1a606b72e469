"""Gossip-based actor-learner reinforcement learning (Assran et al. 2019, arXiv 1906.04585).

Importing this package is cheap: nothing heavy is loaded until it is used, so that the dashboard
and the command line start at once. ``gala.gossip(model, optimizer, topology=...)`` is the library
door for any PyTorch training loop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gala.gossip.api import gossip as gossip

__version__ = "0.2.0"


def __getattr__(name: str) -> Any:
    """``gala.gossip``, loaded when it is first used: it needs torch."""
    if name == "gossip":
        import importlib

        return importlib.import_module("gala.gossip")
    raise AttributeError(f"module 'gala' has no attribute {name!r}")
