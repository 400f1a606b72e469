"""What each layer gave while acting, kept so that learning need not compute it again.

Parameters do not change within a rollout of A2C: the forward pass of an update repeats, observation
by observation, what acting has computed. Acting therefore writes the outputs of all layers into
``[T x B, ...]`` arrays, and the update runs only the backward pass, of all T x B observations at
once. (Keeping autograd's own graphs of T small passes would need T small backward passes, which
cost what the forward pass saves.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional as F


def empty(shape: Sequence[int], device: torch.device, dtype: torch.dtype) -> Tensor:
    """Room for activations; images lie with their channels last in memory."""
    layout = torch.channels_last if len(shape) == 4 else torch.contiguous_format
    return torch.empty(tuple(shape), device=device, dtype=dtype, memory_format=layout)


class Layer(NamedTuple):
    """A convolution without padding, or a matrix; a rectifier follows.

    Attributes:
        weight: Float[out, in, k, k], or Float[out, in].
        bias: Float[out].
        stride: of the convolution; None for a matrix, which takes its input flattened.
    """

    weight: Tensor
    bias: Tensor
    stride: int | None

    def laid_out(self) -> Layer:
        """A copy of a convolution with channels last, so that not each use makes one."""
        if self.stride is None:
            return self
        return self._replace(weight=self.weight.clone(memory_format=torch.channels_last))

    def follow(self, other: Layer) -> None:
        """Take over the weights of what this was laid out from."""
        if self.stride is not None:
            self.weight.copy_(other.weight)

    def affine(self, x: Tensor) -> Tensor:
        """What the rectifier gets for B inputs."""
        if self.stride is None:
            return F.linear(x.flatten(1), self.weight, self.bias)
        return F.conv2d(x, self.weight, self.bias, self.stride)


class Activations:
    """Inputs and outputs of layers for the observations of a rollout; the arrays are reused.

    Args:
        observations: T x B.
    """

    def __init__(self, observations: int) -> None:
        self._observations = observations
        self._begin, self._end = 0, 0  # of those that were begun last; all before are known
        self._values: list[Tensor] = []

    @property
    def complete(self) -> bool:
        """Whether all T x B are known."""
        return self._end == self._observations

    def forget(self) -> None:
        """The parameters have changed."""
        self._begin = self._end = 0

    def begin(self, place: slice) -> None:
        """Those at ``place`` of T x B come next; 0 begins a new rollout."""
        assert place.start in (0, self._end), f"observation {place.start} after {self._end}"
        self._begin, self._end = place.start, place.stop

    def slot(self, number: int, like: Tensor, dtype: torch.dtype) -> Tensor:
        """Where the values of layer ``number`` belong, of the observations that were begun."""
        if number == len(self._values):
            shape = (self._observations, *like.shape[1:])
            self._values.append(empty(shape, like.device, dtype))
        return self._values[number][self._begin : self._end]

    def of(self, number: int) -> Tensor:
        """[T x B, ...], the values of layer ``number``."""
        assert self.complete
        return self._values[number]


class _Replayed(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, stride: int | None, known: Tensor
    ) -> Tensor:
        ctx.save_for_backward(x, weight, known)
        ctx.stride = stride
        return known.detach()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, known = ctx.saved_tensors
        gradient = torch.ops.aten.threshold_backward(gradients[0], known, 0)
        if ctx.stride is None:
            flat = x.flatten(1)
            of_x = (gradient @ weight).view(x.shape) if ctx.needs_input_grad[0] else None
            if of_x is not None and x.dim() == 4:
                of_x = of_x.contiguous(memory_format=torch.channels_last)
            return of_x, gradient.t() @ flat, gradient.sum(0), None, None
        of_x, of_weight, of_bias = torch.ops.aten.convolution_backward(
            gradient, x, weight, [len(weight)], [ctx.stride] * 2, [0, 0], [1, 1], False, [0, 0], 1,
            [ctx.needs_input_grad[0], True, True],
        )  # fmt: skip
        return of_x, of_weight, of_bias, None, None


@runtime_checkable
class Keeping(Protocol):
    """A trunk that learns from what was kept of its acting; it may compute in bfloat16."""

    def layers(self) -> list[Layer]:
        """From the input on, as the parameters are now."""
        ...

    def record(self, obs: Tensor, layers: Sequence[Layer], kept: Activations) -> Tensor:
        """Features of B observations by ``layers``, laid out; what each gives is ``kept``."""
        ...

    def replay(self, kept: Activations) -> Tensor:
        """Features of all that was recorded, with gradients to the parameters."""
        ...


def replayed(x: Tensor, layer: Layer, known: Tensor) -> Tensor:
    """``relu(layer.affine(x))`` that is ``known`` already: only the backward pass computes."""
    out: Tensor = _Replayed.apply(x, *layer, known)  # type: ignore[no-untyped-call]
    return out
