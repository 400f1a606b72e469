"""Diagnosis: why a gradient was not finite, as far as a batch and its losses tell."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gala.experience.batch import Batch
from gala.learning.learner import Losses

NORM = "losses/grad_norm"


def cause(batch: Batch, losses: Losses, faults: Sequence[str] = ()) -> str:
    """The first thing on the way from the environments to the gradient that was not finite.

    Waits for a device.

    Args:
        batch: that was learned from, as it was.
        losses: of an update with steps that were left out.
        faults: what the environments gave that is not finite, in words.
    """
    if faults:
        return ", ".join(faults)
    largest = _largest(batch)
    for name, column in (("reward", batch.reward), ("value", batch.value),
                         ("action distribution", batch.dist)):  # fmt: skip
        env = _first_env(column)
        if env is not None:
            return f"{name} of environment {env} is not finite, {largest}"
    spoilt = {name: float(value) for name, value in losses.spoilt.items()}
    for name, value in spoilt.items():
        if name != NORM and not torch.isfinite(torch.tensor(value)):
            return f"{name} is {value}, observations and rewards are finite, {largest}"
    if losses.target is not None and not losses.target[losses.valid].isfinite().all():
        return f"what values are regressed on is not finite, {largest}"
    norm = spoilt.get(NORM, 0.0)
    if torch.isfinite(torch.tensor(norm)):
        return f"gradient is too large to be followed unclipped: its norm is {norm:.3g}, {largest}"
    return (
        "gradient is not finite, while this agent's batch and loss are: it comes from the "
        "backward pass or, where gradients are averaged, from another agent"
    )


def _first_env(column: Tensor) -> int | None:
    """The first environment in which [T, B, ...] is not finite."""
    bad = (~column.isfinite()).flatten(2).any(-1) if column.dim() > 2 else ~column.isfinite()
    found = bad.any(0).nonzero()
    return int(found[0]) if len(found) else None


def _largest(batch: Batch) -> str:
    """The largest reward and observation, and where they come from."""
    reward = batch.reward.abs().amax(0)
    env = int(reward.argmax())
    text = f"the largest reward is {float(reward[env]):.3g} (environment {env})"
    if batch.obs.is_floating_point():
        text += f", the largest observation {float(batch.obs.abs().max()):.3g}"
    return text
