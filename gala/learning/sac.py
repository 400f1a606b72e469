"""SAC: soft actor-critic (Haarnoja et al. 2018, arXiv 1812.05905).

For choices as Christodoulou 2019, arXiv 1910.07207, has it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gala.experience.windows import Transitions
from gala.learning.algorithm import Loss, Plan
from gala.learning.off_policy import Stage
from gala.learning.sac_config import SACConfig
from gala.networks import Network
from gala.networks.soft import Draw, Soft


class Columns(NamedTuple):
    """What is made of N transitions before the first step.

    Attributes:
        target: Float[N], what both critics are regressed on.
        drawn: of the policy where transitions begin, with gradients to it.
        alpha: Float[], the temperature of before.
    """

    target: Tensor
    drawn: Draw
    alpha: Tensor


class SAC:
    """Two steps on each N transitions, as an :class:`~gala.learning.off_policy.OffPolicy`.

    With fresh actions ``a`` of the policy at ``s`` and ``a'`` at ``s'``, and targets ``Q'``::

        y           = r + d (min Q'(s', a') - alpha log pi(a'|s'))
        critics     : mean sum_i (Q_i(s, a_stored) - y)^2 / 2
        temperature : -log alpha mean (log pi(a|s) + target_entropy)
        policy      : mean (alpha log pi(a|s) - min Q(s, a))

    Critics and temperature step first; the policy then, through the critics that have learned and
    by the temperature of before. The discount ``d`` is 0 where an episode terminated, not where it
    was cut off. Of choices, what is a draw here is the mean over all of them.
    """

    Config = SACConfig
    source = "replay"
    plan = Plan()

    def __init__(self, config: SACConfig) -> None:
        self.config = config
        self.stages = (Stage(True, self.learn_values), Stage(False, self.improve))

    def prepare(self, rows: Transitions, network: Network, noise: Tensor) -> Columns:
        """See :class:`~gala.learning.off_policy.OffPolicy`."""
        soft = _soft(network)
        drawn = soft.critics.draw(network(rows.obs)[0], noise[0])
        with torch.no_grad():
            alpha = soft.log_alpha.exp()
            following = soft.critics.draw(network(rows.next_obs)[0], noise[1])
            value = soft.targets.expected(network.seen(rows.next_obs), following)
            target = rows.reward + rows.discount * (value - alpha * following.log_prob)
        return Columns(target, drawn, alpha)

    def learn_values(self, rows: Transitions, columns: Columns, network: Network) -> Loss:
        """The loss of critics and temperature."""
        soft = _soft(network)
        taken = soft.critics.taken(network.seen(rows.obs), rows.action)
        value = 0.5 * (taken - columns.target).square().mean(-1).sum()
        goal = self.config.target_entropy
        goal = soft.critics.entropy if goal is None else goal
        missing = (columns.drawn.log_prob.detach() + goal).mean()
        temperature = -soft.log_alpha * missing
        return Loss(
            value + temperature,
            {
                "losses/value_loss": value.detach(),
                "losses/temperature_loss": temperature.detach(),
                "losses/q_value": taken.detach().mean(),
                "policy/temperature": columns.alpha,
            },
        )

    def improve(self, rows: Transitions, columns: Columns, network: Network) -> Loss:
        """The loss of the policy."""
        drawn = columns.drawn
        value = _soft(network).critics.expected(network.seen(rows.obs), drawn)
        total = (columns.alpha * drawn.log_prob - value).mean()
        return Loss(
            total,
            {
                "losses/policy_loss": total.detach(),
                "losses/entropy": -drawn.log_prob.detach().mean(),
            },
        )


def _soft(network: Network) -> Soft:
    assert network.soft is not None, "the network of another algorithm"
    return network.soft
