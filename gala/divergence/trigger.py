"""Trigger: publish when the own parameters, or the own policy, moved since the last message.

What is not published is not sent, on any transport. Agents then mix with whoever published, and the
weight of the others stays with themselves: a silent neighbour is one that is about where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

Distance = Callable[[Tensor, Tensor], float | None]
"""From parameters as they were published to those of now, Float[P] each; None: not known."""


class Trigger:
    """Decides, after each update, whether to publish.

    Args:
        vector: Float[P], the parameters; read, never changed.
        distance: how far they moved, by whatever measure.
        threshold: distance beyond which it is published.

    Attributes:
        moved: the distance when last looked at.
    """

    def __init__(self, vector: Tensor, distance: Distance, threshold: float) -> None:
        self._vector, self._distance, self._threshold = vector, distance, threshold
        self._sent: Tensor | None = None
        self.moved = 0.0

    def due(self, copies: int) -> int:
        """All ``copies`` if it moved, at first, and when it cannot be compared; else 0."""
        found = None if self._sent is None else self._distance(self._sent, self._vector)
        if found is None:
            return copies
        self.moved = found
        return copies if found > self._threshold else 0

    def sent(self, copies: int) -> None:
        """Note that the parameters as they are now were published."""
        if self._sent is None:
            self._sent = torch.empty_like(self._vector)
        self._sent.copy_(self._vector)

    def before_mix(
        self,
        weights: Mapping[int, float],
        received: Mapping[int, Tensor],
        updates: Mapping[int, int],
    ) -> None:
        """What neighbours send decides nothing here."""

    def measured(self, relative: float) -> None:
        """Nor does the distance to the mean."""

    def metrics(self) -> dict[str, float | None]:
        """Nothing beyond what is counted anyway."""
        return {}


def drift(before: Tensor, now: Tensor) -> float:
    """``||now - before|| / ||now||``, the distance of ``--gossip.trigger drift``."""
    return float(torch.dist(now, before)) / max(float(now.norm()), 1e-30)
