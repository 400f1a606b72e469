"""Duals: numbers above 0 that hold a constraint of an algorithm, and the step that they take.

They are the last parameters of the flat vector, so that they are saved and mixed with it: a mix of
numbers above 0 is one. But they have an optimizer of their own, and no part in the norm of the
gradient: how far the network may move must not depend on a constraint's slack.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gala.device.streams import Stream
from gala.parameters.flat import FlatParameters
from gala.parameters.gradient import SQUARABLE
from gala.parameters.optimizer import Optimizer, build_optimizer
from gala.parameters.optimizer_config import OptimizerConfig

NAME = "duals.values"
"""Of theirs in the layout of a network's parameters."""
SMALLEST = 1e-8
"""What is below it after a step is put there (projection)."""
EPS = 1e-8
"""Of the denominator of Adam, which moves them."""


class Duals(nn.Module):
    """Float[K] that are learned.

    Args:
        initial: numbers above 0.
    """

    def __init__(self, initial: Sequence[float]) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.tensor(initial, dtype=torch.float32))


class DualOptimizer:
    """An optimizer of the network and Adam for the duals behind it, as one.

    Args:
        config: of the network's.
        flat: parameters and gradient.
        count: K, how many of the last parameters are duals.
        lr: learning rate of the network.
        dual_lr: learning rate of the duals; scheduled as that of the network is.
        stream: where it works.
    """

    def __init__(
        self,
        config: OptimizerConfig,
        flat: FlatParameters,
        count: int,
        *,
        lr: float,
        dual_lr: float,
        stream: Stream | None = None,
    ) -> None:
        begin, end = flat.learned - count, flat.learned
        self._network = build_optimizer(config, flat, lr, stream, part=slice(begin))
        self._duals = Optimizer(flat, lr=dual_lr, eps=EPS, stream=stream, part=slice(begin, end))
        self._values, self._ratio = flat.data[begin:end], dual_lr / lr

    @property
    def lr(self) -> float:
        """Learning rate of the network's next step."""
        return self._network.lr

    @lr.setter
    def lr(self, lr: float) -> None:
        self._network.lr = lr
        self._duals.lr = self._ratio * lr

    def advance(self) -> None:
        """See :class:`~gala.parameters.optimizer.Optimizer`."""
        self._network.advance()
        self._duals.advance()

    @torch.no_grad()
    def apply(self, skip: Tensor | None = None) -> None:
        """See :class:`~gala.parameters.optimizer.Optimizer`."""
        self._network.apply(skip)
        self._duals.apply(skip)
        self._values.clamp_(min=SMALLEST)

    def forget(self) -> None:
        """See :class:`~gala.parameters.optimizer.Optimizer`."""
        self._network.forget()
        self._duals.forget()

    def state_dict(self) -> dict[str, Any]:
        """Everything from which :meth:`load_state_dict` goes on."""
        return {**self._network.state_dict(), "duals": self._duals.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        self._network.load_state_dict(state)
        self._duals.load_state_dict(state["duals"])


def unusable(gradient: Tensor) -> Tensor:
    """Float32[], 1 where no step can be made of the duals' gradient Float[K]: see clip_gradient."""
    usable: Tensor = (gradient.abs() <= SQUARABLE).all()
    return (~usable).float()
