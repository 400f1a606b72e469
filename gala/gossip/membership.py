"""Membership: the state of each neighbour, from its transport and from gaps between messages.

A neighbour is JOINING until the first message of its incarnation, ACTIVE as long as messages come,
SUSPECT when none came for longer than its own habit explains, DOWN when its transport knows that it
is dead, LEFT after it closed its mailbox. Only ACTIVE neighbours are waited for; lock-step has its
own rules, see :mod:`gala.gossip.lock_step`. Whatever a neighbour's state, a fresh message of it is
used, and makes it ACTIVE again.
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Callable
from enum import IntEnum

WINDOW = 32
"""Gaps between messages that are remembered."""

ENOUGH = 4
"""Gaps before a deadline can be known."""

UNKNOWN_S = 10.0
"""Deadline in seconds of a neighbour whose rhythm is not known yet."""

DEVIATIONS = 8.0
"""Median absolute deviations beyond the median gap that are still believed."""


class PeerState(IntEnum):
    """State of a neighbour; the numbers are those of the metric ``gossip/in/<j>/state``."""

    JOINING = 0
    """Expected, no message of it yet."""
    ACTIVE = 1
    SUSPECT = 2
    """Not known to be dead, silent beyond its deadline."""
    DOWN = 3
    LEFT = 4
    """Finished or left on purpose."""

    def takes(self, *, together: bool) -> bool:
        """Whether it takes what is published now.

        Who has yet to say a word begins with what it sees then: what it was given before would be
        lost, with one that never comes all of it.

        Args:
            together: whether it has been there from the start when it comes, as all that begin
                together in lock-step.
        """
        return self <= PeerState.SUSPECT and (together or self is not PeerState.JOINING)


class Rhythm:
    """Rhythm of one neighbour's messages: when the next is overdue, learned from the gaps before.

    Attributes:
        arrival: when the last message came; None before the first and after an absence.

    The deadline is ``median + 8 x median absolute deviation`` of the last 32 gaps, and at least
    twice the median, because a perfectly regular sender deviates by nothing until it does.
    """

    def __init__(self) -> None:
        self._gaps: deque[float] = deque(maxlen=WINDOW)
        self._deadline: float | None = None
        self._expected: float | None = None
        self.arrival: float | None = None

    def arrived(self, now: float) -> None:
        """A message arrived at ``now`` (seconds, any clock)."""
        if self.arrival is not None:
            self._gaps.append(now - self.arrival)
            self._deadline = None
        self.arrival = now

    def expect(self, now: float) -> None:
        """The neighbour is there at ``now``: before its first message, silence counts from here."""
        if self._expected is None:
            self._expected = now

    def rest(self) -> None:
        """The neighbour died or left: the gap until it is back says nothing of its habits."""
        self.arrival = self._expected = None

    @property
    def deadline(self) -> float:
        """Longest gap in seconds that is still normal."""
        if len(self._gaps) < ENOUGH:
            return UNKNOWN_S
        if self._deadline is None:
            median = statistics.median(self._gaps)
            spread = statistics.median(abs(gap - median) for gap in self._gaps)
            self._deadline = max(median + DEVIATIONS * spread, 2 * median)
        return self._deadline

    @property
    def typical(self) -> float | None:
        """Median gap in seconds; None before the first."""
        return statistics.median(self._gaps) if self._gaps else None

    def overdue(self, now: float, slack: float) -> bool:
        """Whether the silence at ``now`` is longer than the deadline and ``slack`` seconds."""
        since = self._expected if self.arrival is None else self.arrival
        return since is not None and now - since > self.deadline + slack


class Membership:
    """States of the neighbours of one agent, and their transitions.

    Args:
        neighbours: whose states to keep.
        signs: state of a neighbour as the transport sees it: JOINING, ACTIVE, DOWN or LEFT.
        slack_s: seconds on top of every deadline, for hiccups of a busy host.

    Attributes:
        changed: called with (neighbour, old state, new state) at each transition.
    """

    def __init__(
        self,
        neighbours: tuple[int, ...],
        signs: Callable[[int], PeerState],
        *,
        slack_s: float = 1.0,
    ) -> None:
        self._signs, self._slack_s = signs, slack_s
        self._states = dict.fromkeys(neighbours, PeerState.JOINING)
        self.rhythms = {j: Rhythm() for j in neighbours}
        self.changed: Callable[[int, PeerState, PeerState], None] = lambda j, old, new: None

    def __getitem__(self, peer: int) -> PeerState:
        """The state of ``peer`` as it was last looked at."""
        return self._states[peer]

    def arrived(self, peer: int, now: float) -> None:
        """A new message of ``peer`` was seen."""
        self.rhythms[peer].arrived(now)
        self._set(peer, PeerState.ACTIVE)

    def look(self, peer: int, now: float) -> PeerState:
        """Judge a ``peer`` that has sent nothing new."""
        sign, rhythm = self._signs(peer), self.rhythms[peer]
        state = sign
        if sign is not PeerState.ACTIVE:  # dead, gone, or a new incarnation before its first word
            rhythm.rest()
        else:
            rhythm.expect(now)
            overdue = rhythm.overdue(now, self._slack_s)
            state = PeerState.SUSPECT if overdue else PeerState.ACTIVE
        self._set(peer, state)
        return state

    def _set(self, peer: int, state: PeerState) -> None:
        old = self._states[peer]
        if state is not old:
            self._states[peer] = state
            self.changed(peer, old, state)


_EVENTS = {
    PeerState.ACTIVE: ("join", "is there"),
    PeerState.SUSPECT: ("suspect", "is silent for longer than its habit explains"),
    PeerState.DOWN: ("dead", "is down; its weight stays with self"),
    PeerState.LEFT: ("leave", "has left"),
}


class Changes:
    """Tells what :class:`Membership` sees change.

    Args:
        tell: called with kind and text of an event.
        forget: called with a neighbour that died or left.
    """

    def __init__(
        self, tell: Callable[[tuple[str, str]], None], forget: Callable[[int], None]
    ) -> None:
        self._tell, self._forget = tell, forget
        self._known: set[int] = set()

    def __call__(self, peer: int, old: PeerState, new: PeerState) -> None:
        """Note that ``peer`` went from ``old`` to ``new``."""
        if new is PeerState.JOINING:
            return
        kind, text = _EVENTS[new]
        if new is PeerState.ACTIVE and peer in self._known:
            kind, text = "alive", "is back"
        self._known.add(peer)
        if new in (PeerState.DOWN, PeerState.LEFT):
            self._forget(peer)
        self._tell((kind, f"agent {peer} {text}"))
