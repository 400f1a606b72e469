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


LITTLE = 0.05
"""Probability of an action by chance in a policy of values that is looked at as it is."""

LOG_STD = (-20.0, 2.0)
"""Log deviations of a squashed Gaussian are held within these (Haarnoja et al. 2018)."""


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

    def kl_parts(self, dist: Tensor, other: Tensor) -> tuple[Tensor, ...]:
        """:meth:`kl` in parts that can be held apart, Float[B] each.

        A Gaussian has two: of the means with ``dist``'s deviations, and of the deviations about
        ``dist``'s means (decoupled, Abdolmaleki et al. 2018). All others have one.
        """
        ...

    def tempered(self, dist: Tensor, temperature: float) -> Tensor:
        """The distribution whose density is the ``1 / temperature``-th power of that of ``dist``.

        Above 1 it is nearer to chance, below 1 nearer to :meth:`mode`.
        """
        ...

    def masked(self, dist: Tensor, mask: Tensor) -> Tensor:
        """``dist`` without the actions that ``mask``, Bool[B, size], forbids by False.

        They get neither probability nor gradient. Where a choice has nothing that is allowed, all
        of it is. Only heads of choices have masks.
        """
        ...

    def to_env(self, actions: Tensor) -> Array:
        """Actions as the environments take them."""
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
        return draw_choice(dist, generator)

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

    def kl_parts(self, dist: Tensor, other: Tensor) -> tuple[Tensor, ...]:
        """One part."""
        return (self.kl(dist, other),)

    def tempered(self, dist: Tensor, temperature: float) -> Tensor:
        """The logits over the temperature."""
        return dist / temperature

    def masked(self, dist: Tensor, mask: Tensor) -> Tensor:
        """Float[B, n]."""
        return dist.masked_fill(~mask & mask.any(-1, keepdim=True), FORBIDDEN)

    def to_env(self, actions: Tensor) -> Array:
        """Int64[B], shifted by the space's start."""
        return actions.cpu().numpy() + self._start

    def buffer(self, *shape: int) -> Tensor:
        """Int64[shape]."""
        return torch.zeros(shape, dtype=torch.int64)


