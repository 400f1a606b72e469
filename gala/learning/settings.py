"""What every algorithm's section of the configuration contains."""

from __future__ import annotations

from dataclasses import dataclass

from gala.config.fields import Fraction, NonNegativeFloat, Positive
from gala.parameters.optimizer_config import OptimizerConfig, Schedule


@dataclass(frozen=True, kw_only=True)
class LearnerConfig(OptimizerConfig):
    """An actor-critic that learns from unrolls; own algorithms may add fields to it."""

    n_step: Positive = 5
    """Steps in each environment between two updates."""
    gamma: Fraction = 0.99
    """Discount per step."""
    value_coef: NonNegativeFloat = 0.5
    """Weight of the value loss."""
    entropy_coef: NonNegativeFloat = 0.01
    """Weight of the entropy bonus."""
    entropy_schedule: Schedule = "constant"
    """linear: to 0 at total_steps."""
