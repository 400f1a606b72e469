"""Trust radius: how far away a message may be; parameters that are finite can still be nonsense.

Agents of one run stay close to one another, so that a message from far away comes from a neighbour
that has lost its way (a broken optimizer, damaged memory). It is refused beyond ``factor`` times
the larger of two lengths: the median distance of the messages accepted lately, and the largest
recent update of the receiver itself, because agents whose first reward has come part suddenly, and
by as much as such an update moves.

Distance grows for good reasons too: two sides of a cut network drift apart while they cannot talk.
The radius therefore grows with the silence of the sender, stays so until the sender is believed,
and shrinks back as the sides find together: a sender is believed up to twice the distance at which
it was last believed.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Callable

import torch
from torch import Tensor

from gala.parameters.flat import sample

WINDOW = 128
"""Accepted distances, of all neighbours, whose median is taken."""

ENOUGH = 32
"""Accepted distances before anything is refused."""

QUARANTINE = 8
"""Refusals in a row after which a sender is in quarantine: looked at, but not waited for."""


def distance_between(a: Tensor, b: Tensor) -> float:
    """``||a - b||_2`` of Float[P] vectors; of large ones estimated: a radius needs no digits."""
    some = sample(a)
    return float(torch.dist(some, sample(b))) * math.sqrt(a.numel() / some.numel())


class TrustRadius:
    """Trust radius of one agent.

    Args:
        factor: c, times the larger of the two lengths.
        moved: asked for the L2 norm of the largest recent update of the agent itself.
    """

    def __init__(self, factor: float, moved: Callable[[], float] = lambda: 0.0) -> None:
        assert factor > 1.0, factor
        self._factor, self._moved = factor, moved
        self._distances: deque[float] = deque(maxlen=WINDOW)
        self._believed: dict[int, float] = {}
        self._granted: dict[int, float] = {}

    def radius(self, peer: int) -> float:
        """Largest distance that is accepted from ``peer`` now; infinite at first."""
        if len(self._distances) < ENOUGH:
            return float("inf")
        usual = self._factor * max(statistics.median(self._distances), self._moved())
        return max(usual * self._granted.get(peer, 1.0), 2.0 * self._believed.get(peer, 0.0))

    def accepts(self, peer: int, distance: float, silence: float = 1.0) -> bool:
        """Whether ``||x_peer - x||_2 = distance`` is believed; remembers it if so.

        Args:
            peer: the sender.
            distance: of its message.
            silence: gap before this message, in typical gaps of the sender.
        """
        self._granted[peer] = max(self._granted.get(peer, 1.0), silence)
        if not distance <= self.radius(peer):
            return False
        self._granted.pop(peer)
        self._distances.append(distance)
        self._believed[peer] = distance
        return True


class Quarantine:
    """Counts refusals in a row by sender.

    Attributes:
        streak: refusals since the last accepted message, by sender.
    """

    def __init__(self) -> None:
        self.streak: dict[int, int] = {}

    def __contains__(self, peer: int) -> bool:
        """Whether ``peer`` is in quarantine."""
        return self.streak.get(peer, 0) >= QUARANTINE

    def refuse(self, peer: int) -> bool:
        """Count a refusal; True when it begins a quarantine."""
        self.streak[peer] = self.streak.get(peer, 0) + 1
        return self.streak[peer] == QUARANTINE

    def accept(self, peer: int) -> bool:
        """Note a good message; True when it ends a quarantine."""
        return self.streak.pop(peer, 0) >= QUARANTINE
