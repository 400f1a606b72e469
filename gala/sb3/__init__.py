"""Gossip for Stable-Baselines3: ``model.learn(steps, callback=GossipCallback("ring"))``."""

from gala.sb3.callback import GossipCallback

__all__ = ["GossipCallback"]
