"""Publish when there is news: own parameters, or the own policy, moved since the last message.

What is not published is not sent, on any transport. Agents then mix with whoever has news, and the
weight of the others stays with themselves: a silent neighbour is one that is about where it was.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor


class Trigger(Protocol):
    """Decides, after each update, whether to publish."""

    def due(self) -> bool:
        """Whether there is news."""
        ...

    def sent(self) -> None:
        """The parameters as they are now were published."""
        ...


class DriftTrigger:
    """News is ``||x - x_sent|| > threshold ||x||``.

    Args:
        vector: Float[P], the parameters; read, never changed.
        threshold: relative to the norm of the parameters.

    Attributes:
        drift: the relative distance when last looked at.
    """

    def __init__(self, vector: Tensor, threshold: float) -> None:
        self._vector, self._threshold = vector, threshold
        self._sent: Tensor | None = None
        self.drift = 0.0

    def due(self) -> bool:
        """See :class:`Trigger`."""
        if self._sent is None:
            return True
        norm = float(self._vector.norm())
        self.drift = float(torch.dist(self._vector, self._sent)) / max(norm, 1e-30)
        return self.drift > self._threshold

    def sent(self) -> None:
        """See :class:`Trigger`."""
        if self._sent is None:
            self._sent = torch.empty_like(self._vector)
        self._sent.copy_(self._vector)


class PolicyTrigger:
    """News is ``KL(policy as sent || policy now) > threshold`` on the observations at hand.

    Args:
        vector: Float[P], the parameters.
        divergence: mean KL in nats between the policies of two parameter vectors, on recent
            observations; None when there are none yet.
        threshold: in nats.

    Attributes:
        drift: the divergence when last looked at.
    """

    def __init__(
        self,
        vector: Tensor,
        divergence: Callable[[Tensor, Tensor], float | None],
        threshold: float,
    ) -> None:
        self._vector, self._divergence, self._threshold = vector, divergence, threshold
        self._sent: Tensor | None = None
        self.drift = 0.0

    def due(self) -> bool:
        """See :class:`Trigger`."""
        found = None if self._sent is None else self._divergence(self._sent, self._vector)
        if found is None:
            return True
        self.drift = found
        return found > self._threshold

    def sent(self) -> None:
        """See :class:`Trigger`."""
        if self._sent is None:
            self._sent = torch.empty_like(self._vector)
        self._sent.copy_(self._vector)
