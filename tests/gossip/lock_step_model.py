"""Small groups in lock-step, step by step through every interleaving.

The decisions are those of :mod:`gala.gossip.lock_step`; here is only when they are taken. A step
is what others can see of an agent at once: it mixes, says that it is through, dies, comes back,
takes over a place. A first word takes two, the sign and then the version; and so does a look at a
neighbour that may hold up a wait, at its sign and then at its words.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from gala.gossip import lock_step
from gala.gossip.lock_step import Sight
from gala.gossip.membership import PeerState

Graph = tuple[tuple[int, ...], ...]
"""In-neighbours of each agent."""


class Agent(NamedTuple):
    """Words that others see (``sign, version, taken``), and where the agent is in its loop.

    ``at`` is one of publish, write, mix, take, through; adopt, move, speak, look; dead, left.
    ``checked`` neighbours do not hold up this wait, and ``glance`` is what was read of the next:
    whether there was a word of it, and its sign. ``given_up`` holds words with a rank.
    """

    sign: PeerState = PeerState.JOINING
    version: int = 0
    taken: int = 0
    at: str = "write"
    own: int = 0
    checked: int = 0
    glance: tuple[bool, PeerState] | None = None
    founder: bool = True
    given_up: frozenset[tuple[int, int, int]] = frozenset()
    turns: int = 0


class Group(NamedTuple):
    """A group at one moment, and what may still befall it."""

    agents: tuple[Agent, ...]
    deaths: int
    timeouts: int


@dataclass(frozen=True, kw_only=True)
class Model:
    """A graph, and the version at which agents are done and leave."""

    graph: Graph
    last: int

    def hearers(self, rank: int) -> tuple[int, ...]:
        """Out-neighbours."""
        return tuple(i for i, heard in enumerate(self.graph) if rank in heard)

    def sight(
        self, group: Group, rank: int, peer: int, glance: tuple[bool, PeerState] | None = None
    ) -> Sight:
        """What ``rank`` sees of ``peer``, whose sign may have been read before its words are;
        acknowledgements go to in-neighbours alone.
        """
        seen, me = group.agents[peer], group.agents[rank]
        heard, sign = glance if glance is not None else (seen.version > 0, seen.sign)
        taken = seen.taken if rank in self.graph[peer] else 0
        given_up = (peer, seen.version, taken) in me.given_up
        phase = lock_step.phase_of(sign, heard=self.heard(heard, seen), given_up=given_up)
        return Sight(phase=phase, version=seen.version, taken=taken)

    def heard(self, before: bool, seen: Agent) -> bool:
        """Whether there was a word of an agent: before its sign was read."""
        return before

    def look(self, group: Group, rank: int, peer: int) -> Agent | None:
        """The next step of a look at ``peer``; None: it holds ``rank`` up."""
        me, seen = group.agents[rank], group.agents[peer]
        if me.glance is not None and not self.lacks(group, rank, peer, me.glance):
            return me._replace(checked=me.checked + 1, glance=None)
        fresh = seen.version > 0, seen.sign  # it looks again and again
        return me._replace(glance=fresh) if fresh != me.glance else None

    def lacks(
        self, group: Group, rank: int, peer: int, glance: tuple[bool, PeerState] | None = None
    ) -> bool:
        """Whether the wait that ``rank`` is in is held up by ``peer``."""
        me, seen = group.agents[rank], self.sight(group, rank, peer, glance)
        decide = lock_step.lacks_message if me.at == "mix" else lock_step.lacks_taking
        return decide(me.own, seen, founder=me.founder)

    def awaited(self, group: Group, rank: int) -> tuple[int, ...]:
        """Whom the wait that ``rank`` is in looks at."""
        return {"mix": self.graph[rank], "publish": self.hearers(rank)}.get(
            group.agents[rank].at, ()
        )

    def missing(self, group: Group, rank: int) -> list[int]:
        """Who holds up ``rank``."""
        return [j for j in self.awaited(group, rank) if self.lacks(group, rank, j)]

    def front(self, group: Group, rank: int, own: int) -> int:
        """See :func:`gala.gossip.lock_step.front`."""
        heard = [self.sight(group, rank, j) for j in self.graph[rank]]
        hearers = [self.sight(group, rank, i) for i in self.hearers(rank)]
        return lock_step.front(own, heard, hearers)

    def speaking(self, group: Group, ranks: Iterable[int]) -> list[int]:
        """Versions that could be adopted."""
        agents = group.agents
        spoken = (agents[j].version for j in ranks if agents[j].sign is PeerState.ACTIVE)
        return [version for version in spoken if version]

    def step(self, group: Group, rank: int) -> Agent | None:
        """The next step of ``rank``'s own; None: it waits, is dead, or left."""
        me = group.agents[rank]
        if (awaited := self.awaited(group, rank)) and me.checked < len(awaited):
            return self.look(group, rank, awaited[me.checked])
        if me.at in ("write", "speak") and me.sign is not PeerState.ACTIVE and not me.version:
            return me._replace(sign=PeerState.ACTIVE)
        match me.at:
            case "publish":
                return me._replace(at="write", checked=0, founder=False)
            case "write":
                own = me.own + 1
                return me._replace(sign=PeerState.ACTIVE, version=own, own=own, at="mix", checked=0)
            case "mix":
                front = self.front(group, rank, me.own)
                if not lock_step.left_behind(me.own, front, len(self.graph)):
                    return me._replace(at="take", checked=0)
                own = max([me.own, *self.speaking(group, self.graph[rank])])
                return me._replace(at="move", own=own, founder=False, turns=0, checked=0)
            case "take":  # who is mixed is :meth:`mixed`
                return me._replace(at="through")
            case "through":
                done = me.own >= self.last
                return me._replace(taken=me.own, at="left" if done else "publish",
                                   sign=PeerState.LEFT if done else me.sign)  # fmt: skip
            case "adopt":
                versions = self.speaking(group, self.graph[rank])
                if not versions:  # nobody to hear: begins by itself
                    return me._replace(at="write", own=0)
                return me._replace(at="move", own=max(versions), founder=False)
            case "move":
                neighbours = {*self.graph[rank], *self.hearers(rank)}
                own = max([me.own, *self.speaking(group, neighbours)])
                return me._replace(at="speak", own=own, taken=own)
            case "speak":
                return me._replace(at="look", version=me.own, sign=PeerState.ACTIVE)
            case "look":
                front = self.front(group, rank, me.own)
                turns = me.turns + 1
                if lock_step.in_place(me.own, front) or turns >= len(self.graph):
                    at = "through" if me.own >= self.last else "publish"
                    return me._replace(at=at, turns=0)
                own = max([me.own, *self.speaking(group, self.graph[rank])])
                return me._replace(at="move", own=own, turns=turns)
        return None

    def mixed(self, group: Group, rank: int) -> list[int]:
        """Whose messages enter the mix of ``rank``, which is at ``take``."""
        own, agents = group.agents[rank].own, group.agents
        return [j for j in self.graph[rank] if lock_step.mixable(own, agents[j].version)]

    def following(self, group: Group) -> Iterator[tuple[int, Group]]:
        """All that may happen next, and to whom."""
        for rank, me in enumerate(group.agents):
            if (after := self.step(group, rank)) is not None:
                yield rank, put(group, rank, after)
            if me.at == "dead":  # its words stay where they are
                back = Agent(version=me.version, taken=me.taken, at="adopt")
                yield rank, put(group, rank, back)
            elif group.deaths and me.at != "left":
                dead = Agent(sign=PeerState.DOWN, version=me.version, taken=me.taken, at="dead")
                yield rank, put(group, rank, dead)._replace(deaths=group.deaths - 1)
            if group.timeouts and (missing := self.missing(group, rank)):
                words = {(j, s.version, s.taken) for j in missing
                         for s in [self.sight(group, rank, j)]}  # fmt: skip
                tired = me._replace(given_up=frozenset(words))
                yield rank, put(group, rank, tired)._replace(timeouts=group.timeouts - 1)

    def reachable(self, *, deaths: int, timeouts: int) -> Iterator[Group]:
        """Every moment that a group may come to, breadth first."""
        start = Group((Agent(),) * len(self.graph), deaths, timeouts)
        seen, queue = {start}, deque([start])
        while queue:
            group = queue.popleft()
            yield group
            for _, after in self.following(group):
                if after not in seen:
                    seen.add(after)
                    queue.append(after)

    def can_move(self, group: Group, rank: int) -> bool:
        """Whether ``rank`` goes on by itself: who waits looks at everybody again and again."""
        living = group.agents[rank].at not in ("dead", "left")
        return living and not self.missing(group, rank)


def put(group: Group, rank: int, agent: Agent) -> Group:
    """``group`` with another ``rank``."""
    return group._replace(agents=(*group.agents[:rank], agent, *group.agents[rank + 1 :]))


def place(agent: Agent) -> int:
    """Order of what an agent has done: published a version, then through with it."""
    return 2 * agent.version + (agent.taken >= agent.version)
