"""Returns and advantages of a rollout: pure functions on Float[T, B].

Conventions, for every step t of every simulator:

- ``reward[t]`` follows the action taken at t;
- ``discount[t]`` is 0 where the episode terminated at t, gamma elsewhere (truncation included);
- ``next_value[t]`` is V of the true successor of step t: the next row's value, or the value of the
  final observation where the episode ended;
- ``cut[t]`` is True where step t + 1 does not continue the episode (terminated, truncated, or the
  row after is a reset): nothing may be summed across it.
"""

from __future__ import annotations

import torch
from torch import Tensor


def gae(
    reward: Tensor,
    discount: Tensor,
    value: Tensor,
    next_value: Tensor,
    cut: Tensor,
    gae_lambda: float,
) -> Tensor:
    """Generalised advantage estimates (Schulman et al. 2016, eq. 16), Float[T, B].

    ``delta_t = r_t + d_t V'_t - V_t`` and ``A_t = delta_t + lambda d_t A_{t+1}``, where the second
    term vanishes at a cut. With ``gae_lambda`` 1, ``A + V`` is the n-step return
    (Mnih et al. 2016, section 4).

    Args:
        reward: Float[T, B].
        discount: Float[T, B], 0 at termination.
        value: Float[T, B], V(s_t).
        next_value: Float[T, B], V of the true successor.
        cut: Bool[T, B].
        gae_lambda: lambda in [0, 1].
    """
    assert reward.shape == discount.shape == value.shape == next_value.shape == cut.shape
    delta = reward + discount * next_value - value
    decay = gae_lambda * discount * (~cut)
    advantage = torch.empty_like(delta)
    running = torch.zeros_like(delta[0])
    for t in range(delta.shape[0] - 1, -1, -1):
        running = delta[t] + decay[t] * running
        advantage[t] = running
    return advantage


def explained_variance(value: Tensor, target: Tensor) -> float:
    """1 - Var(target - value) / Var(target) of Float[N]; nan when the targets do not vary."""
    variance = target.var(correction=0) if len(target) else 0.0
    if variance == 0:
        return float("nan")
    return float(1 - (target - value).var(correction=0) / variance)
