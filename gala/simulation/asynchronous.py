"""Gossip without a barrier under virtual time, many agents at once.

Time goes on in windows so short that no agent finishes two updates in one. What an agent publishes
depends on its own past alone, so that all publications of a window are made first, together; what
it mixes is then decided by when messages arrived, to the exact moment. The result does not depend
on how windows fall: it is that of taking every event in turn (at equal times: publish, then mix).

The rules are those of :class:`gala.gossip.node.GossipNode`: mix when every living in-neighbour of
the round is fresh, with the newest message of each; else one more update without a mix; beyond
``max_staleness`` wait, or skip the missing; the weight of the dead and the missing stays with self.
Its one judgement that is left out is to suspect a neighbour that breaks its habits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gala.simulation.links import Floats, Ints, Links, Versions, Wiring, expand
from gala.simulation.scenario import Durations, Scenario, Steps
from gala.simulation.tally import Tally
from gala.simulation.trace import Trace
from gala.topology import Topology

COMPUTING, JOINING, WAITING = 0, 1, 2
SMOOTHING = 0.1
"""Of the time of an update, by which an agent tells the age of a message (as the node does)."""


@dataclass(eq=False)
class Agents:
    """The state of all agents.

    Attributes:
        x: Float64[N, D], parameters.
        doing: Int64[N], COMPUTING, JOINING or WAITING.
        due: Float64[N], when that ends; infinite while waiting.
        next_s: Float64[N], time that the update after that will take.
        update: Int64[N], local updates; a joiner takes over its neighbour's number.
        round: Int64[N], of the schedule.
        staleness: Int64[N], updates since the last mix.
        done: Int64[N], own updates; not those of another that was taken over.
        died, back: Float64[N], the last absence.
        published: Float64[N], time of the last version; nan before the first.
        update_s: Float64[N], smoothed time between versions; nan before the second.
    """

    x: Floats
    doing: Ints
    due: Floats
    next_s: Floats
    update: Ints
    round: Ints
    staleness: Ints
    done: Ints
    died: Floats
    back: Floats
    published: Floats
    update_s: Floats


class Asynchronous:
    """One simulation.

    Args:
        topology: row-stochastic.
        scenario: the conditions; ``max_staleness`` is not 0.
        durations: of updates.
        steps: the updates themselves.
        links: what carries messages.
        tally: what counts.
        generator: of random numbers.
        start_s: Float64[N], when each agent begins; None: at once.
        trace: what happens is told to it; None: to nobody.
    """

    def __init__(
        self,
        topology: Topology,
        scenario: Scenario,
        *,
        wiring: Wiring,
        durations: Durations,
        steps: Steps,
        links: Links,
        tally: Tally,
        generator: np.random.Generator,
        start_s: Floats | None = None,
        trace: Trace | None = None,
    ) -> None:
        n = topology.agents
        self._topology, self._scenario, self._wiring = topology, scenario, wiring
        self._durations, self._steps, self._links = durations, steps, links
        self._tally, self._generator, self._trace = tally, generator, trace
        everybody = np.arange(n)
        first = durations.draw(everybody) + (0.0 if start_s is None else start_s)
        self.agents = Agents(
            x=np.zeros((n, scenario.dimension)),
            doing=np.full(n, COMPUTING),
            due=first,
            next_s=durations.draw(everybody),
            update=np.zeros(n, np.int64),
            round=np.zeros(n, np.int64),
            staleness=np.zeros(n, np.int64),
            done=np.zeros(n, np.int64),
            died=np.full(n, np.inf),
            back=np.full(n, -np.inf),
            published=np.full(n, np.nan),
            update_s=np.full(n, np.nan),
        )
        self._arrived = np.full(len(wiring.source), np.inf)  # for those who wait, by edge
        self._waiting_since = np.zeros(n)
        # an edge that kept each agent from mixing when last seen, or -1: looked at first
        self._obstacle = np.full(n, -1)

    def run(self) -> float:
        """Run until ``agents * updates`` updates are done; returns the virtual time it took."""
        a, now = self.agents, 0.0
        left = self._scenario.updates * len(a.due)
        while left > 0:
            earliest = np.where(a.doing == WAITING, now, a.due)
            end = float((earliest + a.next_s).min())
            acting = np.flatnonzero(a.due < end)
            computing = acting[a.doing[acting] == COMPUTING]
            if len(computing) >= left:  # the last window ends with the last update
                last = np.argsort(a.due[computing], kind="stable")[left - 1]
                end = float(a.due[computing[last]])
                acting = acting[a.due[acting] <= end]
            left -= self._window(acting, end)
            now = end
            self._tally.look(now, a.x, present=self._present(now))
        self._links.settle(now)
        return now

    def _window(self, acting: Ints, end: float) -> int:
        """Everything that happens before ``end``; returns the number of updates done."""
        a = self.agents
        computing = acting[a.doing[acting] == COMPUTING]
        joining = acting[a.doing[acting] == JOINING]
        done, scenario = len(computing), self._scenario
        if scenario.churn:
            fatal = self._generator.random(done) < scenario.churn
            self._die(computing[fatal])
            computing = computing[~fatal]
        self._step(computing)
        if scenario.every > 1:
            silent = computing[a.done[computing] % scenario.every != 0]
            computing = computing[a.done[computing] % scenario.every == 0]
            self._go_on(silent, a.due[silent])
        self._publish(computing)
        if len(joining):
            self._join(joining)
        if len(computing):
            self._try_to_mix(computing)
        waiting = np.flatnonzero(a.doing == WAITING)
        if len(waiting):
            self._end_waits(waiting, end)
        return done

    def _step(self, who: Ints) -> None:
        a = self.agents
        a.x[who] += self._steps.draw(who)
        a.update[who] += 1
        a.done[who] += 1
        a.staleness[who] += 1
        if self._trace is not None:
            self._trace.steps(who)

    def _publish(self, who: Ints) -> None:
        a, times, scenario = self.agents, self.agents.due[who], self._scenario
        gap = times - a.published[who]
        before = a.update_s[who]
        smoothed = before + SMOOTHING * (gap - before)
        a.update_s[who] = np.where(np.isnan(before), gap, smoothed)
        a.published[who] = times
        known = scenario.max_staleness is None and scenario.every == 1
        sent = a.x[who]
        if scenario.rounding:
            sent = sent + self._steps.errors(len(who), scenario.rounding)
        self._links.publish(
            who, times, sent, updates=a.update[who], rounds=a.round[who],
            until=times + a.next_s[who] if known else None,
        )  # fmt: skip
        if self._trace is not None:
            self._trace.publications(who, self._links.version[who])

    def _die(self, who: Ints) -> None:
        a, times = self.agents, self.agents.due[who]
        self._tally.deaths += len(who)
        a.doing[who], a.died[who] = JOINING, times
        a.back[who] = a.due[who] = times + self._scenario.restart_s
        self._links.die(who, times)

    def _join(self, who: Ints) -> None:
        """Take over the newest parameters that living in-neighbours offer."""
        a, wiring, links = self.agents, self._wiring, self._links
        times = a.due[who]
        entries, owner = expand(wiring.in_starts, who)
        edges = wiring.in_edges[entries]
        links.used[edges] = 0
        self._obstacle[who] = -1
        version = links.fresh(edges, times[owner])
        version[self._gone(wiring.source[edges], times[owner])] = 0
        update, round = links.progress(edges, version)
        update[version == 0] = -1
        order = np.lexsort((-edges, update, owner))
        last = np.flatnonzero(np.diff(owner[order], append=-1))  # the best of each joiner
        best = order[last]
        best = best[version[best] > 0]
        taker = who[owner[best]]
        a.x[taker] = links.payload(edges[best], version[best])
        a.update[taker], a.round[taker] = update[best], round[best]
        links.used[edges[best]] = version[best]
        if self._trace is not None:
            self._trace.adoptions(taker, wiring.source[edges[best]], version[best])
        a.staleness[who] = 0
        a.published[who] = a.update_s[who] = np.nan
        self._go_on(who, times)

    def _try_to_mix(self, who: Ints) -> None:
        a, scenario = self.agents, self._scenario
        if scenario.max_staleness is None:
            who = self._without_obstacle(who)
        times = a.due[who]
        edges, entries, owner = self._wiring.rows(who, a.round[who])
        version = self._links.fresh(edges, times.take(owner))
        missing = np.flatnonzero(version == 0)
        gone = self._gone(self._wiring.source[edges[missing]], times[owner[missing]])
        needed = missing[~gone]
        held = np.zeros(len(who), np.bool_)
        held[owner[needed]] = True
        self._obstacle[who[owner[needed]]] = edges[needed]
        if scenario.max_staleness is not None:
            impatient = held & (a.staleness[who] > scenario.max_staleness)
            if scenario.policy == "skip":
                held &= ~impatient
            elif impatient.any():
                patient = who[impatient]
                a.doing[patient], a.due[patient] = WAITING, np.inf
                self._waiting_since[patient] = times[impatient]
                kept = impatient[owner]
                arrived = np.where(version == 0, np.inf, times[owner])
                self._arrived[edges[kept]] = arrived[kept]
                held &= ~impatient
                going = ~impatient
                kept = going[owner]
                renumbered = np.cumsum(going) - 1
                who, times, held = who[going], times[going], held[going]
                edges, entries, version = edges[kept], entries[kept], version[kept]
                owner = renumbered[owner[kept]]
        self._tally.staleness(a.staleness[who[held]])
        self._mix(who, times, ~held, edges, entries, version, owner)
        self._go_on(who, times)

    def _without_obstacle(self, who: Ints) -> Ints:
        """Those whose obstacle is gone; the others go on without a mix."""
        known = np.flatnonzero(self._obstacle[who] >= 0)
        edges, times = self._obstacle[who[known]], self.agents.due[who[known]]
        blocked = self._links.fresh(edges, times) == 0
        if self._scenario.churn:
            blocked &= ~self._gone(self._wiring.source[edges], times)
        held = np.zeros(len(who), np.bool_)
        held[known[blocked]] = True
        stopped = who[held]
        self._tally.staleness(self.agents.staleness[stopped])
        self._go_on(stopped, self.agents.due[stopped])
        return np.asarray(who[~held])

    def _mix(
        self,
        who: Ints,
        times: Floats,
        free: NDArray[np.bool_],
        edges: Ints,
        entries: Ints,
        version: Versions,
        owner: Ints,
    ) -> None:
        """Mix what is there, for those of ``who`` that are ``free`` to."""
        a, links = self.agents, self._links
        a.round[who[free]] += 1
        self._obstacle[who[free]] = -1
        used = np.flatnonzero(free[owner] & (version > 0))
        edges, version, owner = edges.take(used), version.take(used), owner.take(used)
        weights = self._wiring.row_weights.take(entries.take(used))
        links.used[edges] = version
        received = np.bincount(owner, minlength=len(who)) > 0
        self._tally.staleness(a.staleness[who[free & ~received]])
        if len(used) == 0:
            return
        age_s = times[owner] - links.published_at(edges, version)
        own = a.update_s[who].take(owner) / self._scenario.every
        # an agent that has no idea of time yet counts messages as one update old
        age = np.where(np.isnan(own), 1.0, np.ceil(age_s / own)).astype(np.int64)
        self._tally.ages(age, age_s)
        if self._topology.discount < 1.0:
            weights = weights * self._topology.discount**age
        starts = np.flatnonzero(np.diff(owner, prepend=-1))
        taker = owner[starts]
        mixers = who[taker]
        payloads = links.payload(edges, version)
        payloads *= weights[:, None]
        kept = 1.0 - np.add.reduceat(weights, starts)
        a.x[mixers] = kept[:, None] * a.x[mixers] + np.add.reduceat(payloads, starts, axis=0)
        if self._trace is not None:
            self._trace.mixes(who[owner], self._wiring.source[edges], version, weights)
        self._tally.mixes(a.staleness[mixers])
        a.staleness[mixers] = 0

    def _end_waits(self, who: Ints, end: float) -> None:
        """Let those go on whose last missing message arrived before ``end``, or who gave up."""
        a, wiring = self.agents, self._wiring
        edges, entries, owner = wiring.rows(who, a.round[who])
        arrived = self._arrived[edges]
        missing = np.flatnonzero(np.isinf(arrived))
        source = wiring.source[edges[missing]]
        arrival = self._links.first_arrival(edges[missing])
        died = np.where(a.back[source] > self._waiting_since[who][owner[missing]], a.died[source],
                        np.inf)  # fmt: skip
        arrived[missing] = np.minimum(arrival, died)
        arrived[arrived >= end] = np.inf  # what is later may yet change
        self._arrived[edges] = arrived
        ready = np.full(len(who), -np.inf)
        np.maximum.at(ready, owner, arrived)
        since = self._waiting_since[who]
        times = np.minimum(np.maximum(ready, since), since + self._scenario.timeout_s)
        going = times < end
        if not going.any():
            return
        kept = going[owner]
        owner = (np.cumsum(going) - 1)[owner[kept]]
        who, times, since = who[going], times[going], since[going]
        edges, entries = edges[kept], entries[kept]
        version = self._links.fresh(edges, times.take(owner))
        self._tally.waited_s += float((times - since).sum())
        a.doing[who] = COMPUTING
        self._mix(who, times, np.ones(len(who), np.bool_), edges, entries, version, owner)
        self._go_on(who, times)

    def _go_on(self, who: Ints, times: Floats) -> None:
        """The next update begins."""
        a = self.agents
        a.doing[who] = COMPUTING
        a.due[who] = times + a.next_s[who]
        a.next_s[who] = self._durations.draw(who)

    def _gone(self, who: Ints, times: Floats) -> NDArray[np.bool_]:
        a = self.agents
        return np.asarray((a.died[who] <= times) & (times < a.back[who]))

    def _present(self, now: float) -> NDArray[np.bool_] | None:
        if not self._scenario.churn:
            return None
        return ~self._gone(np.arange(len(self.agents.due)), np.full(len(self.agents.due), now))
