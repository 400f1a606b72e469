"""What a CUDA graph is, on the CPU: operations on memory, written down once and done again.

Like a graph, a tape holds addresses and plain numbers. What was read from a Python float stays as
it was; what a function leaves in other tensors than before is not seen. While it is recorded
nothing happens: what the function changed is put back, and what it made is spoilt.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

T = TypeVar("T")

WAITS = ("_local_scalar_dense", "is_nonzero", "nonzero", "equal", "masked_select", "item")
"""Operations for which a device is waited for."""


def tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


class Tape(TorchDispatchMode):
    """Writes down what is done while it is entered."""

    def __init__(self, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self._generator = generator
        self._calls: list[tuple[Any, Any, Any, Any]] = []
        self._made: dict[int, Tensor] = {}
        self._before: dict[int, tuple[Any, Any]] = {}

    def record(self, function: Callable[[], T]) -> T:
        generator = self._generator
        state = generator.get_state() if generator is not None else None
        with self:
            result = function()
        for storage, content in self._before.values():
            storage.copy_(content)
        for tensor in self._made.values():
            if tensor.is_floating_point():
                with torch.no_grad():
                    tensor.detach().fill_(float("nan"))
        if generator is not None:
            generator.set_state(state)
        return result

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        assert name not in WAITS, f"{name} waits for the device: it cannot be recorded"
        if "generator" in kwargs or name.startswith(("exponential", "normal", "uniform", "rand")):
            drawn_from = getattr(kwargs.get("generator"), "_cdata", None)
            assert drawn_from == getattr(self._generator, "_cdata", 0), f"{name} of a stranger"
        for argument, given in zip(func._schema.arguments, args, strict=False):
            self._keep(argument, given)
        for argument in func._schema.arguments:
            self._keep(argument, kwargs.get(argument.name))
        out = func(*args, **kwargs)
        given = {memory(each) for each in tensors((args, kwargs))}
        for tensor in tensors(out):
            if memory(tensor) not in given:
                self._made[memory(tensor)] = tensor
        self._calls.append((func, args, kwargs, out))
        return out

    def _keep(self, argument: Any, given: Any) -> None:
        """What was there before the tape and is about to be written."""
        if argument.alias_info is None or not argument.alias_info.is_write:
            return
        for tensor in tensors(given):
            place = memory(tensor)
            if place not in self._made and place not in self._before:
                storage = tensor.untyped_storage()
                self._before[place] = storage, storage.clone()

    @torch.no_grad()
    def replay(self) -> None:
        for func, args, kwargs, out in self._calls:
            if "empty" in func.overloadpacket.__name__:
                continue  # memory that is there already; what was put into it stays
            again = func(*args, **kwargs)
            for old, new in zip(tensors(out), tensors(again), strict=True):
                if memory(old) != memory(new):
                    old.detach().copy_(new)
