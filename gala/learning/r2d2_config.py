"""Section ``r2d2`` of the configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gala.config.fields import Positive, PositiveFloat
from gala.learning.settings import SequencesConfig


@dataclass(frozen=True, kw_only=True)
class R2D2Config(SequencesConfig):
    """Recurrent replay distributed DQN (Kapturowski et al. 2019)."""

    horizon: Positive = 5
    """Rewards that are summed before the target network is asked for the rest."""
    rescale_eps: PositiveFloat = 1e-3
    """Epsilon of h(x) = sign(x) (sqrt(|x| + 1) - 1) + epsilon x, the scale of values."""
    target_every: Positive = 2500
    """Updates after which the target network is copied."""
    lr: PositiveFloat = 1e-4
    """Learning rate, before lr_scaling."""
    optimizer: Literal["rmsprop", "adam"] = "adam"
    """Optimizer of the flat parameter vector."""
    optimizer_eps: PositiveFloat = 1e-3
    """Epsilon of the optimizer's denominator."""
    max_grad_norm: PositiveFloat | None = 40.0
    """Clip the gradient's L2 norm."""
