"""Halves: an optimizer of its own for each of two parts of a flat vector, which step by turns."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gala.device.streams import Stream
from gala.parameters.flat import FlatParameters
from gala.parameters.optimizer import build_optimizer
from gala.parameters.optimizer_config import OptimizerConfig


class HalvedOptimizer:
    """Two optimizers of one kind and rate.

    A gradient of one part says nothing of the other: one optimizer for both would let the momentum
    of what has no gradient just now run on.

    Args:
        config: of both.
        flat: parameters and gradient.
        middle: where the second half begins; it ends with what is learned.
        lr: learning rate.
        stream: where it works.
    """

    def __init__(
        self,
        config: OptimizerConfig,
        flat: FlatParameters,
        middle: int,
        *,
        lr: float,
        stream: Stream | None = None,
    ) -> None:
        self._parts = slice(0, middle), slice(middle, flat.learned)
        self._halves = [build_optimizer(config, flat, lr, stream, part=p) for p in self._parts]

    @property
    def lr(self) -> float:
        """Learning rate of the next step."""
        return self._halves[0].lr

    @lr.setter
    def lr(self, lr: float) -> None:
        for half in self._halves:
            half.lr = lr

    def half(self, second: bool) -> slice:
        """Where in the vector a half lies."""
        return self._parts[second]

    @torch.no_grad()
    def step(self, second: bool, skip: Tensor | None = None) -> None:
        """A step of one half; see :meth:`~gala.parameters.optimizer.Optimizer.apply`."""
        half = self._halves[second]
        half.advance()
        half.apply(skip)

    def forget(self) -> None:
        """See :class:`~gala.parameters.optimizer.Optimizer`."""
        for half in self._halves:
            half.forget()

    def state_dict(self) -> dict[str, Any]:
        """Everything from which :meth:`load_state_dict` goes on."""
        return {"halves": [half.state_dict() for half in self._halves]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        for half, saved in zip(self._halves, state["halves"], strict=True):
            half.load_state_dict(saved)
