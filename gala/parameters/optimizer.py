"""The optimizer of one flat vector: the same numbers as ``torch.optim``, a second less to start.

``torch.optim.Optimizer`` loads torch's compiler at its first call, which costs an agent more than a
second of a core and 70 MB, and an agent that comes back after a crash should be back at once.

A step has two halves, because a device replays recorded steps: what changes from step to step is
worked out by :meth:`Optimizer.advance`, what is done to the parameters by :meth:`Optimizer.apply`.
Steps are counted where the parameters are, because only there it is known at once which were left
out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gala.device.streams import Direct, Stream
from gala.parameters.flat import FlatParameters
from gala.parameters.optimizer_config import OptimizerConfig

LONG_AGO = 10**9
"""Steps after which nothing of a correction for the start is left."""


class Optimizer:
    """Adam (Kingma, Ba 2015), and RMSProp (Tieleman, Hinton 2012), which is Adam without momentum.

    ``m <- b1 m + (1 - b1) g``, ``v <- b2 v + (1 - b2) g^2``, ``x <- x - lr m / (sqrt(v) + eps)``,
    in one pass over the vectors: torch's own kernel, the one of ``torch.optim.Adam(fused=True)``.

    Both vectors begin at 0; with ``corrected`` they are divided by ``1 - b1^t`` and ``1 - b2^t``.
    Torch's RMSProp does not do that: its first step is ``1 / sqrt(1 - b2)`` learning rates long in
    each parameter, ten with 0.99, and a high rate may end a network of rectified units there.

    Args:
        flat: parameters and gradient.
        lr: learning rate.
        eps: added to the denominator.
        betas: smoothing of the gradient and of its square.
        corrected: for the start.
        stream: where it works.
        part: of the vectors that it moves.

    Attributes:
        lr: learning rate of the next step.
    """

    def __init__(
        self,
        flat: FlatParameters,
        *,
        lr: float,
        eps: float,
        betas: tuple[float, float] = (0.9, 0.999),
        corrected: bool = True,
        stream: Stream | None = None,
        part: slice = slice(None),
    ) -> None:
        stream = stream or Direct()
        self.lr = lr
        self._data, self._grad = flat.data[part], flat.grad[part]
        self._eps, self._betas = eps, betas
        self._rate = stream.number()
        # float32 is what the kernel reads; it counts to 2^24, when corrections are long over
        self._steps = torch.zeros((), device=flat.data.device)
        self._time = self._steps if corrected else torch.full_like(self._steps, LONG_AGO)
        self._mean = torch.zeros_like(self._data)
        self._square = torch.zeros_like(self._data)
        self._shared: Tensor | None = None

    def advance(self) -> None:
        """Work out the numbers of the next step."""
        self._rate.set(_rounded(self.lr))

    @torch.no_grad()
    def apply(self, skip: Tensor | None = None) -> None:
        """Change the parameters by those numbers; may be recorded.

        Args:
            skip: Float32[], 1 where the step is to be left out: nothing changes, also not the
                state. None or 0: it is done.
        """
        first, second = self._betas
        self._steps.add_(1.0)
        if skip is not None:
            self._steps.sub_(skip)
        stepped = self._data if self._shared is None else self._shared
        torch._fused_adam_(
            [stepped], [self._grad], [self._mean], [self._square], [], [self._time],
            lr=self._rate.value, beta1=first, beta2=second, weight_decay=0.0, eps=self._eps,
            amsgrad=False, maximize=False, found_inf=skip,
        )  # fmt: skip
        if self._shared is not None:
            self._data.copy_(self._shared)

    @torch.no_grad()
    def share(self, attach: Callable[[Tensor, Tensor], tuple[Tensor, Tensor, bool]]) -> bool:
        """From now on step parameters, and use squares, that others step as well.

        The parameters of ``flat`` are copies of them, renewed after each step.

        Args:
            attach: gets both vectors of this agent; gives those that are shared, and whether
                they are others'.

        Returns:
            Whether the parameters are others'.
        """
        assert self._betas[0] == 0, "momentum would be of an agent's own"
        self._shared, self._square, others = attach(self._data, self._square)
        self._data.copy_(self._shared)
        return others

    def forget(self) -> None:
        """Begin anew, with the learning rate as it is."""
        for tensor in (self._steps, self._mean, self._square):
            tensor.zero_()

    def state_dict(self) -> dict[str, Any]:
        """Everything from which :meth:`load_state_dict` goes on."""
        return {
            "lr": self.lr,
            "steps": int(self._steps),
            "mean": self._mean.cpu().clone(),
            "square": self._square.cpu().clone(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        self.lr = state["lr"]
        self._steps.fill_(state["steps"])
        self._mean.copy_(state["mean"])
        self._square.copy_(state["square"])


def _rounded(number: float) -> float:
    """As a tensor holds it, so that the CPU computes what a device does."""
    return torch.tensor(number, dtype=torch.float32).item()


def build_optimizer(
    config: OptimizerConfig,
    flat: FlatParameters,
    lr: float,
    stream: Stream | None = None,
    *,
    part: slice = slice(None),
) -> Optimizer:
    """The optimizer that the configuration names."""
    eps = config.optimizer_eps
    if config.optimizer == "adam":
        return Optimizer(flat, lr=lr, eps=eps, betas=config.adam_betas, stream=stream, part=part)
    betas = (0.0, config.rmsprop_alpha)
    return Optimizer(flat, lr=lr, eps=eps, betas=betas, corrected=False, stream=stream, part=part)
