"""Runs whose agents are known exactly."""

from made_runs import identity_run, normalizing_run

__all__ = ["identity_run", "normalizing_run"]
