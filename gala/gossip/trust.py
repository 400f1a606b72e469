"""Trust radius: how far away a message may be; parameters that are finite can still be nonsense.

Agents of one run stay close to one another, so that a message from far away comes from a neighbour
that has lost its way (a broken optimizer, damaged memory). It is refused beyond ``factor`` times
the largest of these lengths: the median distance of the sender's messages accepted lately, that of
the neighbours, and the largest recent update of the receiver itself, because agents whose first
reward has come part suddenly, and by as much as such an update moves. The own updates give the
scale from the first message on, and limit the medians: who comes a little farther with each
message is followed only so far.

Two that learn part by an update each, at most, for each update that they do without the other's
word: so far a message is believed whatever is usual. Where the machine is short of time and its
agents come to run in turns, those who are refused once would else part for good.

Distance grows for good reasons too: two sides of a cut network drift apart while they cannot talk.
After a silence of the sender the radius is therefore wider, once: the sender is believed up to the
distance at which it was believed then, until it is back within the usual radius, and must have been
there for long before another silence counts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Lengths = NDArray[np.float64]

WINDOW = 32
"""Accepted distances of each neighbour whose median is taken."""

EVERY = 8
"""Accepted messages of a neighbour from one median to the next; the first ones count each."""

ENOUGH = 32
"""Accepted distances that give the scale where the own updates are unknown."""

LARGEST = 16.0
"""Medians count up to so many times the own largest update, for each update between messages."""

MAX_APART = 100.0
"""Own updates without a word that was believed, for which a sender may have come away."""

MAX_SILENCE = 100.0
"""Largest factor that a silence widens the radius by."""

WAY_BACK = 64
"""Messages for which a sender is believed beyond the usual radius after a silence."""

REST = 128
"""Messages within the usual radius before another silence counts."""

QUARANTINE = 8
"""Refusals in a row after which a sender is in quarantine: looked at, but not waited for."""


class TrustRadius:
    """Trust radius of one agent, for one length or for several that are judged side by side.

    Args:
        factor: c, times the usual length.
        moved: asked for the L2 norm of the largest recent update of the agent itself, one for all
            lengths or one for each; 0: unknown.
    """

    def __init__(self, factor: float, moved: Callable[[], float | Lengths] = lambda: 0.0) -> None:
        assert factor > 1.0, factor
        self._factor, self._moved = factor, moved
        self._distances: dict[int, deque[Lengths]] = {}
        self._medians: dict[int, Lengths] = {}
        self._among: Lengths = np.zeros(1)  # the median of the neighbours' medians
        self._heard: dict[int, int] = {}
        self._anchor: Lengths | None = None
        self._count = 0
        self._granted: dict[int, float] = {}
        self._way_back: dict[int, tuple[Lengths, int]] = {}
        self._good: dict[int, int] = {}
        self._apart: dict[int, float] = {}

    def radius(self, peer: int, updates: float = 1.0) -> Lengths:
        """Largest distances that are accepted from ``peer`` without a silence; infinite where
        nothing is known.

        Args:
            peer: the sender.
            updates: of the receiver from one message of ``peer`` to the next.
        """
        moved = np.asarray(self._moved(), dtype=np.float64)
        known = moved > 0.0
        if self._anchor is None and not known.any():
            return np.full(1, np.inf)
        usual = np.maximum(self._among, self._medians.get(peer, self._among))
        limit = LARGEST * moved * min(max(updates, 1.0), MAX_SILENCE)
        if self._anchor is not None:
            limit = np.maximum(limit, self._anchor)
        found: Lengths = self._factor * np.maximum(moved, np.minimum(usual, limit))
        return found if self._anchor is not None else np.where(known, found, np.inf)

    def accepts(
        self,
        peer: int,
        distance: float | Sequence[float] | Lengths,
        silence: float = 1.0,
        updates: float = 1.0,
    ) -> bool:
        """Whether a message ``distance`` away is believed; remembers it if so.

        Args:
            peer: the sender.
            distance: of its message, ``||x_peer - x||_2``, or one for each length.
            silence: gap before this message, in typical gaps of the sender.
            updates: see :meth:`radius`.
        """
        found = np.atleast_1d(np.asarray(distance, dtype=np.float64))
        if not np.isfinite(found).all():
            return False
        usual = self.radius(peer, updates)
        apart = self._apart[peer] = self._apart.get(peer, 0.0) + updates
        drift = 2.0 * np.asarray(self._moved(), dtype=np.float64) * min(apart, MAX_APART)
        radius = np.maximum(usual, drift)
        if self._good.get(peer, REST) >= REST:
            silence = min(max(silence, self._granted.get(peer, 1.0)), MAX_SILENCE)
            self._granted[peer] = silence
        within = bool((found <= radius).all())
        if not within and not self._is_on_its_way_back(peer, found, radius):
            return False
        self._granted.pop(peer, None)
        self._apart[peer] = 0.0
        if within:
            self._way_back.pop(peer, None)
            self._good[peer] = self._good.get(peer, REST) + 1
        # equal parameters, as before anybody learns, give no scale; nor does what came apart
        if found.any() and not (within and (found > usual).any()):
            self._remember(peer, np.minimum(found, usual))
        return True

    def _is_on_its_way_back(self, peer: int, found: Lengths, radius: Lengths) -> bool:
        """Whether a distance beyond the usual radius is believed because of a silence."""
        allowed, left = self._way_back.get(peer, (radius, 0))
        if left > 0 and (found <= allowed).all():
            self._way_back[peer] = allowed, left - 1
            return True
        if not (found <= radius * self._granted.get(peer, 1.0)).all():
            return False
        self._way_back[peer] = np.maximum(found, radius), WAY_BACK
        self._good[peer] = 0
        return True

    def _remember(self, peer: int, found: Lengths) -> None:
        window = self._distances.setdefault(peer, deque(maxlen=WINDOW))
        window.append(found)
        heard = self._heard[peer] = self._heard.get(peer, 0) + 1
        if heard <= WINDOW or heard % EVERY == 0:
            self._medians[peer] = _median(np.array(window))
            among = np.sort(np.stack(list(self._medians.values())), axis=0)
            self._among = among[(len(among) - 1) // 2]  # of two the nearer one
        self._count += 1
        if self._count == ENOUGH:
            anchor: Lengths = np.max(np.stack(list(self._medians.values())), axis=0)
            moved = np.asarray(self._moved(), dtype=np.float64)
            self._anchor = np.where(moved > 0.0, np.minimum(anchor, LARGEST * moved), anchor)


def _median(rows: Lengths) -> Lengths:
    """Float64[m] of Float64[n, m]; ``numpy.median`` takes four times as long for so few."""
    ordered = np.sort(rows, axis=0)
    middle = len(ordered) // 2
    found: Lengths = (ordered[(len(ordered) - 1) // 2] + ordered[middle]) / 2.0
    return found


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
