"""Reward scale: rewards over the deviation of discounted returns (as VecNormalize does)."""

from __future__ import annotations

import torch
from torch import Tensor

from gala.parameters.statistics import LIMIT, Moments


class RewardScale:
    """Scales the rewards of B environments; the mean is left, as its sign carries the goal.

    Args:
        moments: of discounted returns, of shape (); lie in the agent's flat vector.
        envs: B.
        steps: T.
        gamma: discount per step.
    """

    def __init__(self, moments: Moments, *, envs: int, steps: int, gamma: float) -> None:
        self._moments, self._gamma = moments, gamma
        self.running = torch.zeros(envs)
        self._returns = torch.zeros(steps, envs)
        self._valid = torch.zeros(steps, envs, dtype=torch.bool)

    def apply(self, reward: Tensor, cut: Tensor, valid: Tensor) -> None:
        """Scale Float[T, B] rewards in place, and remember the returns that they add up to.

        Args:
            reward: raw.
            cut: Bool[T, B], where an episode ended.
            valid: Bool[T, B], False in rows that are no step.
        """
        for t in range(len(reward)):
            self.running.mul_(self._gamma).add_(reward[t] * valid[t])
            self._returns[t].copy_(self.running)
            self.running.mul_(~cut[t])
        self.running.nan_to_num_(0.0, 0.0, 0.0)  # a sum that overflowed would never come back
        self._valid.copy_(valid)
        scale = 1.0 / float(self._moments.deviation())
        reward.mul_(scale).clamp_(-LIMIT, LIMIT)

    def learned(self) -> None:
        """The batch was learned from: from now on its returns count."""
        returns = self._returns[self._valid]
        if len(returns):
            self._moments.update(returns.to(self._moments.first.device))
