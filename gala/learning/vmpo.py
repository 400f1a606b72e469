"""V-MPO: on-policy maximum a posteriori optimization (Song et al. 2019, arXiv 1909.12238)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gala.experience.batch import Batch
from gala.learning.algorithm import ActorCritic, Loss, Plan, Terms, View
from gala.learning.returns import gae
from gala.learning.vmpo_config import VMPOConfig
from gala.networks.outputs import Outputs


class Columns(NamedTuple):
    """Float[T, B], actions [T, B, ...], Bool[T, B], and distributions that acted [T, B, K]."""

    action: Tensor
    advantage: Tensor
    target: Tensor
    best: Tensor
    dist: Tensor


class Duals(NamedTuple):
    """Eta, and alpha of the policy; of a Box, of its means and of its deviations."""

    temperature: float
    kl: float
    deviation_kl: float


class VMPO(ActorCritic):
    """One optimizer step per batch, as an :class:`~gala.learning.algorithm.Algorithm`.

    The better half of all valid rows of a batch is followed, each row by its weight ``psi``, the
    softmax of ``A / eta``. The loss is ``-sum psi log pi(a|s) + value_coef mean (G - V)^2 / 2``,
    plus ``eta eps + eta log mean exp(A / eta)`` over that half, for the temperature, plus ``alpha
    (eps - [KL]) + [alpha] KL`` from the policy that acted to the one learned, over all valid rows;
    what is in brackets has no gradient (paper, eq. 2 to 6). A copy of the parameters acts, taken
    every ``act_every`` updates; values are those of the current ones.
    """

    Config = VMPOConfig
    config: VMPOConfig

    def __init__(self, config: VMPOConfig) -> None:
        super().__init__(config)
        self.plan = Plan(
            current=True,
            duals=Duals(config.temperature, config.kl_coef, config.deviation_kl_coef),
            dual_lr=config.dual_lr,
            act_every=config.act_every,
        )

    def targets(self, batch: Batch, view: View) -> Columns:
        """See :class:`~gala.learning.algorithm.Algorithm`."""
        value, following = view.value, view.next_value
        fade = self.config.gae_lambda
        advantage = gae(batch.reward, batch.discount, value, following, batch.cut, fade)
        count = (batch.valid.sum() + 1) // 2
        best = largest(advantage, batch.valid, count)
        return Columns(batch.action, advantage, advantage + value, best, batch.dist)

    def loss(self, columns: Columns, out: Outputs, terms: Terms) -> Loss:
        """See :class:`~gala.learning.algorithm.Algorithm`."""
        config, weight, duals = self.config, terms.weight, terms.duals
        eta = duals.temperature
        psi, spread = weights(columns.advantage, columns.best, eta)
        log_prob = out.log_prob(columns.action).masked_fill(~columns.best, 0.0)
        policy = -(psi.detach() * log_prob).sum()
        some = columns.best.any()  # else there is nothing to learn the duals from
        temperature = some * eta * (config.temperature_eps + spread)
        parts = out.head.kl_parts(columns.dist, out.dist)
        kls = [(weight * part.masked_fill(weight == 0, 0.0)).sum() for part in parts]
        limits = (config.kl_eps, config.deviation_kl_eps)
        held = torch.zeros_like(policy)
        for kl, alpha, limit in zip(kls, (duals.kl, duals.deviation_kl), limits, strict=False):
            held = held + some * alpha * (limit - kl.detach()) + alpha.detach() * kl
        value = 0.5 * (weight * (columns.target - out.value).square()).sum()
        entropy = (weight * out.entropy()).sum()
        total = policy + temperature + held + config.value_coef * value
        total = total - terms.coefficients.entropy * entropy
        return Loss(
            total,
            {
                "losses/policy_loss": policy.detach(),
                "losses/value_loss": value.detach(),
                "losses/entropy": entropy.detach(),
                "losses/temperature_loss": temperature.detach(),
                "policy/kl": torch.stack(kls).sum().detach(),
                "policy/temperature": eta.detach().clone(),
                "policy/kl_coef": duals.kl.detach().clone(),
            },
        )


def largest(values: Tensor, valid: Tensor, count: Tensor) -> Tensor:
    """Bool[T, B], the ``count`` largest of the valid Float[T, B]; of equal ones, the first.

    Args:
        values: of all rows.
        valid: Bool[T, B].
        count: Int64[], at most as many as are valid.
    """
    flat = values.masked_fill(~valid, -torch.inf).flatten()
    order = flat.argsort(descending=True, stable=True)
    chosen = torch.arange(len(flat), device=flat.device) < count
    return torch.zeros_like(chosen).scatter(0, order, chosen).view_as(values) & valid


def weights(advantage: Tensor, best: Tensor, eta: Tensor) -> tuple[Tensor, Tensor]:
    """Weights of the best rows, 1 in sum, and the log of the mean of ``exp(A / eta)`` over them.

    The largest is taken out before, so that a low temperature does not overflow.

    Args:
        advantage: Float[N].
        best: Bool[N]; where there is none, all weights are 0.
        eta: Float[], above 0.
    """
    scaled = (advantage.masked_fill(~best, 0.0) / eta).masked_fill(~best, -torch.inf)
    some = best.any()
    top = torch.where(some, scaled.detach().amax(), 0.0)
    exponentials = torch.where(best, scaled - top, -torch.inf).exp()
    total, count = exponentials.sum(), best.sum()
    total = torch.where(some, total, 1.0)
    spread = total.log() + top - count.clamp(min=1).to(total.dtype).log()
    return exponentials / total, torch.where(some, spread, 0.0)
