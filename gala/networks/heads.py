"""Action distributions as pure functions of one flat parameter tensor, one head per action space.

A head tells how many numbers the network must produce per observation (``size``) and turns them
into actions, log-probabilities and entropies. Heads hold no module parameters, except the
state-independent log deviation of the Gaussian, which :class:`~gala.networks.network.Network` owns.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from gala.errors import UserError

Array = NDArray[Any]

FORBIDDEN = -1e8
"""Logit of a forbidden action: no probability, and still a number for entropy and KL."""


class ActionHead(Protocol):
    """What every head offers. ``dist`` is Float[B, size]; actions are tensors with B rows."""

    size: int
    free_log_std: int
    """Trailing numbers of ``dist`` that do not depend on the observation."""

    def sample(self, dist: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw actions."""
        ...

    def mode(self, dist: Tensor) -> Tensor:
        """The most likely actions."""
        ...

    def log_prob(self, dist: Tensor, actions: Tensor) -> Tensor:
        """Log-probability (or log-density) of ``actions``, Float[B]."""
        ...

    def entropy(self, dist: Tensor) -> Tensor:
        """Entropy in nats, Float[B]."""
        ...

    def kl(self, dist: Tensor, other: Tensor) -> Tensor:
        """``KL(dist || other)`` in nats, Float[B]."""
        ...

    def masked(self, dist: Tensor, mask: Tensor) -> Tensor:
        """``dist`` without the actions that ``mask``, Bool[B, size], forbids by False.

        They get neither probability nor gradient. Where a choice has nothing that is allowed, all
        of it is. Only heads of choices have masks.
        """
        ...

    def to_env(self, actions: Tensor) -> Array:
        """Actions as the simulators take them."""
        ...

    def buffer(self, *shape: int) -> Tensor:
        """An empty tensor for actions of leading ``shape``."""
        ...


