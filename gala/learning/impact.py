"""IMPACT: a clipped target network over a circular buffer (Luo et al. 2020, arXiv 1912.00167)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gala.experience.batch import Batch
from gala.learning.algorithm import ActorCritic, Loss, Plan, Terms, View
from gala.learning.impact_config import ImpactConfig
from gala.learning.returns import vtrace
from gala.networks.outputs import Outputs


class Columns(NamedTuple):
    """Float[T, B] each, the actions [T, B, ...] and distributions of the target net [T, B, K].

    ``log_prob`` is of the policy that acted, ``rho`` the target net's probability over it.
    """

    action: Tensor
    log_prob: Tensor
    rho: Tensor
    advantage: Tensor
    target: Tensor
    lagging: Tensor


class Impact(ActorCritic):
    """A step on each batch that the buffer serves, as an Algorithm of :mod:`.algorithm`.

    With ``mu`` that acted, the target network ``pi'`` and the policy ``pi``, the loss is the mean
    over valid steps of ``-min(q A, clip(q, 1 - eps, 1 + eps) A) + value_coef (v - V)^2 / 2 -
    entropy_coef H + kl_coef KL(pi' || pi)``, where ``q = min(ratio_clip, mu / pi') pi / mu``.
    Targets ``v`` and advantages ``A`` are V-trace's for ``pi'`` over ``mu``, with the values of the
    current parameters, and are made anew whenever a batch is served.
    """

    Config = ImpactConfig
    config: ImpactConfig

    def __init__(self, config: ImpactConfig) -> None:
        super().__init__(config)
        self.plan = Plan(
            current=True,
            buffer=config.buffer,
            replays=config.replays,
            target_every=config.target_every,
            target_mixed=config.target == "mix",
        )

    def targets(self, batch: Batch, view: View) -> Columns:
        """See :class:`~gala.learning.algorithm.Algorithm`."""
        assert view.lagging is not None, "the plan has a target network"
        log_prob = view.head.log_prob(batch.dist, batch.action)
        rho = (view.head.log_prob(view.lagging, batch.action) - log_prob).exp()
        rho = rho.masked_fill(~batch.valid, 1.0)  # 0 times infinity would be logged
        config = self.config
        target, advantage = vtrace(
            rho,
            batch.reward,
            batch.discount,
            view.value,
            view.next_value,
            batch.cut,
            trace_lambda=config.trace_lambda,
            rho_clip=config.rho_clip,
            c_clip=config.c_clip,
            pg_rho_clip=config.pg_rho_clip,
        )
        return Columns(batch.action, log_prob, rho, advantage, target, view.lagging)

    def loss(self, columns: Columns, out: Outputs, terms: Terms) -> Loss:
        """See :class:`~gala.learning.algorithm.Algorithm`."""
        config, weight, advantage = self.config, terms.weight, columns.advantage
        log_ratio = out.log_prob(columns.action) - columns.log_prob
        log_ratio = log_ratio.masked_fill(weight == 0, 0.0)  # 0 times infinity would be felt
        ratio = columns.rho.reciprocal().clamp(max=config.ratio_clip) * log_ratio.exp()
        near = ratio.clamp(1 - config.clip, 1 + config.clip)
        policy = -(weight * torch.minimum(ratio * advantage, near * advantage)).sum()
        value = 0.5 * (weight * (columns.target - out.value).square()).sum()
        entropy = (weight * out.entropy()).sum()
        kl = (weight * out.head.kl(columns.lagging, out.dist)).sum()
        total = policy + config.value_coef * value - terms.coefficients.entropy * entropy
        if config.kl_coef:
            total = total + config.kl_coef * kl
        clipped = (ratio.detach() - 1).abs() > config.clip
        return Loss(
            total,
            {
                "losses/policy_loss": policy.detach(),
                "losses/value_loss": value.detach(),
                "losses/entropy": entropy.detach(),
                "policy/kl": kl.detach(),
                "policy/rho": (weight * columns.rho).sum(),
                "policy/clip_fraction": (weight * clipped).sum(),
            },
        )
