"""The actor-critic network: one trunk, one action head, one value."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor, nn

from gala.config.tree import NetworkConfig
from gala.errors import UserError
from gala.networks.heads import ActionHead, build_head
from gala.networks.trunks import MLP, NatureCNN, orthogonal_
from gala.parameters.flat import unflatten


class Policy(nn.Module):
    """pi(a|s) and V(s) with a shared trunk (an mlp keeps two: actor and critic do not interfere).

    Calling it returns ``(dist, value)``: Float[B, head.size] for ``head``, and Float[B].
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
        self.actor = actor
        self.critic = critic
        self.logits = nn.Linear(features, head.size - head.free_log_std)
        self.value = nn.Linear(features, 1)
        self.log_std = nn.Parameter(torch.zeros(head.free_log_std)) if head.free_log_std else None
        orthogonal_(self.logits, 0.01, generator)
        orthogonal_(self.value, 1.0, generator)

    def forward(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """``dist`` Float[B, head.size] and value Float[B] of observations with B rows."""
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
    policy: Policy, layout: list[tuple[str, tuple[int, ...]]], vector: Tensor, obs: Tensor
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


def build_policy(
    observation_space: gymnasium.Space[Any],
    action_space: gymnasium.Space[Any],
    config: NetworkConfig,
    *,
    seed: int,
) -> Policy:
    """The network for the two spaces; the same ``seed`` gives bit-identical parameters.

    Raises:
        UserError: a space or ``config.kind`` that does not fit.
    """
    generator = torch.Generator().manual_seed(seed)
    shape = observation_space.shape
    if shape is None:
        raise UserError(f"observation space {observation_space} is not supported", field="env.id")
    head = build_head(action_space)
    is_image = len(shape) == 3 and observation_space.dtype == np.uint8
    kind = ("nature-cnn" if is_image else "mlp") if config.kind == "auto" else config.kind
    if kind == "nature-cnn":
        if not is_image:
            raise UserError(
                f"nature-cnn needs images (uint8, channels x height x width), got {shape}",
                field="network.kind",
                hint="use mlp",
            )
        hidden = config.hidden if config.hidden is not None else (512,)
        trunk = NatureCNN(shape, config.filters, hidden, generator, config.background)
        return Policy(trunk, None, trunk.features, head, generator)
    if config.background:
        raise UserError("an mlp has no background", field="network.background", hint="0")
    if config.precision == "bfloat16":
        raise UserError("an mlp computes in float32", field="network.precision", hint="auto")
    hidden = config.hidden if config.hidden is not None else (64, 64)
    inputs = int(np.prod(shape))
    actor, critic = (MLP(inputs, hidden, generator) for _ in range(2))
    return Policy(actor, critic, actor.features, head, generator)
