"""Optimizers of one flat vector: the same numbers as ``torch.optim``, a second less to start.

``torch.optim.Optimizer`` loads torch's compiler at its first call, which costs an agent more than a
second of a core and 70 MB, and an agent that comes back after a crash should be back at once.

A step has two halves, because a device replays recorded steps: what changes from step to step is
worked out by :meth:`Optimizer.advance`, what is done to the parameters by :meth:`Optimizer.apply`.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import torch
from torch import Tensor

from gala.config import A2CConfig
from gala.flat import FlatParameters
from gala.lane import Direct, Lane


class Optimizer(Protocol):
    """Changes parameters against their gradient.

    Attributes:
        lr: learning rate of the next step.
    """

    lr: float

    def advance(self) -> None:
        """Work out the numbers of the next step."""
        ...

    def apply(self) -> None:
        """Change the parameters by those numbers; may be recorded, and may spend the gradient."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything from which :meth:`load_state_dict` goes on."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        ...


class RMSProp:
    """``v <- a v + (1 - a) g^2``, ``x <- x - lr g / (sqrt(v) + eps)`` (Tieleman, Hinton 2012).

    As in torch, ``v`` begins at 0, without a correction: the first step is ``1 / sqrt(1 - a)``
    learning rates long in each parameter, ten with 0.99. A high rate may then end a network of
    rectified units at once. :class:`Adam` with ``betas=(0, a)`` is the same with the correction.

    Args:
        flat: parameters and gradient.
        lr: learning rate.
        alpha: smoothing of the squared gradient.
        eps: added to the denominator.
        lane: where it works.
    """

    def __init__(
        self,
        flat: FlatParameters,
        *,
        lr: float,
        alpha: float,
        eps: float,
        lane: Lane | None = None,
    ) -> None:
        self.lr = lr
        self._flat, self._alpha, self._eps = flat, alpha, eps
        self._size = (lane or Direct()).number()
        self._square = torch.zeros_like(flat.data)
        self._denominator = torch.empty_like(flat.data)

    def advance(self) -> None:
        """See :class:`Optimizer`."""
        self._size.set(self.lr)

    @torch.no_grad()
    def apply(self) -> None:
        """See :class:`Optimizer`."""
        grad = self._flat.grad
        self._square.mul_(self._alpha).addcmul_(grad, grad, value=1 - self._alpha)
        torch.sqrt(self._square, out=self._denominator).add_(self._eps)
        _descend(self._flat, self._size.value, grad, self._denominator)

    def state_dict(self) -> dict[str, Any]:
        """See :class:`Optimizer`."""
        return {"kind": "rmsprop", "lr": self.lr, "square": self._square.cpu().clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See :class:`Optimizer`."""
        assert state["kind"] == "rmsprop", state["kind"]
        self.lr = state["lr"]
        self._square.copy_(state["square"])


class Adam:
    """Adam with bias correction (Kingma, Ba 2015).

    Args:
        flat: parameters and gradient.
        lr: learning rate.
        eps: added to the denominator.
        betas: smoothing of the gradient and of its square.
        lane: where it works.
    """

    def __init__(
        self,
        flat: FlatParameters,
        *,
        lr: float,
        eps: float,
        betas: tuple[float, float] = (0.9, 0.999),
        lane: Lane | None = None,
    ) -> None:
        lane = lane or Direct()
        self.lr = lr
        self._size, self._correction = lane.number(), lane.number()
        self._flat, self._eps, self._betas = flat, eps, betas
        self._steps = 0
        self._mean = torch.zeros_like(flat.data)
        self._square = torch.zeros_like(flat.data)
        self._denominator = torch.empty_like(flat.data)

    def advance(self) -> None:
        """See :class:`Optimizer`."""
        first, second = self._betas
        self._steps += 1
        self._correction.set(math.sqrt(1 - second**self._steps))
        self._size.set(self.lr / (1 - first**self._steps))

    @torch.no_grad()
    def apply(self) -> None:
        """See :class:`Optimizer`."""
        grad, (first, second) = self._flat.grad, self._betas
        self._mean.lerp_(grad, 1 - first)
        self._square.mul_(second).addcmul_(grad, grad, value=1 - second)
        root = torch.sqrt(self._square, out=self._denominator)
        root.div_(self._correction.value).add_(self._eps)
        _descend(self._flat, self._size.value, self._mean, root)

    def state_dict(self) -> dict[str, Any]:
        """See :class:`Optimizer`."""
        return {
            "kind": "adam",
            "lr": self.lr,
            "steps": self._steps,
            "mean": self._mean.cpu().clone(),
            "square": self._square.cpu().clone(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See :class:`Optimizer`."""
        assert state["kind"] == "adam", state["kind"]
        self.lr, self._steps = state["lr"], state["steps"]
        self._mean.copy_(state["mean"])
        self._square.copy_(state["square"])


def _descend(
    flat: FlatParameters, size: float | Tensor, numerator: Tensor, denominator: Tensor
) -> None:
    """``x <- x - size numerator / denominator``, rounded alike for both kinds of ``size``."""
    if isinstance(size, Tensor):  # of a device; spends the gradient
        scaled = torch.mul(numerator, size, out=flat.grad)
        flat.data.addcdiv_(scaled, denominator, value=-1)
    else:
        flat.data.addcdiv_(numerator, denominator, value=-size)


def build_optimizer(
    config: A2CConfig, flat: FlatParameters, lr: float, lane: Lane | None = None
) -> Optimizer:
    """The optimizer that the configuration names."""
    eps = config.optimizer_eps
    if config.optimizer == "adam":
        return Adam(flat, lr=lr, eps=eps, betas=config.adam_betas, lane=lane)
    return RMSProp(flat, lr=lr, alpha=config.rmsprop_alpha, eps=eps, lane=lane)
