"""Statistics: running moments that travel with the parameters.

Agents whose parameters are averaged must see their inputs on one scale. So the moments lie behind
the parameters in the flat vector, and are mixed with the same weights: raw first and second moments
of a mix are those of the pooled data, and the variance made of them contains what the agents differ
by. (Standard deviations do not average.)
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

WINDOW = 1000
"""Updates over which moments are averaged, once there were so many: what an agent sees changes."""

RESOLUTION = 1e-6
"""Share of the second moment below which a variance is rounding in float32."""

LIMIT = 10.0
"""Largest normalised value (Stable-Baselines3's and Gymnasium's)."""


class Moments(nn.Module):
    """First and second raw moments of Float[N, ...], over N.

    Args:
        shape: of what is counted.
    """

    first: Tensor
    second: Tensor
    count: Tensor

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("first", torch.zeros(tuple(shape)))
        self.register_buffer("second", torch.ones(tuple(shape)))
        self.register_buffer("count", torch.zeros(()))

    @torch.no_grad()
    def update(self, values: Tensor) -> None:
        """Count Float[N, ...]; may be recorded.

        Values whose squares overflow, or that are not finite, do not count, nor do those beside
        them: one of them would stay in the moments for ever.
        """
        first, second = values.mean(0), values.square().mean(0)
        counts = second.isfinite().all()
        self.count.add_(counts).clamp_(max=WINDOW)
        rate = 1.0 / self.count.clamp(min=1.0)
        self.first.lerp_(torch.where(counts, first, self.first), rate)
        self.second.lerp_(torch.where(counts, second, self.second), rate)

    def deviation(self) -> Tensor:
        """Standard deviations, Float[...], above 0."""
        variance = self.second - self.first.square()
        return torch.maximum(variance, RESOLUTION * self.second).add(1e-8).sqrt()

    def forward(self, values: Tensor) -> Tensor:
        """``values`` with mean 0 and deviation 1, within 10 of 0; Float[N, ...]."""
        return ((values - self.first) / self.deviation()).clamp(-LIMIT, LIMIT)
