"""Runs whose agents are known exactly."""

from made_runs import atari_run, identity_run, normalizing_run

__all__ = ["atari_run", "identity_run", "normalizing_run"]
