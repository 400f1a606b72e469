"""Schedules: numbers that change over a run."""

from __future__ import annotations

from gala.parameters.optimizer_config import OptimizerConfig, Schedule

REFERENCE_ENVS = 16
"""Environments that a learning rate is meant for (GALA paper, appendix)."""


def scheduled(number: float, schedule: Schedule, left: float) -> float:
    """``number`` with ``left`` of the run to come, in [0, 1]; linear: falls to 0."""
    return number * left if schedule == "linear" else number


def scaled_lr(config: OptimizerConfig, envs: int) -> float:
    """The learning rate with ``envs`` environments over all agents.

    ``sqrt`` scaling: the configured rate is for 16 environments (GALA paper, appendix).
    """
    scale = (envs / REFERENCE_ENVS) ** 0.5 if config.lr_scaling == "sqrt" else 1.0
    return config.lr * scale
