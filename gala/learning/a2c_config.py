"""Section ``a2c`` of the configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gala.config.fields import Fraction
from gala.learning.settings import LearnerConfig


@dataclass(frozen=True, kw_only=True)
class A2CConfig(LearnerConfig):
    """Advantage actor-critic (Mnih et al. 2016, synchronous form) of one agent."""

    search: ClassVar[tuple[str, ...]] = (*LearnerConfig.search, "gae_lambda=0.8,0.9,0.95,0.98,1.0")

    gae_lambda: Fraction = 1.0
    """Lambda of generalised advantage estimation; 1 gives plain n-step returns."""
    normalize_advantage: bool = False
    """Scale the advantages of one update to mean 0 and deviation 1."""
