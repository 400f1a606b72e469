"""Robust mixing: what one neighbour can do to an agent is bounded, whatever it sends.

No verdict is needed on anybody. Self-centred clipping (He, Karimireddy, Jaggi 2022, "Byzantine-
robust decentralized learning via ClippedGossip") lets each neighbour move the agent by no more
than its weight times a radius that the neighbours' median sets; the trimmed mean (Yin, Chen,
Ramchandran, Bartlett 2018) keeps every coordinate between values of agents that tell the truth.
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

CLIP = 2.0
"""Radius of the ball, in median differences."""

WINDOW = 32
"""Mixes over which the usual difference is known."""

GROWTH = 2.0
"""Factor by which the usual difference counts as larger, where one neighbour alone says so."""


class Clipping:
    """Clips the differences to all neighbours to a ball around the own parameters.

    The radius is ``CLIP`` times the lower median of the differences of this mix and of their usual
    size: a minority of neighbours cannot widen it, and an only neighbour does so slowly.

    Attributes:
        shares: of the way to each neighbour that the last mix went.
    """

    def __init__(self) -> None:
        self._usual: deque[float] = deque(maxlen=WINDOW)
        self.shares: dict[int, float] = {}

    def __call__(self, own: Tensor, received: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """``x + (x_j - x) min(1, radius / ||x_j - x||)`` for each neighbour j, Float[P] each."""
        distances = {j: float(torch.dist(vector, own)) for j, vector in received.items()}
        known = [statistics.median(self._usual)] if self._usual else []
        median = statistics.median_low([*distances.values(), *known])
        now = statistics.median_low(distances.values())
        self._usual.append(min(now, GROWTH * known[0]) if known and known[0] > 0.0 else now)
        radius = CLIP * median
        self.shares = {j: 1.0 if d <= radius else radius / d for j, d in distances.items()}
        return {
            j: vector if self.shares[j] == 1.0 else _towards(own, vector, self.shares[j])
            for j, vector in received.items()
        }


def _towards(own: Tensor, vector: Tensor, share: float) -> Tensor:
    """A share of the way; none of it to what is infinitely far away."""
    return torch.lerp(own, vector, share) if share > 0.0 else own.clone()


def trimmed_mean_(x: Tensor, others: Sequence[Tensor]) -> Tensor:
    """The mean of ``x`` and ``others`` without the extremes of each coordinate, into ``x``.

    Args:
        x: Float[P], changed in place; stays as it is with fewer than two others.
        others: Float[P] each.
    """
    if len(others) < 2:
        return x
    total, low, high = x.clone(), x.clone(), x.clone()
    for vector in others:
        total += vector
        torch.minimum(low, vector, out=low)
        torch.maximum(high, vector, out=high)
    # a sum less its extremes would lose all digits beside one that is absurdly large
    if not bool((torch.maximum(low.abs(), high.abs()).max() <= 1e6 * (1 + x.abs().max())).item()):
        return x.copy_(torch.stack([x, *others]).sort(0).values[1:-1].mean(0))
    return x.copy_(total.sub_(low).sub_(high).div_(len(others) - 1))