class CategoricalHead:
    """Discrete(n): ``dist`` holds n logits.

    Sampling is by the Gumbel-max trick from uniform numbers of the generator: one argmax, no
    normalisation, the same on every device.
    """

    free_log_std = 0

    def __init__(self, n: int, start: int = 0) -> None:
        self.size, self._start = n, start

    def sample(self, dist: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw Int64[B]."""
        noise = torch.empty(dist.shape, dtype=torch.float32, device=dist.device)
        noise.exponential_(generator=generator)
        return (dist.float() - noise.log()).argmax(-1)

    def mode(self, dist: Tensor) -> Tensor:
        """Int64[B], the largest logit."""
        return dist.argmax(-1)

    def log_prob(self, dist: Tensor, actions: Tensor) -> Tensor:
        """Float[B]."""
        return F.log_softmax(dist, -1).gather(-1, actions[..., None]).squeeze(-1)

    def entropy(self, dist: Tensor) -> Tensor:
        """Float[B], nats."""
        log_p = F.log_softmax(dist, -1)
        return -(log_p.exp() * log_p).sum(-1)

    def kl(self, dist: Tensor, other: Tensor) -> Tensor:
        """Float[B], nats."""
        log_p, log_q = F.log_softmax(dist, -1), F.log_softmax(other, -1)
        return (log_p.exp() * (log_p - log_q)).sum(-1)

    def masked(self, dist: Tensor, mask: Tensor) -> Tensor:
        """Float[B, n]."""
        return dist.masked_fill(~mask & mask.any(-1, keepdim=True), FORBIDDEN)

    def to_env(self, actions: Tensor) -> Array:
        """Int64[B], shifted by the space's start."""
        return actions.cpu().numpy() + self._start

    def buffer(self, *shape: int) -> Tensor:
        """Int64[shape]."""
        return torch.zeros(shape, dtype=torch.int64)


class MultiCategoricalHead:
    """MultiDiscrete(n_1 ... n_k): ``dist`` holds the logits of k independent choices."""

    free_log_std = 0

    def __init__(self, choices: list[int], start: Array) -> None:
        self._parts = [CategoricalHead(n) for n in choices]
        self._choices, self._start = choices, start
        self.size = sum(choices)

    def sample(self, dist: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw Int64[B, k]."""
        logits = torch.split(dist, self._choices, -1)
        parts = zip(self._parts, logits, strict=True)
        return torch.stack([part.sample(each, generator) for part, each in parts], -1)

    def mode(self, dist: Tensor) -> Tensor:
        """Int64[B, k]."""
        return torch.stack([each.argmax(-1) for each in torch.split(dist, self._choices, -1)], -1)

    def log_prob(self, dist: Tensor, actions: Tensor) -> Tensor:
        """Float[B], the sum over the k choices."""
        parts = zip(
            self._parts, torch.split(dist, self._choices, -1), actions.unbind(-1), strict=True
        )
        return torch.stack([part.log_prob(each, a) for part, each, a in parts]).sum(0)

    def entropy(self, dist: Tensor) -> Tensor:
        """Float[B], nats, the sum over the k choices."""
        parts = zip(self._parts, torch.split(dist, self._choices, -1), strict=True)
        return torch.stack([part.entropy(each) for part, each in parts]).sum(0)

    def kl(self, dist: Tensor, other: Tensor) -> Tensor:
        """Float[B], nats, the sum over the k choices."""
        logits = (torch.split(each, self._choices, -1) for each in (dist, other))
        parts = zip(self._parts, *logits, strict=True)
        return torch.stack([part.kl(p, q) for part, p, q in parts]).sum(0)

    def masked(self, dist: Tensor, mask: Tensor) -> Tensor:
        """Float[B, size], choice by choice."""
        both = (torch.split(each, self._choices, -1) for each in (dist, mask))
        parts = zip(self._parts, *both, strict=True)
        return torch.cat([part.masked(each, allowed) for part, each, allowed in parts], -1)

    def to_env(self, actions: Tensor) -> Array:
        """Int64[B, k], shifted by the space's start."""
        return actions.cpu().numpy() + self._start

    def buffer(self, *shape: int) -> Tensor:
        """Int64[shape, k]."""
        return torch.zeros((*shape, len(self._choices)), dtype=torch.int64)


class BernoulliHead:
    """MultiBinary(k): ``dist`` holds the logits of k independent bits."""

    free_log_std = 0

    def __init__(self, bits: int) -> None:
        self.size = bits

    def sample(self, dist: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw Int64[B, k]."""
        uniform = torch.empty(dist.shape, dtype=torch.float32, device=dist.device)
        uniform.uniform_(generator=generator)
        return (uniform < dist.float().sigmoid()).long()

    def mode(self, dist: Tensor) -> Tensor:
        """Int64[B, k]."""
        return (dist > 0).long()

    def log_prob(self, dist: Tensor, actions: Tensor) -> Tensor:
        """Float[B], the sum over the k bits."""
        return F.logsigmoid(torch.where(actions > 0, dist, -dist)).sum(-1)

    def entropy(self, dist: Tensor) -> Tensor:
        """Float[B], nats, the sum over the k bits."""
        return (F.softplus(dist) - dist * dist.sigmoid()).sum(-1)

    def kl(self, dist: Tensor, other: Tensor) -> Tensor:
        """Float[B], nats, the sum over the k bits."""
        return (dist.sigmoid() * (dist - other) - F.softplus(dist) + F.softplus(other)).sum(-1)

    def masked(self, dist: Tensor, mask: Tensor) -> Tensor:
        """There are no masks for bits."""
        raise AssertionError("masks are for choices")

    def to_env(self, actions: Tensor) -> Array:
        """Int64[B, k] of 0 and 1."""
        return actions.cpu().numpy()

    def buffer(self, *shape: int) -> Tensor:
        """Int64[shape, k]."""
        return torch.zeros((*shape, self.size), dtype=torch.int64)


class GaussianHead:
    """Box with d numbers: ``dist`` holds d means, then d log deviations.

    The deviations are free parameters, not functions of the observation (Schulman et al. 2015).
    Actions are unbounded for the learner and clipped to the box on their way to the simulator.
    """

    def __init__(self, low: Array, high: Array) -> None:
        self._low, self._high, self._shape = low, high, low.shape
        self._d = int(np.prod(low.shape))
        self.size, self.free_log_std = 2 * self._d, self._d

    def sample(self, dist: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw Float32[B, d]."""
        mean, log_std = dist.float().chunk(2, -1)
        noise = torch.empty_like(mean).normal_(generator=generator)
        return mean + log_std.exp() * noise

    def mode(self, dist: Tensor) -> Tensor:
        """Float32[B, d], the mean."""
        return dist[..., : self._d].float()

    def log_prob(self, dist: Tensor, actions: Tensor) -> Tensor:
        """Float[B], log-density of the unclipped action."""
        mean, log_std = dist.chunk(2, -1)
        z = (actions - mean) * (-log_std).exp()
        return (-0.5 * z.square() - log_std - 0.5 * math.log(2 * math.pi)).sum(-1)

    def entropy(self, dist: Tensor) -> Tensor:
        """Float[B], nats."""
        return (dist[..., self._d :] + 0.5 * math.log(2 * math.pi * math.e)).sum(-1)

    def kl(self, dist: Tensor, other: Tensor) -> Tensor:
        """Float[B], nats."""
        (mean, log_std), (other_mean, other_log_std) = dist.chunk(2, -1), other.chunk(2, -1)
        gap = (mean - other_mean).square() + (2 * log_std).exp()
        return (other_log_std - log_std + 0.5 * gap * (-2 * other_log_std).exp() - 0.5).sum(-1)

    def masked(self, dist: Tensor, mask: Tensor) -> Tensor:
        """There are no masks for quantities."""
        raise AssertionError("masks are for choices")

    def to_env(self, actions: Tensor) -> Array:
        """Float32[B, ...], clipped to the box."""
        shaped = actions.cpu().numpy().reshape(-1, *self._shape)
        return np.asarray(np.clip(shaped, self._low, self._high))

    def buffer(self, *shape: int) -> Tensor:
        """Float32[shape, d]."""
        return torch.zeros((*shape, self._d), dtype=torch.float32)


def build_head(space: gymnasium.Space[Any]) -> ActionHead:
    """The head for an action space, as :attr:`gala.envs.VectorEnv.action_space` gives it.

    Raises:
        UserError: the space is not Discrete, MultiDiscrete or MultiBinary of one axis, or Box.
    """
    if isinstance(space, gymnasium.spaces.Discrete):
        return CategoricalHead(int(space.n), int(space.start))
    if isinstance(space, gymnasium.spaces.MultiDiscrete) and space.nvec.ndim == 1:
        return MultiCategoricalHead([int(n) for n in space.nvec], np.asarray(space.start))
    if isinstance(space, gymnasium.spaces.MultiBinary) and len(space.shape) == 1:
        return BernoulliHead(math.prod(space.shape))
    if isinstance(space, gymnasium.spaces.Box) and np.issubdtype(space.dtype, np.floating):
        return GaussianHead(space.low, space.high)
    raise UserError(
        f"action space {space} is not supported",
        field="env.id",
        hint="supported: Discrete, MultiDiscrete, MultiBinary, Box of floats",
    )
