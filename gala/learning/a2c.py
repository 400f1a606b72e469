"""Advantage actor-critic (Mnih et al. 2016, synchronous form): one update from one rollout.

An update has two halves, gradient and step, with the reduction of the gradient between them. A
device records each half once and replays it: that costs a launch more than one recording would, and
it is the same for all couplings, of which ``allreduce`` needs the CPU in the middle.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gala.config.tree import A2CConfig
from gala.device.streams import Direct, Stream
from gala.experience import Rollout
from gala.learning.returns import explained_variance, gae
from gala.networks.model import Model
from gala.parameters.flat import FlatParameters
from gala.parameters.optimizer import build_optimizer

Statistics = dict[str, float]


def scaled_lr(config: A2CConfig, simulators: int) -> float:
    """The learning rate with ``simulators`` simulators over all agents.

    ``sqrt`` scaling: the configured rate is for 16 simulators (paper, appendix).
    """
    scale = (simulators / 16) ** 0.5 if config.lr_scaling == "sqrt" else 1.0
    return config.lr * scale


class A2C:
    """Owns the optimizer; :meth:`update` is one step on one rollout.

    Args:
        config: coefficients.
        flat: the master parameters.
        compute: the module that acts and learns for them.
        lr: learning rate at the start.
        stream: where it works.
    """

    def __init__(
        self,
        config: A2CConfig,
        flat: FlatParameters,
        compute: Model,
        *,
        lr: float,
        stream: Stream | None = None,
    ) -> None:
        stream = stream or Direct()
        self.config, self.initial_lr = config, lr
        self._flat, self._compute = flat, compute
        self.optimizer = build_optimizer(config, flat, lr, stream)
        self._entropy_coef = stream.number()
        self.schedule(0.0)
        self._differentiate = stream.captured(self._gradient_of)
        self._descend = stream.captured(self._step)

    def schedule(self, progress: float) -> float:
        """Set what is scheduled to ``progress`` in [0, 1] of the run; return the learning rate."""
        left = 1.0 - min(max(progress, 0.0), 1.0)
        config = self.config
        self.optimizer.lr = self.initial_lr * (left if config.lr_schedule == "linear" else 1.0)
        self._entropy_coef.set(
            config.entropy_coef * (left if config.entropy_schedule == "linear" else 1.0)
        )
        return self.optimizer.lr

    def update(
        self, rollout: Rollout, reduce: Callable[[Tensor], None] | None = None
    ) -> dict[str, Tensor]:
        """One optimizer step on ``rollout``.

        The loss is the mean over valid steps of ``-A log pi(a|s) + value_coef (G - V)^2 -
        entropy_coef H``, with ``A`` from generalised advantage estimation and ``G = A + V``.

        Args:
            rollout: T steps of B simulators; on a device, always the same one.
            reduce: called with the flat gradient before it is clipped (gradient averaging).

        Returns:
            Scalars to log, still tensors, reused by the next update; turn them into numbers with
            :func:`statistics` only when they are logged.
        """
        losses = self._differentiate(rollout)
        if reduce is not None:
            reduce(self._flat.grad)
        self.optimizer.advance()
        return losses | {"losses/grad_norm": self._descend()}

    def _gradient_of(self, rollout: Rollout) -> dict[str, Tensor]:
        """The gradient of the loss, into the flat vector."""
        config, head = self.config, self._compute.module.head
        advantage = gae(
            rollout.reward,
            rollout.discount,
            rollout.value,
            rollout.next_value,
            rollout.cut,
            config.gae_lambda,
        )
        target = advantage + rollout.value
        device = self._flat.data.device
        weight = rollout.valid.flatten().to(device, torch.float32)
        weight /= weight.sum().clamp(min=1.0)
        advantage, target_flat = advantage.flatten().to(device), target.flatten().to(device)
        if config.normalize_advantage:
            mean = (weight * advantage).sum()
            deviation = (weight * (advantage - mean).square()).sum().sqrt()
            advantage = (advantage - mean) / (deviation + 1e-8)

        dist, value = self._compute.learn(rollout.obs[:-1].flatten(0, 1).to(device))
        action = rollout.action.flatten(0, 1).to(device)
        policy_loss = -(weight * advantage * head.log_prob(dist, action)).sum()
        value_loss = (weight * (target_flat - value).square()).sum()
        entropy = (weight * head.entropy(dist)).sum()
        loss = policy_loss + config.value_coef * value_loss - self._entropy_coef.value * entropy

        self._compute.zero_grad()
        torch.autograd.backward(loss)
        self._compute.gradient()
        return {
            "losses/policy_loss": policy_loss.detach(),
            "losses/value_loss": value_loss.detach(),
            "losses/entropy": entropy.detach(),
            "value": rollout.value,
            "target": target,
            "valid": rollout.valid,
        }

    def _step(self) -> Tensor:
        """Clip the gradient and follow it; returns its norm before."""
        gradient, limit = self._flat.grad, self.config.max_grad_norm
        norm: Tensor = gradient.norm()
        if limit is not None:
            gradient.mul_((limit / (norm + 1e-6)).clamp(max=1.0))
        self.optimizer.apply()
        self._compute.refresh()
        return norm


def statistics(raw: dict[str, Tensor]) -> Statistics:
    """Numbers to log from what :meth:`A2C.update` returned."""
    numbers = {name: float(tensor) for name, tensor in raw.items() if name.startswith("losses/")}
    value, target = (raw[name][raw["valid"]] for name in ("value", "target"))
    numbers["losses/explained_variance"] = explained_variance(value, target)
    return numbers
