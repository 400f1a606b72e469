"""What a soft actor-critic has besides a policy: two critics, their targets, a temperature.

All of it lies in the flat vector. The temperature's logarithm is a parameter as the critics are;
targets are buffers, which lie behind the parameters and are no optimizer's. So they are mixed with
neighbours by the same weights in the same round: both averages are linear, and a mix of targets is
the average that the mix of critics would have had (mixing critics alone leaves targets behind).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gala.networks.heads import SquashedHead
from gala.networks.trunks import orthogonal_

MIXED_CHOICES = 0.5
"""Share of the entropy of equal choices that a policy of choices is held at, unless asked for."""


class Draw(NamedTuple):
    """What a policy does in N observations, with gradients.

    Attributes:
        action: Float[N, d], one action each; of choices Float[N, n], the probability of each.
        log_prob: Float[N], of that action; of choices the mean over them.
    """

    action: Tensor
    log_prob: Tensor


class Critics(nn.Module):
    """Two action values of their own parameters.

    Args:
        trunks: of both, which give ``features`` numbers.
        features: of them.
        outputs: values for each input.
        generator: draws the weights of the last layers.
    """

    def __init__(
        self,
        trunks: Sequence[nn.Module],
        features: int,
        outputs: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        layers = [nn.Linear(features, outputs) for _ in trunks]
        for layer in layers:
            orthogonal_(layer, 1.0, generator)
        self.trunks, self.values = nn.ModuleList(trunks), nn.ModuleList(layers)

    def both(self, given: Tensor) -> Tensor:
        """Float[2, N, outputs]."""
        pairs = zip(self.features(given), self.values, strict=True)
        return torch.stack([value(features) for features, value in pairs])

    def features(self, given: Tensor) -> tuple[Tensor, ...]:
        """What each trunk makes of it, Float[N, F]."""
        return tuple(trunk(given) for trunk in self.trunks)


class QuantityCritics(Critics):
    """Of a Box: an action enters beside the observation.

    Args:
        trunks: see :class:`Critics`.
        features: see :class:`Critics`.
        head: of the policy.
        scale: what numbers of observations are multiplied by.
        generator: see :class:`Critics`.
    """

    def __init__(
        self,
        trunks: Sequence[nn.Module],
        features: int,
        head: SquashedHead,
        scale: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__(trunks, features, 1, generator)
        self._head, self._scale = head, scale
        self.noise = head.size // 2
        self.entropy = -float(self.noise)

    def draw(self, dist: Tensor, noise: Tensor) -> Draw:
        """An action of each distribution, Float[N, K], from Float[N, noise]."""
        return Draw(*self._head.draw(dist, noise))

    def expected(self, obs: Tensor, drawn: Draw) -> Tensor:
        """Float[N], the lower of both values of what was drawn."""
        return self.taken(obs, drawn.action).amin(0)

    def taken(self, obs: Tensor, action: Tensor) -> Tensor:
        """Float[2, N] of actions Float[N, d]."""
        return self.both(self.given(obs, action)).squeeze(-1)

    def given(self, obs: Tensor, action: Tensor) -> Tensor:
        """What the trunks are given of N observations and actions."""
        obs = obs.flatten(1).to(action.dtype)
        if self._scale != 1:
            obs = obs * self._scale
        return torch.cat([obs, action], -1)


class ChoiceCritics(Critics):
    """Of n choices: all are valued at once, and expectations are exact (Christodoulou 2019).

    Args:
        trunks: see :class:`Critics`.
        features: see :class:`Critics`.
        choices: n.
        generator: see :class:`Critics`.
    """

    noise = 0

    def __init__(
        self,
        trunks: Sequence[nn.Module],
        features: int,
        choices: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__(trunks, features, choices, generator)
        self.entropy = MIXED_CHOICES * math.log(choices)

    def draw(self, dist: Tensor, noise: Tensor) -> Draw:
        """The probabilities of Float[N, n] logits; nothing is drawn."""
        log_p = F.log_softmax(dist, -1)
        return Draw(log_p.exp(), (log_p.exp() * log_p).sum(-1))

    def expected(self, obs: Tensor, drawn: Draw) -> Tensor:
        """Float[N], the mean over the choices of the lower of both values."""
        return (drawn.action * self.both(obs).amin(0)).sum(-1)

    def taken(self, obs: Tensor, action: Tensor) -> Tensor:
        """Float[2, N] of actions Int64[N]."""
        which = action.expand(2, -1).unsqueeze(-1)
        return self.both(obs).gather(-1, which).squeeze(-1)

    def given(self, obs: Tensor, action: Tensor) -> Tensor:
        """The observations: all actions are valued at once."""
        return obs


AnyCritics = QuantityCritics | ChoiceCritics


class Soft(nn.Module):
    """Critics, their targets, and the temperature by which entropy is paid.

    Args:
        critics: freshly made; the targets begin equal to them.
        temperature: at the start.

    Attributes:
        critics: as given; their ``entropy`` is what a policy is held at unless asked otherwise, in
            nats, their ``noise`` the random numbers that a draw takes.
        targets: the same, of which all numbers are buffers.
        log_alpha: Float[], logarithm of the temperature.
    """

    critics: AnyCritics
    targets: AnyCritics

    def __init__(self, critics: AnyCritics, temperature: float) -> None:
        super().__init__()
        self.critics = critics
        self.log_alpha = nn.Parameter(torch.tensor(math.log(temperature), dtype=torch.float32))
        self.targets = _as_buffers(critics)


def _as_buffers(critics: AnyCritics) -> AnyCritics:
    """A copy whose parameters are buffers."""
    twin = copy.deepcopy(critics)
    for module in twin.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            delattr(module, name)
            module.register_buffer(name, parameter.detach().clone())
    return twin
