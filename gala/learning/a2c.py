"""A2C: advantage actor-critic (Mnih et al. 2016, arXiv 1602.01783), synchronous form."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from gala.experience.batch import Batch
from gala.learning.a2c_config import A2CConfig
from gala.learning.algorithm import Loss, Plan, Terms, View
from gala.learning.returns import gae, normalized
from gala.networks.outputs import Outputs
from gala.parameters.schedule import scheduled


class Columns(NamedTuple):
    """Float[T, B] each, and the actions [T, B, ...]."""

    action: Tensor
    advantage: Tensor
    target: Tensor


class Coefficients(NamedTuple):
    """Weight of the entropy bonus."""

    entropy: float


class A2C:
    """One optimizer step per batch, as an :class:`~gala.learning.algorithm.Algorithm`.

    The loss is the mean over valid steps of ``-A log pi(a|s) + value_coef (G - V)^2 -
    entropy_coef H``, with ``A`` from generalised advantage estimation and ``G = A + V``.
    """

    plan = Plan()

    def __init__(self, config: A2CConfig) -> None:
        self.config = config

    def coefficients(self, left: float) -> Coefficients:
        """See :class:`~gala.learning.algorithm.Algorithm`."""
        config = self.config
        return Coefficients(scheduled(config.entropy_coef, config.entropy_schedule, left))

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
