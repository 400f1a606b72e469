"""Section ``impact`` of the configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from gala.config.fields import Fraction, NonNegativeFloat, Positive, PositiveFloat
from gala.learning.settings import LearnerConfig


@dataclass(frozen=True, kw_only=True)
class ImpactConfig(LearnerConfig):
    """Importance-weighted asynchronous architecture with a clipped target network (IMPACT)."""

    search: ClassVar[tuple[str, ...]] = (
        *LearnerConfig.search,
        "trace_lambda=0.8,0.9,0.95,1.0",
        "replays=1..4",
        "target_every=1..32:log",
        "clip=0.2..0.6",
    )

    n_step: Positive = 20
    """Steps in each environment between two updates."""
    buffer: Positive = 4
    """N: newest batches that are kept and learned from again; 1: none but the new one."""
    replays: Positive = 2
    """K: optimizer steps per update, one for each batch that is served; so often each one is."""
    target: Literal["copy", "mix"] = "copy"
    """Target network: copied every target_every updates; mix: after each mix as well."""
    target_every: Positive = 8
    """Updates after which the target network is copied at the latest."""
    clip: PositiveFloat = 0.4
    """Epsilon: ratios to the target network are clipped to [1 - clip, 1 + clip]."""
    ratio_clip: PositiveFloat = 2.0
    """Weights of the policy that acted over the target network are clipped to it."""
    kl_coef: NonNegativeFloat = 0.0
    """Weight of the mean KL from the target network to the policy; 0: not in the loss."""
    trace_lambda: Fraction = 1.0
    """Lambda of V-trace: fades the correction by later steps."""
    rho_clip: PositiveFloat = 1.0
    """Rho-bar: importance weights of the temporal differences are clipped to it."""
    c_clip: PositiveFloat = 1.0
    """C-bar: importance weights that carry corrections back in time are clipped to it."""
    pg_rho_clip: PositiveFloat = 1.0
    """Importance weights of the advantages are clipped to it."""
    lr: PositiveFloat = 5e-4
    """Learning rate, before lr_scaling."""
    optimizer: Literal["rmsprop", "adam"] = "adam"
    """Optimizer of the flat parameter vector."""
