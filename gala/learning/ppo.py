"""PPO: proximal policy optimization (Schulman et al. 2017, arXiv 1707.06347), clipped form."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gala.experience.batch import Batch
from gala.learning.algorithm import ActorCritic, Loss, Plan, Terms, View
from gala.learning.ppo_config import PPOConfig
from gala.learning.returns import gae, normalized
from gala.networks.outputs import Outputs
from gala.parameters.schedule import scheduled


class Columns(NamedTuple):
    """Float[T, B] each, and the actions [T, B, ...]; ``log_prob`` is of the policy that acted."""

    action: Tensor
    log_prob: Tensor
    advantage: Tensor
    target: Tensor
    value: Tensor


class Coefficients(NamedTuple):
    """Weight of the entropy bonus; epsilon of the clip."""

    entropy: float
    clip: float


class PPO(ActorCritic):
    """Epochs of minibatches over each batch, as an :class:`~gala.learning.algorithm.Algorithm`.

    With the ratio ``q = pi(a|s) / mu(a|s)`` to the policy that acted, the loss is the mean over
    valid steps of ``-min(q A, clip(q, 1 - eps, 1 + eps) A) + value_coef (G - V)^2 / 2 -
    entropy_coef H`` (eq. 7 and 9 of the paper), ``A`` from generalised advantage estimation.
    """

    Config = PPOConfig
    config: PPOConfig

    def __init__(self, config: PPOConfig) -> None:
        super().__init__(config)
        self.plan = Plan(
            epochs=config.epochs, minibatches=config.minibatches, stop_kl=config.stop_kl
        )

    def coefficients(self, left: float) -> Coefficients:
        """See :class:`~gala.learning.algorithm.Algorithm`."""
        config = self.config
        return Coefficients(
            scheduled(config.entropy_coef, config.entropy_schedule, left),
            scheduled(config.clip, config.clip_schedule, left),
        )

    def targets(self, batch: Batch, view: View) -> Columns:
        """See :class:`~gala.learning.algorithm.Algorithm`."""
        advantage = gae(
            batch.reward,
            batch.discount,
            view.value,
            view.next_value,
            batch.cut,
            self.config.gae_lambda,
        )
        log_prob = view.head.log_prob(batch.dist, batch.action)
        return Columns(batch.action, log_prob, advantage, advantage + view.value, view.value)

    def loss(self, columns: Columns, out: Outputs, terms: Terms) -> Loss:
        """See :class:`~gala.learning.algorithm.Algorithm`."""
        config, weight, advantage = self.config, terms.weight, columns.advantage
        if config.normalize_advantage:
            advantage = normalized(advantage, weight)
        clip = terms.coefficients.clip
        log_ratio = out.log_prob(columns.action) - columns.log_prob
        log_ratio = log_ratio.masked_fill(weight == 0, 0.0)  # 0 times infinity would be felt
        ratio = log_ratio.exp()
        gain = torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)
        if config.dual_clip is not None:  # Ye et al. 2020, eq. 5
            bounded = torch.maximum(gain, config.dual_clip * advantage)
            gain = torch.where(advantage < 0, bounded, gain)
        policy = -(weight * gain).sum()
        error = (out.value - columns.target).square()
        if config.value_clip:
            near = columns.value + (out.value - columns.value).clamp(-clip, clip)
            error = torch.maximum(error, (near - columns.target).square())
        value = 0.5 * (weight * error).sum()
        entropy = (weight * out.entropy()).sum()
        total = policy + config.value_coef * value - terms.coefficients.entropy * entropy
        with torch.no_grad():
            clipped = (weight * ((ratio - 1).abs() > clip)).sum()
            kl = (weight * (ratio - 1 - log_ratio)).sum()  # Schulman's estimator k3, never < 0
        return Loss(
            total,
            {
                "losses/policy_loss": policy.detach(),
                "losses/value_loss": value.detach(),
                "losses/entropy": entropy.detach(),
                "policy/kl": kl,
                "policy/clip_fraction": clipped,
            },
        )
