"""Gossip-based actor-learner reinforcement learning (Assran et al. 2019, arXiv 1906.04585).

Importing this package is cheap: nothing heavy is loaded until it is used, so that the dashboard
and the command line start at once. ``gala.gossip(model, optimizer, topology=...)`` is the library
door for any PyTorch training loop.
"""

from __future__ import annotations

__version__ = "0.1.0"
