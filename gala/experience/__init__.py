"""Collecting trajectories: preallocated [T, B] arrays, filled by acting in the simulators."""

from gala.experience.collector import Collector, Rollout

__all__ = ["Collector", "Rollout"]
