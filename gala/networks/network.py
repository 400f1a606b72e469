"""The actor-critic network: one trunk, one action head, one value."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gala.networks.heads import ActionHead
from gala.networks.trunks import orthogonal_
from gala.parameters.flat import unflatten
from gala.parameters.statistics import Moments


class Network(nn.Module):
    """pi(a|s) and V(s) with a shared trunk (an mlp keeps two: actor and critic do not interfere).

    Calling it returns ``(dist, value)``: Float[B, head.size] for ``head``, and Float[B].

    Attributes:
        head: turns ``dist`` into actions and probabilities.
        observed: moments of observations, by which they are normalised; None: they are not.
        returns: moments of discounted returns, by which rewards are scaled; None: they are not.
    """

    head: ActionHead

    def __init__(
        self,
        actor: nn.Module,
        critic: nn.Module | None,
        features: int,
        head: ActionHead,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.head = head
        self.observed: Moments | None = None
        self.returns: Moments | None = None
        self.actor = actor
        self.critic = critic
        self.logits = nn.Linear(features, head.size - head.free_log_std)
        self.value = nn.Linear(features, 1)
        self.log_std = nn.Parameter(torch.zeros(head.free_log_std)) if head.free_log_std else None
        orthogonal_(self.logits, 0.01, generator)
        orthogonal_(self.value, 1.0, generator)

    @property
    def statistics(self) -> bool:
        """Whether there are moments that belong into the flat vector."""
        return self.observed is not None or self.returns is not None

    def forward(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """``dist`` Float[B, head.size] and value Float[B] of observations with B rows."""
        if self.observed is not None:
            obs = self.observed(obs)
        if self.critic is not None and obs.dtype != self.logits.weight.dtype:
            obs = obs.to(self.logits.weight.dtype)  # vectors in float64 or integers
        features = self.actor(obs)
        return self.heads(features, features if self.critic is None else self.critic(obs))

    def heads(self, features: Tensor, critic_features: Tensor) -> tuple[Tensor, Tensor]:
        """``dist`` and value of what the trunks gave, Float[B, ...] of F numbers a row each."""
        features, critic_features = features.flatten(1), critic_features.flatten(1)
        if features.dtype != self.logits.weight.dtype:  # a low-precision trunk, exact heads
            features = critic_features = features.to(self.logits.weight.dtype)
        dist = self.logits(features)
        if self.log_std is not None:
            dist = torch.cat([dist, self.log_std.expand(dist.shape[0], -1).to(dist.dtype)], -1)
        return dist, self.value(critic_features).squeeze(-1)


def distribution_at(
    policy: Network, layout: list[tuple[str, tuple[int, ...]]], vector: Tensor, obs: Tensor
) -> Tensor:
    """The action distribution that ``policy`` would have with other parameters.

    Args:
        policy: gives the form; its own parameters are neither used nor changed.
        layout: of ``vector``, see :class:`gala.parameters.flat.FlatParameters`.
        vector: Float[P].
        obs: observations with B rows.

    Returns:
        Float[B, head.size].
    """
    parameters = unflatten(vector, layout)
    dist, _ = torch.func.functional_call(policy, parameters, (obs,), strict=True)
    return torch.as_tensor(dist)
