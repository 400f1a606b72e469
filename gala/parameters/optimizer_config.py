"""Settings of the optimizer, which the section of every algorithm contains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import ConfigDict

from gala.config.fields import Beta, PositiveFloat

Schedule = Literal["constant", "linear"]


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """The optimizer of the flat parameter vector, and its learning rate."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    lr: PositiveFloat = 7e-4
    """Learning rate, before lr_scaling."""
    lr_schedule: Schedule = "constant"
    """linear: to 0 at total_steps."""
    lr_scaling: Literal["none", "sqrt"] = "none"
    """sqrt: times sqrt(environments of all agents / 16), as in the GALA paper."""
    optimizer: Literal["rmsprop", "adam"] = "rmsprop"
    """Optimizer of the flat parameter vector."""
    optimizer_eps: PositiveFloat = 1e-5
    """Epsilon of the optimizer's denominator."""
    rmsprop_alpha: Beta = 0.99
    """Smoothing of RMSProp's squared gradient."""
    adam_betas: tuple[Beta, Beta] = (0.9, 0.999)
    """Smoothing of Adam's gradient and of its square; [0, 0.99]: RMSProp with short first steps."""
    max_grad_norm: PositiveFloat | None = 0.5
    """Clip the gradient's L2 norm; null: never."""
