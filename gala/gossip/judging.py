"""Judging: whether received parameters are mixed, from all of them and part by part.

A radius for the whole vector alone would not see a small tensor of a large network: each tensor is
held against its own usual distance, too. Statistics behind the parameters are judged apart: their
scale is that of the environment's numbers, and where they alone are too far away the message is
mixed with the own ones in their place.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor

from gala.gossip import message
from gala.gossip.message import Refusal, Refused
from gala.gossip.trust import Lengths, TrustRadius
from gala.parameters.distances import Distances

FADING = 0.99
"""Factor per message on the largest change of the own statistics."""

ALIKE = 0.9
"""Cosine from which two differences point one way."""

ONE_WAY = 32
"""Messages in a row that may point one way, if they are beyond half an own update."""

ROUNDING = 1e-5
"""Distance, of the largest own parameter, below which nothing points anywhere."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """How a flat vector is made up.

    Attributes:
        sizes: elements of each tensor, in order.
        learned: number of leading elements that are parameters; statistics follow.
    """

    sizes: tuple[int, ...]
    learned: int


class Gaps:
    """Gaps between the messages of each neighbour that were looked into."""

    def __init__(self) -> None:
        self._examined: dict[int, tuple[float, int]] = {}

    def note(
        self, peer: int, *, now: float, updates: int, apart: int, typical: float | None
    ) -> tuple[float, float]:
        """Note a message that is looked into.

        Args:
            peer: the sender.
            now: in seconds, or in versions where these are the clock (lock-step), so that a verdict
                hangs on nothing but what happened.
            updates: of the receiver so far.
            apart: updates that one of the two did and the other did not.
            typical: usual gap between messages of ``peer`` by that clock; None: unknown.

        Returns:
            Time since the one before, in typical gaps, and updates since then. Of a first message:
            the updates that either did without the other, and 1.
        """
        before = self._examined.get(peer)
        self._examined[peer] = now, updates
        if before is None:
            return float(max(updates, apart, 1)), 1.0
        silence = (now - before[0]) / typical if typical else 1.0
        return silence, float(updates - before[1])


class Screen:
    """What a message must pass before it is mixed.

    Args:
        factor: see :class:`Judge`; None: any message that is finite passes.
        parts: see :class:`Judge`.
        moved: see :class:`Judge`.
    """

    def __init__(
        self, factor: float | None, parts: Parts | None, moved: Callable[[], float]
    ) -> None:
        self._judge = Judge(factor, parts, moved) if factor is not None else None
        self._gaps = Gaps()

    def admit(
        self,
        peer: int,
        vector: Tensor,
        own: Tensor | None,
        *,
        now: float,
        updates: int,
        apart: int,
        typical: float | None,
    ) -> Tensor:
        """What is to be mixed of a message of ``peer``.

        Args:
            peer: the sender.
            vector: Float[P], its message.
            own: Float[P], the parameters that it is held against; None: it is no parameters.
            now: see :meth:`Gaps.note`, as the following.
            updates: of the receiver.
            apart: updates between the two.
            typical: usual gap between messages.

        Raises:
            Refused: it does not pass.
        """
        if self._judge is None or own is None:
            message.require_finite(vector)
            return vector
        gaps = self._gaps.note(peer, now=now, updates=updates, apart=apart, typical=typical)
        return self._judge.judge(peer, vector, own, *gaps)


class Judge:
    """Decides on the messages of all neighbours of one agent.

    Args:
        factor: see :class:`~gala.gossip.trust.TrustRadius`.
        parts: of the vector; None: one tensor of parameters.
        moved: asked for the L2 norm of the agent's largest recent update of its parameters.
    """

    def __init__(
        self, factor: float, parts: Parts | None, moved: Callable[[], float] = lambda: 0.0
    ) -> None:
        self._factor, self._parts, self._moved = factor, parts, moved
        self._parameters = TrustRadius(factor, moved)
        self._statistics = TrustRadius(factor, lambda: self._changed)
        self._before: Tensor | None = None
        self._changed: Lengths = np.zeros(1)
        self._directions: dict[int, _Direction] = {}
        self._distances: Distances | None = None
        self._steps: Distances | None = None
        self._ours = 0  # leading parts that are parameters

    def judge(
        self, peer: int, vector: Tensor, own: Tensor, silence: float = 1.0, updates: float = 1.0
    ) -> Tensor:
        """What is to be mixed of a message of ``peer``.

        Args:
            peer: the sender.
            vector: Float[P], its message.
            own: Float[P], the parameters that it is held against.
            silence: see :meth:`~gala.gossip.trust.TrustRadius.accepts`.
            updates: see :meth:`~gala.gossip.trust.TrustRadius.accepts`.

        Returns:
            ``vector``, or a copy with the own statistics in it.

        Raises:
            Refused: it is not finite, too far away, or one of many that pull one way.
        """
        if self._parts is None:
            self._parts = Parts(sizes=(vector.numel(),), learned=vector.numel())
        if self._distances is None:
            self._distances = Distances(self._parts.sizes)
            self._ours = bisect_left(list(accumulate(self._parts.sizes)), self._parts.learned) + 1
        lengths = self._distances(vector, own)
        if not np.isfinite(lengths).all() and not bool(torch.isfinite(vector).all()):
            raise Refused(Refusal.NON_FINITE)
        sizes, learned, ours = self._parts.sizes, self._parts.learned, self._ours
        distances = np.empty(ours + 1)  # of all parameters, and of each tensor
        distances[1:] = lengths[:ours]
        distances[0] = math.sqrt(float(distances[1:] @ distances[1:]))
        if not self._moved() and not self._is_near(own, distances[0]):
            raise Refused(Refusal.DISTANCE)
        if distances[0] > 0.5 * self._moved():
            direction = self._directions.setdefault(peer, _Direction())
            if direction.holds(vector[:learned], own[:learned], float(distances[0])):
                raise Refused(Refusal.ONE_WAY)
        if not self._parameters.accepts(peer, distances, silence, updates):
            raise Refused(Refusal.DISTANCE)
        if ours < len(sizes):
            self._note_statistics(own[learned:], sizes[ours:])
            if not self._statistics.accepts(peer, lengths[ours:], silence, updates):
                return torch.cat([vector[:learned], own[learned : len(vector)].to(vector)])
        return vector

    def _is_near(self, own: Tensor, distance: float) -> bool:
        """Whether a message is believed where no own update gives the scale."""
        norm = float(own.norm())
        return norm == 0.0 or distance <= self._factor * norm

    def _note_statistics(self, own: Tensor, sizes: tuple[int, ...]) -> None:
        """The largest change from message to message gives the scale of statistics."""
        if self._before is not None:
            self._steps = self._steps or Distances(sizes)
            self._changed = np.maximum(FADING * self._changed, self._steps(own, self._before))
        self._before = own.clone()


class _Direction:
    """Whether the messages of one neighbour point one way, away from the own parameters.

    Agents that learn and mix are now on this side of one another and now on that. Who is at the
    same side in ``ONE_WAY`` messages in a row, and no nearer, pulls the receiver along without end,
    by steps that no radius sees. It is then not believed for as many messages, and for twice as
    many each next time; so what it moves grows like the logarithm of its messages.
    """

    def __init__(self) -> None:
        self._first: Tensor | None = None
        self._length = 0.0
        self._alike = 0
        self._left = 0
        self._sentence = ONE_WAY
        self._position = 0

    def holds(self, vector: Tensor, own: Tensor, length: float) -> bool:
        """Whether the message ``vector``, ``length`` away from ``own``, is not to be believed.

        The difference itself, Float[P], is formed only where all before it pointed one way.
        """
        if self._left > 0:
            if self._is_alike(vector, own, length):
                self._left -= 1
                return True
            self._left = self._position = 0
        if self._position == 0:
            if length <= ROUNDING * float(torch.linalg.vector_norm(own, float("inf"))):
                return False
            self._first = torch.sub(vector, own)
            self._length, self._alike = length, 0
        elif self._alike == self._position - 1 and self._is_alike(vector, own, length):
            self._alike += 1
        self._position += 1
        if self._position <= ONE_WAY:
            return False
        self._position = 0
        if self._alike == ONE_WAY:
            self._left, self._sentence = self._sentence, 2 * self._sentence
            return True
        return False

    def _is_alike(self, vector: Tensor, own: Tensor, length: float) -> bool:
        if not length >= 0.5 * self._length > 0.0 or self._first is None:
            return False
        along = float(torch.sub(vector, own).dot(self._first))
        return along >= ALIKE * length * self._length
