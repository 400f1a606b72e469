"""The actor-critic network: one trunk, one action head, one value."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gala.networks.heads import ActionHead
from gala.networks.memory import Memory
from gala.networks.soft import Soft
from gala.networks.trunks import orthogonal_
from gala.parameters.duals import Duals
from gala.parameters.flat import unflatten
from gala.parameters.statistics import Moments


class Network(nn.Module):
    """pi(a|s) and V(s) with a shared trunk (an mlp keeps two: actor and critic do not interfere).

    Calling it returns ``(dist, value)``: Float[B, head.size] for ``head``, and Float[B]. With a
    memory, it takes each observation for the first of an episode then; :meth:`unroll` remembers.

    Attributes:
        head: turns ``dist`` into actions and probabilities.
        observed: moments of observations, by which they are normalised; None: they are not.
        returns: moments of discounted returns, by which rewards are scaled; None: they are not.
        soft: critics, targets and temperature of a soft actor-critic, which has no V: values are 0
            then; None: it is none.
        dueling: ``dist`` are values of n choices, of V and of advantages (Wang et al. 2016, arXiv
            1511.06581); the value is the largest of them then.
        duals: of the algorithm, the last parameters; None: it has none.
        memory: between trunk and heads; None: the network is feed-forward.
    """

    head: ActionHead

    def __init__(
        self,
        actor: nn.Module,
        critic: nn.Module | None,
        features: int,
        head: ActionHead,
        generator: torch.Generator,
        memory: Memory | None = None,
        *,
        valued: bool = True,
    ) -> None:
        super().__init__()
        self.head = head
        self.observed: Moments | None = None
        self.returns: Moments | None = None
        self.actor = actor
        self.critic = critic
        self.memory = memory
        self.logits = nn.Linear(features, head.size - head.free_log_std)
        self.value = nn.Linear(features, 1) if valued else None
        self.log_std = nn.Parameter(torch.zeros(head.free_log_std)) if head.free_log_std else None
        orthogonal_(self.logits, 0.01, generator)
        if self.value is not None:
            orthogonal_(self.value, 1.0, generator)
        self.soft: Soft | None = None
        self.dueling = False
        self.duals: Duals | None = None

    def hold(self, duals: Sequence[float]) -> None:
        """Have ``duals`` of an algorithm behind all other parameters, unless it has them."""
        if duals and self.duals is None:
            self.duals = Duals(duals)

    @property
    def statistics(self) -> bool:
        """Whether there are moments or targets that belong into the flat vector."""
        return self.observed is not None or self.returns is not None or self.soft is not None

    def forward(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """``dist`` Float[B, head.size] and value Float[B] of observations with B rows."""
        if self.memory is not None:
            begin = torch.ones((1, len(obs)), dtype=torch.bool, device=obs.device)
            return self.unroll(obs.unsqueeze(0), self.initial(len(obs)), begin)[:2]
        return self.heads(*self.features(obs))

    def features(self, obs: Tensor) -> tuple[Tensor, ...]:
        """What the trunks make of observations with B rows, Float[B, ...] each: one or two."""
        obs = self.seen(obs)
        actor = self.actor(obs)
        return (actor,) if self.critic is None else (actor, self.critic(obs))

    def seen(self, obs: Tensor) -> Tensor:
        """Observations with B rows as the trunks get them: normalised, if they are."""
        if self.observed is not None:
            obs = self.observed(obs)
        if self.critic is not None and obs.dtype != self.logits.weight.dtype:
            obs = obs.to(self.logits.weight.dtype)  # vectors in float64 or integers
        return obs

    def initial(self, envs: int) -> Tensor:
        """Float[B, ...], what is remembered of an episode that begins: zeros."""
        assert self.memory is not None
        weight = self.logits.weight
        return torch.zeros((envs, *self.memory.shape), dtype=weight.dtype, device=weight.device)

    def unroll(self, obs: Tensor, state: Tensor, begin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Go through T steps of B environments with a memory.

        Args:
            obs: [T, B, ...].
            state: Float[B, ...], what is remembered before the first step.
            begin: Bool[T, B], True where an observation is the first of an episode.

        Returns:
            ``dist`` Float[T * B, head.size], value Float[T * B], and what is remembered then.
        """
        found, state = self.remember(obs, state, begin)
        return *self.heads(found), state

    def remember(self, obs: Tensor, state: Tensor, begin: Tensor) -> tuple[Tensor, Tensor]:
        """As :meth:`unroll`: what the memory gives, Float[T * B, F], and what it holds then."""
        assert self.memory is not None and self.critic is None
        flat = obs.flatten(0, 1)
        if self.observed is not None:
            flat = self.observed(flat)
        features = self.actor(flat).flatten(1).to(self.logits.weight.dtype)
        found, state = self.memory(features.unflatten(0, begin.shape), state, begin)
        return found.flatten(0, 1), state

    def heads(
        self, features: Tensor, critic_features: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """``dist`` and value of what the trunks gave, Float[B, ...] of F numbers a row each.

        Of a trunk that serves both it is given once.
        """
        if critic_features is None:
            critic_features = features
        if features.dim() != 2:
            features, critic_features = features.flatten(1), critic_features.flatten(1)
        logits, value, log_std = self.logits, self.value, self.log_std
        weight = logits.weight
        if features.dtype != weight.dtype:  # a low-precision trunk, exact heads
            features = critic_features = features.to(weight.dtype)
        dist = F.linear(features, weight, logits.bias)
        if log_std is not None:
            dist = torch.cat([dist, log_std.expand(dist.shape[0], -1).to(dist.dtype)], -1)
        if value is None:
            return dist, dist.new_zeros(len(dist))
        found = F.linear(critic_features, value.weight, value.bias)
        if self.dueling:
            dist = found + dist - dist.mean(-1, keepdim=True)
            return dist, dist.amax(-1)
        return dist, found.squeeze(-1)


def outputs_at(
    policy: Network, layout: list[tuple[str, tuple[int, ...]]], vector: Tensor, obs: Tensor
) -> tuple[Tensor, Tensor]:
    """What ``policy`` would say with other parameters.

    Args:
        policy: gives the form; its own parameters are neither used nor changed.
        layout: of ``vector``, see :class:`gala.parameters.flat.FlatParameters`.
        vector: Float[P].
        obs: observations with B rows.

    Returns:
        Action distributions Float[B, head.size], and values Float[B].
    """
    # constants of an own trunk are in no vector: they are the same everywhere
    tensors = dict(policy.named_buffers()) | unflatten(vector, layout)
    dist, value = torch.func.functional_call(policy, tensors, (obs,), strict=True)
    return dist, value
