"""Section ``vmpo`` of the configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from gala.config.fields import Fraction, NonNegativeFloat, Positive, PositiveFloat
from gala.learning.settings import AlgorithmConfig, LearnerConfig


@dataclass(frozen=True, kw_only=True)
class VMPOConfig(LearnerConfig):
    """On-policy maximum a posteriori policy optimization (V-MPO, Song et al. 2019)."""

    search: ClassVar[tuple[str, ...]] = (
        *AlgorithmConfig.search,
        "n_step=8,16,32,64",
        "gae_lambda=0.8,0.9,0.95,1.0",
        "act_every=1..20",
        "temperature_eps=0.01..1.0:log",
        "kl_eps=1e-3..0.1:log",
    )

    n_step: Positive = 32
    """Steps in each environment between two updates."""
    gae_lambda: Fraction = 1.0
    """Lambda of generalised advantage estimation; 1, as in the paper, gives n-step returns."""
    act_every: Positive = 10
    """Updates after which the policy that acts, and that bounds the others, is the newest again."""
    temperature: PositiveFloat = 1.0
    """Eta at the start: the colder, the more the best actions count."""
    temperature_eps: PositiveFloat = 0.1
    """How far the weights of actions may be from equal ones, in nats: eta is learned for it."""
    kl_coef: PositiveFloat = 1.0
    """Alpha at the start: weight of the KL from the policy that acted."""
    kl_eps: PositiveFloat = 0.01
    """How far the policy may be from the one that acted, in nats: alpha is learned for it."""
    deviation_kl_coef: PositiveFloat = 1.0
    """Alpha of the deviations of a Box at the start; kl_coef is of its means."""
    deviation_kl_eps: PositiveFloat = 1e-4
    """How far the deviations may be from those that acted, in nats."""
    dual_lr: PositiveFloat = 1e-2
    """Learning rate of eta and alpha, by Adam; scheduled as lr is, not scaled."""
    entropy_coef: NonNegativeFloat = 0.0
    """Weight of the entropy bonus; the paper has none."""
    lr: PositiveFloat = 1e-4
    """Learning rate, before lr_scaling."""
    optimizer: Literal["rmsprop", "adam"] = "adam"
    """Optimizer of the flat parameter vector."""
