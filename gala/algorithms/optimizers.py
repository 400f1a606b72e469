"""Optimizers of one flat vector: the same numbers as ``torch.optim``, a second less to start.

``torch.optim.Optimizer`` loads torch's compiler at its first call, which costs an agent more than a
second of a core and 70 MB, and an agent that comes back after a crash should be back at once.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import torch

from gala.config import A2CConfig
from gala.flat import FlatParameters


class Optimizer(Protocol):
    """Changes parameters against their gradient.

    Attributes:
        lr: learning rate of the next step.
    """

    lr: float

    def step(self) -> None:
        """One step."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything from which :meth:`load_state_dict` goes on."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        ...


class RMSProp:
    """``v <- a v + (1 - a) g^2``, ``x <- x - lr g / (sqrt(v) + eps)`` (Tieleman, Hinton 2012).

    Args:
        flat: parameters and gradient.
        lr: learning rate.
        alpha: smoothing of the squared gradient.
        eps: added to the denominator.
    """

    def __init__(self, flat: FlatParameters, *, lr: float, alpha: float, eps: float) -> None:
        self.lr = lr
        self._flat, self._alpha, self._eps = flat, alpha, eps
        self._square = torch.zeros_like(flat.data)
        self._denominator = torch.empty_like(flat.data)

    @torch.no_grad()
    def step(self) -> None:
        """See :class:`Optimizer`."""
        grad = self._flat.grad
        self._square.mul_(self._alpha).addcmul_(grad, grad, value=1 - self._alpha)
        torch.sqrt(self._square, out=self._denominator).add_(self._eps)
        self._flat.data.addcdiv_(grad, self._denominator, value=-self.lr)

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
    """

    def __init__(
        self,
        flat: FlatParameters,
        *,
        lr: float,
        eps: float,
        betas: tuple[float, float] = (0.9, 0.999),
    ) -> None:
        self.lr = lr
        self._flat, self._eps, self._betas = flat, eps, betas
        self._steps = 0
        self._mean = torch.zeros_like(flat.data)
        self._square = torch.zeros_like(flat.data)
        self._denominator = torch.empty_like(flat.data)

    @torch.no_grad()
    def step(self) -> None:
        """See :class:`Optimizer`."""
        grad, (first, second) = self._flat.grad, self._betas
        self._steps += 1
        self._mean.lerp_(grad, 1 - first)
        self._square.mul_(second).addcmul_(grad, grad, value=1 - second)
        correction = math.sqrt(1 - second**self._steps)
        torch.sqrt(self._square, out=self._denominator).div_(correction).add_(self._eps)
        size = self.lr / (1 - first**self._steps)
        self._flat.data.addcdiv_(self._mean, self._denominator, value=-size)

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


def build_optimizer(config: A2CConfig, flat: FlatParameters, lr: float) -> Optimizer:
    """The optimizer that the configuration names."""
    if config.optimizer == "adam":
        return Adam(flat, lr=lr, eps=config.optimizer_eps)
    return RMSProp(flat, lr=lr, alpha=config.rmsprop_alpha, eps=config.optimizer_eps)
