"""What every algorithm's section of the configuration contains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gala.config.fields import Fraction, NonNegative, NonNegativeFloat, Positive
from gala.parameters.optimizer_config import OptimizerConfig, Schedule


@dataclass(frozen=True, kw_only=True)
class AlgorithmConfig(OptimizerConfig):
    """Of every algorithm, whatever it learns from."""

    search: ClassVar[tuple[str, ...]] = (
        "lr=1e-5..1e-2:log",
        "gamma=0.9,0.95,0.98,0.99,0.995,0.999",
    )
    """What ``gala tune`` tries, in the notation of :mod:`gala.tune.space`."""
    MEMORY: ClassVar[str] = "none"
    """Of its network, unless asked otherwise."""

    n_step: Positive = 5
    """Steps in each environment between two updates."""
    gamma: Fraction = 0.99
    """Discount per step."""


@dataclass(frozen=True, kw_only=True)
class LearnerConfig(AlgorithmConfig):
    """An actor-critic that learns from unrolls; own algorithms may add fields to it."""

    search: ClassVar[tuple[str, ...]] = (
        *AlgorithmConfig.search,
        "n_step=5,8,16,32",
        "entropy_coef=1e-8..0.1:log",
        "value_coef=0.25..1.0",
    )
    value_coef: NonNegativeFloat = 0.5
    """Weight of the value loss."""
    entropy_coef: NonNegativeFloat = 0.01
    """Weight of the entropy bonus."""
    entropy_schedule: Schedule = "constant"
    """linear: to 0 at total_steps."""


@dataclass(frozen=True, kw_only=True)
class SequencesConfig(AlgorithmConfig):
    """A learner of sequences that a replay keeps, drawn by how surprising they were."""

    MEMORY: ClassVar[str] = "lstm"

    n_step: Positive = 40
    """Steps in each environment between two updates: a sequence."""
    gamma: Fraction = 0.997
    """Discount per step."""
    sequences: Positive = 64
    """Sequences of an optimizer step."""
    updates: Positive = 1
    """Optimizer steps of an update, each on sequences of its own."""
    burn_in: NonNegative = 40
    """Steps before a sequence that the memory goes through first; a multiple of n_step."""
    priority_exponent: Fraction = 0.9
    """Sequences are drawn by their priority to the power of this; 0: all equally."""
    importance_exponent: Fraction = 0.6
    """Share of that which their weight in the loss takes back."""
    epsilon: Fraction = 0.4
    """Largest probability of an action by chance, of all environments of all agents ..."""
    epsilon_spread: NonNegativeFloat = 7.0
    """... the smallest is it to the power of 1 + this; those between are spread evenly."""
