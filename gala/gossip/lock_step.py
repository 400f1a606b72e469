"""Lock-step: what an agent waits for, and what it is waited for, in each of its phases.

Every agent has a position that only grows: its version, the last one it published, and whether it
is through with the mix of that version. Two waits tie neighbours together:

- before it mixes version v, an agent waits for the message of each in-neighbour whose version is
  below v;
- before it publishes v + 1, it waits until each out-neighbour is through with v: has taken it, or
  needs it no more.

Either way an agent waits only for agents *strictly behind* itself, so that waits cannot run in a
circle, whoever dies, joins or is skipped; the one that is furthest behind waits for nobody. It
mixes equal versions and nothing else: a neighbour that is ahead, as a newcomer may be for some
versions, is absent from the mix until it is reached.

::

    made --------> speaking <------> silent     made: the launch has made it, no word of it yet
                    |    ^             |        joining: a new incarnation before its first word
                    v    |             |        speaking: its words count
                  gone --+-> joining   |        silent: waited for in vain, and no word since
                    ^----------'-------'        gone: dead or left

An agent that joins takes over parameters and version of an in-neighbour, says that it is through
with that version towards all in-neighbours, and only then speaks: it publishes the very version
that it took over. Nobody but an agent that joins jumps over versions; one that finds the others
further ahead than a connected group can be apart was given up by them, and joins anew.

Functions without side effects: :class:`~gala.gossip.node.GossipNode` runs them on what its
transport shows, and the tests run them through every interleaving of small groups.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto

from gala.gossip.membership import PeerState


class Phase(Enum):
    """Phase of an agent, as a neighbour in lock-step sees it."""

    MADE = auto()
    """No incarnation of it said a word: the members of a launch wait for it to begin with them."""
    JOINING = auto()
    """A new incarnation before its first word: nobody waits for it."""
    SPEAKING = auto()
    """Waited for, by those who are ahead of it."""
    SILENT = auto()
    """Given up after the longest wait, until it says or takes something: nobody waits for it."""
    GONE = auto()
    """Dead or left: nobody waits for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What an agent sees of a neighbour.

    Attributes:
        phase: of the agent.
        version: of its newest message; 0 for none.
        taken: the own version that it is through with.
    """

    phase: Phase
    version: int
    taken: int


def phase_of(sign: PeerState, *, heard: bool, given_up: bool) -> Phase:
    """The state of a neighbour.

    Args:
        sign: what the transport says.
        heard: whether there ever was a message of it, of any incarnation.
        given_up: whether it was waited for in vain, and said nothing since.
    """
    if sign in (PeerState.DOWN, PeerState.LEFT):
        return Phase.GONE
    if sign is PeerState.JOINING and heard:
        return Phase.JOINING
    if given_up:
        return Phase.SILENT
    return Phase.MADE if sign is PeerState.JOINING else Phase.SPEAKING


def waited_for(phase: Phase, *, founder: bool) -> bool:
    """Whether a neighbour in this state holds up who is ahead of it.

    Args:
        phase: of the neighbour.
        founder: whether the one who waits is about to begin with the launch. Later on, and for a
            newcomer, who never spoke is one more agent that may join.
    """
    return phase is Phase.SPEAKING or (phase is Phase.MADE and founder)


def lacks_message(own: int, seen: Sight, *, founder: bool) -> bool:
    """Whether the mix of version ``own`` must wait for this in-neighbour's message."""
    return seen.version < own and waited_for(seen.phase, founder=founder)


def lacks_taking(own: int, seen: Sight, *, founder: bool) -> bool:
    """Whether ``own`` must stay published because this out-neighbour is not through with it."""
    return seen.taken < own and waited_for(seen.phase, founder=founder)


def mixable(own: int, version: int) -> bool:
    """Whether a message of ``version`` enters the mix of version ``own``."""
    return version == own


def front(own: int, in_neighbours: Iterable[Sight], out_neighbours: Iterable[Sight]) -> int:
    """The most advanced version among an agent at ``own`` and its neighbours that speak."""
    heard = (seen.version for seen in in_neighbours if seen.phase is Phase.SPEAKING)
    taken = (seen.taken for seen in out_neighbours if seen.phase is Phase.SPEAKING)
    return max([own, *heard, *taken])


def left_behind(own: int, foremost: int, agents: int) -> bool:
    """Whether an agent at ``own`` must join anew to reach ``foremost``.

    Neighbours that wait for each other are at most one version apart, and hence all ``agents`` of a
    connected group less than ``agents``: who is further behind was not waited for.
    """
    return foremost > own + agents


def in_place(own: int, foremost: int) -> bool:
    """Whether a newcomer that speaks at ``own`` can go on: the next version is still there."""
    return foremost <= own + 1
