"""Returns and advantages of a rollout: pure functions on Float[T, B].

Conventions, for every step t of every environment:

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


def vtrace(
    rho: Tensor,
    reward: Tensor,
    discount: Tensor,
    value: Tensor,
    next_value: Tensor,
    cut: Tensor,
    *,
    trace_lambda: float = 1.0,
    rho_clip: float = 1.0,
    c_clip: float = 1.0,
    pg_rho_clip: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """V-trace targets and policy-gradient advantages (Espeholt et al. 2018, eq. 1), Float[T, B].

    ``delta_t = min(rho_clip, rho_t)(r_t + d_t V'_t - V_t)``, ``c_t = lambda min(c_clip, rho_t)``,
    ``v_t = V_t + delta_t + d_t c_t (v_{t+1} - V_{t+1})``, where the last term vanishes at a cut.

    The advantage is ``min(pg_rho_clip, rho_t)(r_t + d_t v_{t+1} - V_t)``, with ``V'_t`` in the
    place of ``v_{t+1}`` at a cut and in the last row: the convention of IMPALA's and TorchBeast's
    code. (rlax bootstraps with ``lambda v_{t+1} + (1 - lambda) V_{t+1}``: the same at lambda 1.)

    Args:
        rho: Float[T, B], probability of the action by the current policy over the behaviour's.
        reward: Float[T, B].
        discount: Float[T, B], 0 at termination.
        value: Float[T, B], V(s_t) by the current parameters.
        next_value: Float[T, B], V of the true successor, likewise.
        cut: Bool[T, B].
        trace_lambda: fades corrections by later steps, in [0, 1].
        rho_clip: rho-bar, which decides what the targets converge to.
        c_clip: c-bar, which decides how fast.
        pg_rho_clip: of the advantage's weight.

    Returns:
        Targets ``v`` and advantages.
    """
    assert rho.shape == reward.shape == discount.shape == value.shape == next_value.shape
    assert rho.shape == cut.shape
    delta = rho.clamp(max=rho_clip) * (reward + discount * next_value - value)
    carry = discount * (~cut) * trace_lambda * rho.clamp(max=c_clip)
    target = torch.empty_like(delta)
    successor = next_value.clone()  # what is bootstrapped from: v_{t+1}, or V' at a cut
    running = torch.zeros_like(delta[0])
    for t in range(delta.shape[0] - 1, -1, -1):
        running = delta[t] + carry[t] * running
        target[t] = value[t] + running
        if t > 0:
            successor[t - 1] = torch.where(cut[t - 1], next_value[t - 1], target[t])
    advantage = rho.clamp(max=pg_rho_clip) * (reward + discount * successor - value)
    return target, advantage


def n_step_return(
    reward: Tensor, discount: Tensor, next_value: Tensor, cut: Tensor, n: int
) -> Tensor:
    """Rewards of up to n steps and the value of what they led to, Float[T, B].

    ``r_t + d_t r_{t+1} + ... + d_t ... d_{t+m-1} V'_{t+m-1}``, where m is n, or less where a cut or
    the last row comes before.

    Args:
        reward: Float[T, B].
        discount: Float[T, B], 0 at termination.
        next_value: Float[T, B], V of the true successor.
        cut: Bool[T, B].
        n: rewards that are summed at most.
    """
    assert reward.shape == discount.shape == next_value.shape == cut.shape and n >= 1
    last = cut.clone()
    last[-1] = True
    found = reward + discount * next_value
    for _ in range(n - 1):
        following = torch.where(last, next_value, found.roll(-1, 0))
        found = reward + discount * following
    return found


def reaches(row: Tensor, cut: Tensor, n: int) -> Tensor:
    """Whether the rewards that :func:`n_step_return` sums include one of a marked row, Bool[T, B].

    Args:
        row: Bool[T, B], marked.
        cut: Bool[T, B].
        n: rewards that are summed at most.
    """
    goes_on = ~cut
    goes_on[-1] = False
    found = row
    for _ in range(n - 1):
        found = row | goes_on & found.roll(-1, 0)
    return found


def rescaled(x: Tensor, eps: float) -> Tensor:
    """``h(x) = sign(x) (sqrt(|x| + 1) - 1) + eps x`` (Pohlen et al. 2018, arXiv 1805.11593).

    Written so that nothing cancels near 0.
    """
    return x / ((x.abs() + 1).sqrt() + 1) + eps * x


def unrescaled(x: Tensor, eps: float) -> Tensor:
    """The inverse of :func:`rescaled`, likewise.

    ``sign(x) (((sqrt(1 + 4 eps (|x| + 1 + eps)) - 1) / (2 eps))^2 - 1)`` is ``sign(x) m (m + 2)``,
    with ``m`` one less than what is squared.
    """
    root = (1 + 4 * eps * (x.abs() + 1 + eps)).sqrt()
    m = 2 * x / (root + 1 + 2 * eps)
    return m * (m.abs() + 2)


def normalized(advantage: Tensor, weight: Tensor) -> Tensor:
    """Float[N] with mean 0 and (population) deviation 1 over the rows of positive weight.

    Args:
        advantage: Float[N].
        weight: Float[N], 1 in sum.
    """
    mean = (weight * advantage).sum()
    deviation = (weight * (advantage - mean).square()).sum().sqrt()
    return (advantage - mean) / (deviation + 1e-8)
