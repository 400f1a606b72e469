"""Gossip-based actor-learner reinforcement learning (Assran et al. 2019, arXiv 1906.04585).

Importing this package is cheap: nothing heavy is loaded until it is used, so that the dashboard
and the command line start at once. ``gala.gossip(model, optimizer, topology=...)`` is
for any PyTorch training loop, ``gala.alone()`` for frameworks that would synchronise the agents;
``gala.load(run)`` is the policy of a run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gala.library.apart import alone as alone
    from gala.library.api import gossip as gossip
    from gala.policy.loading import load as load

__version__ = "0.2.0"


def __getattr__(name: str) -> Any:
    """What needs torch, loaded when it is first used."""
    import importlib

    if name in ("gossip", "sb3"):
        return importlib.import_module(f"gala.{name}")
    if name == "alone":
        return importlib.import_module("gala.library.apart").alone
    if name == "load":
        return importlib.import_module("gala.policy.loading").load
    if name == "open_gossip":
        return importlib.import_module("gala.library.api").gossip
    raise AttributeError(f"module 'gala' has no attribute {name!r}")
