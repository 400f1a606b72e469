"""V-trace actor-critic: IMPALA's off-policy correction (Espeholt et al. 2018, arXiv 1802.01561)."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from gala.experience.batch import Batch
from gala.learning.algorithm import ActorCritic, Loss, Plan, Terms, View
from gala.learning.returns import vtrace
from gala.learning.vtrace_config import VTraceConfig
from gala.networks.outputs import Outputs


class Columns(NamedTuple):
    """Float[T, B] each, and the actions [T, B, ...]; ``rho`` is not clipped."""

    action: Tensor
    advantage: Tensor
    target: Tensor
    rho: Tensor


class VTrace(ActorCritic):
    """One optimizer step per batch, as an :class:`~gala.learning.algorithm.Algorithm`.

    The loss is the mean over valid steps of ``-A log pi(a|s) + value_coef (v - V)^2 / 2 -
    entropy_coef H``; targets ``v`` and advantages ``A`` correct for the policy that acted (paper,
    eq. 1 and section 4.2), in the convention of :func:`~gala.learning.returns.vtrace`. Values are
    those of the current parameters. (The paper sums over a batch where this takes the mean: clip
    norms and coefficients of theirs do not carry over as they are.)
    """

    Config = VTraceConfig
    config: VTraceConfig
    plan = Plan(current=True)

    def targets(self, batch: Batch, view: View) -> Columns:
        """See :class:`~gala.learning.algorithm.Algorithm`."""
        log_prob = view.head.log_prob
        rho = (log_prob(view.dist, batch.action) - log_prob(batch.dist, batch.action)).exp()
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
        return Columns(batch.action, advantage, target, rho)

    def loss(self, columns: Columns, out: Outputs, terms: Terms) -> Loss:
        """See :class:`~gala.learning.algorithm.Algorithm`."""
        weight = terms.weight
        policy = -(weight * columns.advantage * out.log_prob(columns.action)).sum()
        value = 0.5 * (weight * (columns.target - out.value).square()).sum()
        entropy = (weight * out.entropy()).sum()
        total = policy + self.config.value_coef * value - terms.coefficients.entropy * entropy
        return Loss(
            total,
            {
                "losses/policy_loss": policy.detach(),
                "losses/value_loss": value.detach(),
                "losses/entropy": entropy.detach(),
                "policy/rho": (weight * columns.rho).sum(),
                "policy/clip_fraction": (weight * (columns.rho > self.config.rho_clip)).sum(),
            },
        )
