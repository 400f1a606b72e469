"""Outputs: what the current parameters say of N observations."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from gala.networks.heads import ActionHead


@dataclass(slots=True)
class Outputs:
    """Action distributions and values, with gradients to the parameters.

    Attributes:
        dist: Float[N, K], parameters of the distributions; forbidden actions are masked already.
        value: Float[N].
        head: what turns ``dist`` into probabilities.
        features: Float[N, ...] each, what the heads were given: of a trunk or memory that serves
            both, or of the actor's and the critic's.
    """

    dist: Tensor
    value: Tensor
    head: ActionHead
    features: tuple[Tensor, ...] = ()

    def log_prob(self, action: Tensor) -> Tensor:
        """Log-probability (or log-density) of [N, ...] actions, Float[N]."""
        return self.head.log_prob(self.dist, action)

    def entropy(self) -> Tensor:
        """Entropy in nats, Float[N]."""
        return self.head.entropy(self.dist)
