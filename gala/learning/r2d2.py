"""R2D2: recurrent replay distributed DQN (Kapturowski et al. 2019, ICLR)."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from gala.experience.batch import Batch
from gala.learning.algorithm import Loss, Plan, Terms, View
from gala.learning.r2d2_config import R2D2Config
from gala.learning.returns import n_step_return, reaches, rescaled, unrescaled
from gala.networks.outputs import Outputs


class Columns(NamedTuple):
    """Actions [T, B], Float[T, B] that their values are regressed on, Bool[T, B] where it is known.

    It is not where a reward was not finite, or where the observation after an end is not there.
    """

    action: Tensor
    goal: Tensor
    known: Tensor


class Coefficients(NamedTuple):
    """Nothing is scheduled."""


class R2D2:
    """Double Q-learning on sequences, as an :class:`~gala.learning.algorithm.Algorithm`.

    With values ``Q`` of the network and ``Q'`` of its target, both after the same burn-in::

        a*_t = argmax_a Q(s_t, a)
        y_t  = h(r_t + ... + d_t ... d_{t+n-1} h^-1(Q'(s_{t+n}, a*_{t+n})))
        loss = sum w (Q(s_t, a_t) - y_t)^2 / 2

    The weight ``w`` is that of the row's sequence over the number of valid rows. At an end, and at
    the end of a sequence, fewer rewards are summed.
    """

    Config = R2D2Config
    source = "sequences"

    def __init__(self, config: R2D2Config) -> None:
        self.config = config
        self.plan = Plan(current=True, target_every=config.target_every)

    def coefficients(self, left: float) -> Coefficients:
        """See :class:`~gala.learning.algorithm.Algorithm`."""
        return Coefficients()

    def targets(self, batch: Batch, view: View) -> Columns:
        """See :class:`~gala.learning.algorithm.Algorithm`."""
        config = self.config
        assert view.following is not None and view.lagging_following is not None
        best = view.following.argmax(-1, keepdim=True)
        value = unrescaled(view.lagging_following.gather(-1, best).squeeze(-1), config.rescale_eps)
        found = n_step_return(batch.reward, batch.discount, value, batch.cut, config.horizon)
        known = ~reaches(batch.final, batch.cut, config.horizon)
        return Columns(batch.action, rescaled(found, config.rescale_eps), known)

    def loss(self, columns: Columns, out: Outputs, terms: Terms) -> Loss:
        """See :class:`~gala.learning.algorithm.Algorithm`."""
        taken = out.dist.gather(-1, columns.action.unsqueeze(-1)).squeeze(-1)
        error = (columns.goal - taken).masked_fill(~columns.known, 0.0)
        total = 0.5 * (terms.weight * error.square()).sum()
        return Loss(
            total,
            {
                "losses/value_loss": total.detach(),
                "losses/q_value": (terms.weight * taken.detach()).sum(),
            },
            error.detach().abs(),
        )
