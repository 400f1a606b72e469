"""Running means and variances of a loop: what normalises observations, and batch norms.

Agents whose networks are averaged must see their inputs on one scale. Means average; variances do
not, as they leave out by how much the means differ. What travels are first and second raw moments:
those of a mix are the moments of the pooled data (:mod:`gala.parameters.statistics`). Counts stay
an agent's own: they say how much its next observations move its mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gala.parameters.statistics import RESOLUTION, Moments

HOLDERS = ("obs_rms", "return_rms", "ret_rms")
"""Where Gymnasium's and Stable-Baselines3's wrappers keep what they normalise by."""


class MeanAndVariance:
    """A running mean and variance, wherever they lie, as raw moments.

    Args:
        owner: what holds them: arrays, tensors or numbers.
        mean: name of the attribute.
        variance: name of the attribute.
    """

    def __init__(self, owner: Any, mean: str = "mean", variance: str = "var") -> None:
        self._owner, self._mean, self._variance = owner, mean, variance

    @property
    def shape(self) -> tuple[int, ...]:
        """Of either."""
        return tuple(np.shape(getattr(self._owner, self._mean)))

    def collect(self, first: Tensor, second: Tensor) -> None:
        """Write the moments into Float[...] each."""
        mean, variance = (
            torch.as_tensor(getattr(self._owner, name), device=first.device).double()
            for name in (self._mean, self._variance)
        )
        first.copy_(mean)
        second.copy_(variance + mean.square())

    def distribute(self, first: Tensor, second: Tensor) -> None:
        """Become what these moments say."""
        mean, square = first.double(), second.double()
        variance = torch.maximum(square - mean.square(), RESOLUTION * square)
        self._set(self._mean, mean)
        self._set(self._variance, variance)

    def _set(self, name: str, value: Tensor) -> None:
        before = getattr(self._owner, name)
        if isinstance(before, Tensor):
            before.copy_(value)
        elif isinstance(before, np.ndarray | np.generic):
            setattr(self._owner, name, value.numpy().astype(before.dtype))
        else:
            setattr(self._owner, name, float(value))


Found = tuple[str, MeanAndVariance | Moments]


def moments_of(holder: Any, name: str) -> list[Found]:
    """The running moments in a normaliser: a wrapper of environments, or the thing itself.

    Args:
        holder: has ``mean`` and ``var``, or ``running_mean`` and ``running_var``, or one of
            :data:`HOLDERS` (of an environment also below further wrappers), or is a
            :class:`~gala.parameters.statistics.Moments`.
        name: of it, for layouts and messages.

    Raises:
        TypeError: it has none of these.
    """
    found = list(_in(holder, name))
    if not found:
        kind, known = type(holder).__name__, ", ".join(HOLDERS)
        raise TypeError(f"{name}: {kind} has neither mean and var nor one of {known}")
    return found


def _in(holder: Any, name: str) -> Iterator[Found]:
    if isinstance(holder, Moments):
        yield name, holder
    elif _has(holder, "mean", "var"):
        yield name, MeanAndVariance(holder)
    elif _has(holder, "running_mean", "running_var"):
        yield name, MeanAndVariance(holder, "running_mean", "running_var")
    else:
        for attribute in HOLDERS:
            inner = _attribute(holder, attribute)
            parts = inner.items() if isinstance(inner, dict) else [("", inner)]
            for key, part in parts:  # Stable-Baselines3 has one for each key of a Dict
                if part is not None:
                    yield from _in(part, f"{name}.{attribute}{'.' * bool(key)}{key}")


def _attribute(holder: Any, name: str) -> Any:
    found = getattr(holder, name, None)
    if found is None and hasattr(holder, "get_wrapper_attr"):
        try:
            found = holder.get_wrapper_attr(name)
        except AttributeError:
            return None
    return found


def _has(holder: Any, *names: str) -> bool:
    """Whether these are numbers, not methods as those of a tensor."""
    values = [getattr(holder, name, None) for name in names]
    return all(isinstance(each, Tensor | np.ndarray | np.generic | float) for each in values)


def batch_norms(module: nn.Module) -> Iterator[Found]:
    """The running statistics of a module's batch norms, those of them that are kept."""
    for name, layer in module.named_modules():
        if _has(layer, "running_mean", "running_var"):
            yield name, MeanAndVariance(layer, "running_mean", "running_var")
