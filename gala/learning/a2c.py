"""A2C: advantage actor-critic (Mnih et al. 2016, arXiv 1602.01783), synchronous form."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from gala.experience.batch import Batch
from gala.learning.a2c_config import A2CConfig
from gala.learning.algorithm import ActorCritic, Loss, Terms, View
from gala.learning.returns import gae, normalized
from gala.networks.outputs import Outputs


class Columns(NamedTuple):
    """Float[T, B] each, and the actions [T, B, ...]."""

    action: Tensor
    advantage: Tensor
    target: Tensor


class A2C(ActorCritic):
    """One optimizer step per batch, as an :class:`~gala.learning.algorithm.Algorithm`.

    The loss is the mean over valid steps of ``-A log pi(a|s) + value_coef (G - V)^2 -
    entropy_coef H``, with ``A`` from generalised advantage estimation and ``G = A + V``.
    """

    Config = A2CConfig
    config: A2CConfig

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
        return Columns(batch.action, advantage, advantage + view.value)

    def loss(self, columns: Columns, out: Outputs, terms: Terms) -> Loss:
        """See :class:`~gala.learning.algorithm.Algorithm`."""
        weight, advantage = terms.weight, columns.advantage
        if self.config.normalize_advantage:
            advantage = normalized(advantage, weight)
        policy = -(weight * advantage * out.log_prob(columns.action)).sum()
        value = (weight * (columns.target - out.value).square()).sum()
        entropy = (weight * out.entropy()).sum()
        total = policy + self.config.value_coef * value - terms.coefficients.entropy * entropy
        return Loss(
            total,
            {
                "losses/policy_loss": policy.detach(),
                "losses/value_loss": value.detach(),
                "losses/entropy": entropy.detach(),
            },
        )
