"""Section ``ppo`` of the configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from gala.config.fields import Fraction, Positive, PositiveFloat
from gala.learning.settings import AlgorithmConfig, LearnerConfig
from gala.parameters.optimizer_config import Schedule


@dataclass(frozen=True, kw_only=True)
class PPOConfig(LearnerConfig):
    """Proximal policy optimization (Schulman et al. 2017); most defaults are CleanRL's."""

    search: ClassVar[tuple[str, ...]] = (
        *AlgorithmConfig.search,
        "n_step=32,64,128,256",
        "gae_lambda=0.8,0.9,0.95,0.98,1.0",
        "epochs=3..10",
        "clip=0.1,0.2,0.3",
        "entropy_coef=1e-8..0.1:log",
    )

    n_step: Positive = 128
    """Steps in each environment between two updates."""
    gae_lambda: Fraction = 0.95
    """Lambda of generalised advantage estimation."""
    epochs: Positive = 4
    """Passes over each rollout."""
    minibatches: Positive = 4
    """Optimizer steps per epoch; must divide n_step times env.num_envs."""
    clip: PositiveFloat = 0.2
    """Epsilon: probability ratios are clipped to [1 - clip, 1 + clip]."""
    clip_schedule: Schedule = "constant"
    """linear: to 0 at total_steps."""
    value_clip: bool = False
    """Clip the change of the value as well, by the same epsilon."""
    dual_clip: Annotated[float, Field(gt=1, allow_inf_nan=False)] | None = None
    """Above 1: bounds the loss of bad actions at so many advantages (Ye et al. 2020); null: no."""
    normalize_advantage: bool = True
    """Scale the advantages of each minibatch to mean 0 and deviation 1."""
    stop_kl: PositiveFloat | None = None
    """End an update after the epoch whose mean KL to the policy that acted is above this."""
    lr: PositiveFloat = 2.5e-4
    """Learning rate, before lr_scaling."""
    optimizer: Literal["rmsprop", "adam"] = "adam"
    """Optimizer of the flat parameter vector."""
