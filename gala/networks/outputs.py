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
    """

    dist: Tensor
    value: Tensor
    head: ActionHead

    def log_prob(self, action: Tensor) -> Tensor:
        """Log-probability (or log-density) of [N, ...] actions, Float[N]."""
        return self.head.log_prob(self.dist, action)

    def entropy(self) -> Tensor:
        """Entropy in nats, Float[N]."""
        return self.head.entropy(self.dist)
