"""Thousands of virtual agents under virtual time: what a cluster would do that one does not own."""

from gala.simulation.prediction import Prediction, simulate
from gala.simulation.scenario import Scenario

__all__ = ["Prediction", "Scenario", "simulate"]
