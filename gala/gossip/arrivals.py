"""Arrivals: which message of a neighbour is new, and how old it is by the receiver's own clock."""

from __future__ import annotations

import math
from collections import deque

WINDOW = 256
"""Messages over which the largest age is kept."""


class Arrivals:
    """Newest version seen of each neighbour, and when it came.

    Versions grow. One that is lower than what was seen may have been overtaken on its way; when a
    lower one is followed by another that grew, the sender speaks on from there, and what was seen
    before was never its own: a version from the future mutes nobody for longer than two messages.
    """

    def __init__(self) -> None:
        self._newest: dict[int, int] = {}
        self._lower: dict[int, int] = {}
        self._looked: dict[int, float] = {}
        self._came: dict[int, tuple[float, float]] = {}

    def look(self, peer: int, version: int, now: float) -> bool:
        """Whether ``peer``, whose newest version is ``version`` at ``now``, has sent a message."""
        newest = self._newest.get(peer, 0)
        before, self._looked[peer] = self._looked.get(peer, now), now
        new = version > newest
        if 0 < version < newest:
            lower = self._lower.setdefault(peer, version)
            new = version > lower
            self._lower[peer] = version
        if new:
            self._newest[peer] = version
            self._lower.pop(peer, None)
            self._came[peer] = before, now
        return new

    def age_s(self, peer: int, claimed_s: float, now: float) -> float:
        """Seconds since ``peer`` made its newest message.

        It was not there at the look before the one that found it, so that the sender's clock,
        which may go wrong, decides only between these two.

        Args:
            peer: the sender.
            claimed_s: age by the sender's clock.
            now: by the receiver's own.
        """
        earliest, latest = self._came.get(peer, (-math.inf, now))
        return min(max(claimed_s, now - latest), now - earliest)


class Ages:
    """Ages of the messages that were used, in the receiver's own updates.

    Attributes:
        of: age of the newest message that was used, by sender.
        updates: done so far.
        update_s: usual seconds from one update to the next; 0 before the second.
    """

    def __init__(self, now: float) -> None:
        self.of: dict[int, int] = {}
        self.updates = 0
        self._born = self._updated_at = now
        self.update_s = 0.0
        self._recent: deque[int] = deque(maxlen=WINDOW)

    @property
    def largest(self) -> int:
        """Largest recent age; 0 before the first."""
        return max(self._recent, default=0)

    def tick(self, now: float) -> None:
        """An update is done."""
        if self.updates:
            share = 0.1 if self.update_s else 1.0
            self.update_s += (now - self._updated_at - self.update_s) * share
        self.updates, self._updated_at = self.updates + 1, now

    def note(self, peer: int, arrivals: Arrivals, claimed_s: float, now: float) -> None:
        """A message of ``peer`` is used whose age by the sender's clock is ``claimed_s``.

        Its weight goes by the own clock, whatever the sender's says; the model of delays by the
        larger one, which also holds the way that the message came.
        """
        claimed_s = min(claimed_s, now - self._born)
        age_s = arrivals.age_s(peer, claimed_s, now)
        self.of[peer] = self._updates(age_s)
        self._recent.append(max(self.of[peer], self._updates(claimed_s)))

    def _updates(self, age_s: float) -> int:
        return -int(-age_s // self.update_s) if self.update_s else 1
