"""Optimizers of a loop: found inside what wraps them, and when all of them have stepped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch.optim import Optimizer

WRAPPERS = ("optimizer", "_optimizer")
"""Where Accelerate, Lightning and others keep the optimizer that they wrap."""


def find_optimizers(given: Any, name: str = "optimizer") -> list[Optimizer]:
    """One optimizer or several, each without what wraps it.

    Args:
        given: by the user.
        name: of the argument.

    Raises:
        TypeError: something else was given.
        ValueError: none was, or one of them twice.
    """
    several = isinstance(given, Sequence)
    found = [
        _unwrapped(each, f"{name}[{i}]" if several else name)
        for i, each in enumerate(given if several else [given])
    ]
    if not found:
        raise ValueError(f"{name}: the list is empty")
    if len({id(each) for each in found}) < len(found):
        raise ValueError(f"{name}: one of them stands in the list twice")
    return found


def _unwrapped(optimizer: Any, name: str) -> Optimizer:
    seen: list[Any] = []
    while optimizer not in seen:
        seen.append(optimizer)
        for attribute in WRAPPERS:
            inner = getattr(optimizer, attribute, None)
            if isinstance(inner, Optimizer):
                optimizer = inner
                break
    if not isinstance(optimizer, Optimizer):
        kind = type(optimizer).__name__
        raise TypeError(f"{name}: must be a torch.optim.Optimizer, got {kind}")
    return optimizer


class Steps:
    """Counts steps, and calls back when there were enough of each optimizer.

    Hooks are called after ``step()`` itself: a step that gradient accumulation or a gradient scaler
    leaves out does not count, a step with a closure counts once.

    Args:
        optimizers: at least one.
        every: steps of each between two calls.
        after: the one whose steps alone count; None: all.
        then: called.

    Attributes:
        total: steps of all.
    """

    def __init__(
        self,
        optimizers: list[Optimizer],
        every: int,
        after: Optimizer | None,
        then: Callable[[], None],
    ) -> None:
        self._every, self._then = every, then
        self._counts = {id(each): 0 for each in ([after] if after is not None else optimizers)}
        self.total = 0
        self._hooks = [each.register_step_post_hook(self._count) for each in optimizers]

    def close(self) -> None:
        """Call back no more."""
        for hook in self._hooks:
            hook.remove()

    def _count(self, optimizer: Optimizer, *arguments: Any) -> None:
        self.total += 1
        if id(optimizer) not in self._counts:
            return
        self._counts[id(optimizer)] += 1
        if min(self._counts.values()) >= self._every:
            self._counts = dict.fromkeys(self._counts, 0)
            self._then()
