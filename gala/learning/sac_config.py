"""Section ``sac`` of the configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from gala.config.fields import Positive, PositiveFloat
from gala.learning.settings import AlgorithmConfig


@dataclass(frozen=True, kw_only=True)
class SACConfig(AlgorithmConfig):
    """Soft actor-critic (Haarnoja et al. 2018), of quantities and of choices."""

    search: ClassVar[tuple[str, ...]] = (*AlgorithmConfig.search, "tau=1e-3..0.05:log")

    n_step: Positive = 1
    """Steps in each environment between two updates."""
    tau: Annotated[float, Field(gt=0, le=1)] = 0.005
    """Share of the critics in their targets after each optimizer step (Polyak)."""
    temperature: PositiveFloat = 1.0
    """Alpha at the start: what a nat of entropy is worth in reward."""
    target_entropy: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """Entropy that alpha is learned for, in nats; null: minus the numbers of a Box, half of that of
    equal choices."""
    lr: PositiveFloat = 3e-4
    """Learning rate of policy, critics and temperature, before lr_scaling."""
    optimizer: Literal["rmsprop", "adam"] = "adam"
    """Optimizer of the flat parameter vector."""
    optimizer_eps: PositiveFloat = 1e-8
    """Epsilon of the optimizer's denominator."""
    max_grad_norm: PositiveFloat | None = None
    """Clip the L2 norms of both gradients, of critics with temperature and of the policy."""