class ValuesHead(CategoricalHead):
    """Discrete(n): ``dist`` holds values of n choices, of which the best one is taken.

    As a policy it is looked at with a little chance in it (:data:`LITTLE`), as values are by
    custom (Mnih et al. 2015): distances between policies are finite then.
    """

    def sample(self, dist: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw Int64[B]."""
        return draw_choice(self._policy(dist), generator)

    def log_prob(self, dist: Tensor, actions: Tensor) -> Tensor:
        """Float[B]."""
        return super().log_prob(self._policy(dist), actions)

    def entropy(self, dist: Tensor) -> Tensor:
        """Float[B], nats."""
        return super().entropy(self._policy(dist))

    def kl(self, dist: Tensor, other: Tensor) -> Tensor:
        """Float[B], nats."""
        return super().kl(self._policy(dist), self._policy(other))

    def _policy(self, values: Tensor) -> Tensor:
        return epsilon_greedy(values, values.new_tensor(LITTLE))


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

    def kl_parts(self, dist: Tensor, other: Tensor) -> tuple[Tensor, ...]:
        """One part."""
        return (self.kl(dist, other),)

    def tempered(self, dist: Tensor, temperature: float) -> Tensor:
        """The logits over the temperature."""
        return dist / temperature

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

    def kl_parts(self, dist: Tensor, other: Tensor) -> tuple[Tensor, ...]:
        """One part."""
        return (self.kl(dist, other),)

    def tempered(self, dist: Tensor, temperature: float) -> Tensor:
        """The logits over the temperature."""
        return dist / temperature

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
    Actions are unbounded for the learner and clipped to the box on their way to the environment.
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

    def kl_parts(self, dist: Tensor, other: Tensor) -> tuple[Tensor, ...]:
        """Of the means, of the deviations: in sum more or less than the whole."""
        (mean, log_std), (other_mean, other_log_std) = dist.chunk(2, -1), other.chunk(2, -1)
        moved = torch.cat([other_mean, log_std], -1)
        widened = torch.cat([mean, other_log_std], -1)
        return self.kl(dist, moved), self.kl(dist, widened)

    def tempered(self, dist: Tensor, temperature: float) -> Tensor:
        """A variance that is ``temperature`` times as large."""
        mean, log_std = dist.chunk(2, -1)
        return torch.cat([mean, log_std + 0.5 * math.log(temperature)], -1)

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


class SquashedHead(GaussianHead):
    """Box from -1 to 1: the tanh of a Gaussian (Haarnoja et al. 2018, arXiv 1812.05905).

    ``dist`` holds d means, then d log deviations, both functions of the observation. Actions are
    squashed already: what learns from them needs no bounds, and the environments' own bounds are
    the matter of :mod:`gala.envs.actions` alone.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        ones = np.ones(shape, np.float32)
        super().__init__(-ones, ones)
        self.free_log_std = 0

    def draw(self, dist: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Actions and their log-density, with gradients (reparametrised).

        With ``u = mean + deviation noise`` it is ``log N(u) - 2 (log 2 - u - softplus(-2 u))``: the
        logarithm of ``1 - tanh(u)^2`` itself loses its digits where an action is near a bound.

        Args:
            dist: Float[N, 2 d].
            noise: Float[N, d], of a standard normal distribution.

        Returns:
            Float[N, d] within (-1, 1), and Float[N].
        """
        mean, log_std = self._gaussian(dist).chunk(2, -1)
        u = mean + log_std.exp() * noise
        squashed = 2 * (math.log(2) - u - F.softplus(-2 * u))
        density = -0.5 * noise.square() - log_std - 0.5 * math.log(2 * math.pi) - squashed
        return u.tanh(), density.sum(-1)

    def sample(self, dist: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw Float32[B, d] within (-1, 1)."""
        return super().sample(self._gaussian(dist), generator).tanh()

    def mode(self, dist: Tensor) -> Tensor:
        """Float32[B, d], the tanh of the mean."""
        return super().mode(dist).tanh()

    def log_prob(self, dist: Tensor, actions: Tensor) -> Tensor:
        """Float[B], log-density of actions within [-1, 1]; at the bounds, of the nearest number."""
        inside = 1 - torch.finfo(actions.dtype).eps
        u = actions.clamp(-inside, inside).atanh()
        squashed = 2 * (math.log(2) - u - F.softplus(-2 * u))
        return super().log_prob(self._gaussian(dist), u) - squashed.sum(-1)

    def entropy(self, dist: Tensor) -> Tensor:
        """There is no closed form: it is estimated from what is drawn."""
        raise AssertionError("the entropy of a squashed Gaussian has no closed form")

    def kl(self, dist: Tensor, other: Tensor) -> Tensor:
        """Float[B], nats; that of the Gaussians, which squashing does not change."""
        return super().kl(self._gaussian(dist), self._gaussian(other))

    def _gaussian(self, dist: Tensor) -> Tensor:
        """With log deviations within what arithmetic holds."""
        mean, log_std = dist.chunk(2, -1)
        return torch.cat([mean, log_std.clamp(*LOG_STD)], -1)


def draw_choice(dist: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Int64[B], drawn by Float[B, n] logits."""
    noise = torch.empty(dist.shape, dtype=torch.float32, device=dist.device)
    noise.exponential_(generator=generator)
    return (dist.float() - noise.log_()).argmax(-1)


def epsilon_greedy(values: Tensor, epsilon: Tensor) -> Tensor:
    """Logits Float[B, n] of a policy that takes any action with probability epsilon, else the best.

    Args:
        values: Float[B, n].
        epsilon: Float[B], or Float[] of all.
    """
    chance = (epsilon / values.shape[-1]).unsqueeze(-1).expand_as(values)
    best = values.argmax(-1, keepdim=True)
    greedy = torch.zeros_like(values).scatter(-1, best, 1.0) * (1 - epsilon).unsqueeze(-1)
    return (greedy + chance).clamp(min=torch.finfo(values.dtype).tiny).log()


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


def build_values_head(space: gymnasium.Space[Any]) -> ValuesHead:
    """The head of a policy that is known by the values of its choices.

    Raises:
        UserError: the space is not Discrete.
    """
    if not isinstance(space, gymnasium.spaces.Discrete):
        rule = f"its actions are one choice, not {type(space).__name__}"
        raise UserError(rule, field="algorithm", hint="ppo")
    return ValuesHead(int(space.n), int(space.start))


def build_soft_head(space: gymnasium.Space[Any]) -> CategoricalHead | SquashedHead:
    """The head of a soft actor-critic, which needs bounds or one choice.

    Raises:
        UserError: the space is neither Discrete nor a Box from -1 to 1, as every Box with bounds is
            for a policy.
    """
    if isinstance(space, gymnasium.spaces.Discrete):
        return CategoricalHead(int(space.n), int(space.start))
    if not isinstance(space, gymnasium.spaces.Box):
        rule = (
            f"its actions are quantities between bounds or one choice, not {type(space).__name__}"
        )
        raise UserError(rule, field="algorithm", hint="ppo")
    if ((space.low != -1) | (space.high != 1)).any():
        rule = "squashes actions between bounds, which this Box does not have"
        hint = "ppo, or --env.wrappers with gymnasium's RescaleAction"
        raise UserError(rule, field="algorithm", hint=hint)
    return SquashedHead(space.shape)
