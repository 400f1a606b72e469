"""Parameters of a module as one flat vector of which the module's tensors are views.

Optimizer, gradient clipping and mixing then are single operations on one contiguous tensor, and a
message is that tensor.
"""

from __future__ import annotations

import hashlib
import json

import torch
from torch import Tensor, nn


class FlatVector:
    """One vector, and what lies where in it: parameters first, what is mixed beside them behind.

    Args:
        vector: Float[P + S].
        layout: ``[name, shape]`` of each tensor in order.
        learned: P, number of leading elements that are parameters.

    Attributes:
        vector: as given, as the other two.
        layout: as given.
        learned: as given.
        layout_hash: 16 hex digits of names, shapes and dtype: equal layouts can be averaged.
    """

    def __init__(
        self, vector: Tensor, layout: list[tuple[str, tuple[int, ...]]], learned: int
    ) -> None:
        self.vector, self.layout, self.learned = vector, layout, learned
        self.layout_hash = layout_hash(layout)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Elements of each tensor, in order."""
        return tuple(torch.Size(shape).numel() for _, shape in self.layout)

    @property
    def data(self) -> Tensor:
        """Float[P + S], detached: what is published and mixed."""
        return self.vector.data

    @property
    def weights(self) -> Tensor:
        """The parameters alone, a view of :attr:`data`: what divergence is measured on."""
        return self.vector.data[: self.learned]

    @property
    def statistics(self) -> Tensor:
        """What lies behind them, a view of :attr:`data`."""
        return self.vector.data[self.learned :]


class FlatParameters(FlatVector):
    """Moves a module's parameters, and their gradients, into two flat vectors, Float[P].

    After construction ``module``'s parameters are views of :attr:`vector` and their ``.grad`` views
    of ``vector.grad``; both stay so for life: use :meth:`zero_grad` (never ``set_to_none``).

    Args:
        module: all its floating-point parameters must share one device.
        buffers: also hold floating-point buffers (e.g. running means of a batch norm), after the
            parameters; their gradient stays zero.
        dtype: element type of both vectors.

    Attributes:
        vector: Float[P] leaf parameter; give it to an optimizer as its only parameter.
    """

    vector: nn.Parameter

    def __init__(
        self, module: nn.Module, *, buffers: bool = False, dtype: torch.dtype = torch.float32
    ) -> None:
        named: list[tuple[str, Tensor]] = list(module.named_parameters())
        if buffers:
            named += [(n, b) for n, b in module.named_buffers() if b.is_floating_point()]
        assert named, "a module without parameters cannot be trained"
        flat = torch.cat([p.detach().reshape(-1).to(dtype) for _, p in named])
        super().__init__(
            nn.Parameter(flat),
            [(n, tuple(p.shape)) for n, p in named],
            sum(p.numel() for p in module.parameters()),
        )
        self.vector.grad = torch.zeros_like(flat)
        offset = 0
        for _, tensor in named:
            end = offset + tensor.numel()
            tensor.data = self.vector.data[offset:end].view(tensor.shape)
            if isinstance(tensor, nn.Parameter):
                tensor.grad = self.vector.grad[offset:end].view(tensor.shape)
            offset = end

    @property
    def grad(self) -> Tensor:
        """Float[P], the gradient that backward passes add to."""
        assert self.vector.grad is not None
        return self.vector.grad

    def zero_grad(self) -> None:
        """Set the gradient to zero in place."""
        self.grad.zero_()


def layout_hash(layout: list[tuple[str, tuple[int, ...]]], dtype: str = "float32") -> str:
    """16 hex digits that agree exactly when names, shapes, order and dtype agree."""
    text = json.dumps([[name, list(shape)] for name, shape in layout] + [dtype])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def unflatten(vector: Tensor, layout: list[tuple[str, tuple[int, ...]]]) -> dict[str, Tensor]:
    """Views of Float[P] by name, as for ``load_state_dict``."""
    shapes = [torch.Size(shape) for _, shape in layout]
    parts = torch.split(vector, [shape.numel() for shape in shapes])
    names = [name for name, _ in layout]
    return {n: part.view(s) for n, part, s in zip(names, parts, shapes, strict=True)}
