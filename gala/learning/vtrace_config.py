"""Section ``vtrace`` of the configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gala.config.fields import Fraction, Positive, PositiveFloat
from gala.learning.settings import LearnerConfig


@dataclass(frozen=True, kw_only=True)
class VTraceConfig(LearnerConfig):
    """Actor-critic with V-trace targets (IMPALA, Espeholt et al. 2018)."""

    search: ClassVar[tuple[str, ...]] = (*LearnerConfig.search, "trace_lambda=0.8,0.9,0.95,1.0")

    n_step: Positive = 20
    """Steps in each environment between two updates."""
    trace_lambda: Fraction = 1.0
    """Lambda: fades the correction by later steps; 1 in the paper."""
    rho_clip: PositiveFloat = 1.0
    """Rho-bar: importance weights of the temporal differences are clipped to it."""
    c_clip: PositiveFloat = 1.0
    """C-bar: importance weights that carry corrections back in time are clipped to it."""
    pg_rho_clip: PositiveFloat = 1.0
    """Importance weights of the policy gradient are clipped to it."""
