"""Lock-step gossip under virtual time: version k is mixed with version k.

Rounds are a recurrence, and need no events. With compute times d, agent i finishes its update at
``start_i + d_i``, publishes when all out-neighbours have taken its last version, and mixes when
the last version k of its in-neighbours has arrived. What is lost is missed after the timeout, by
its receiver and, as it is never taken, by its sender.
"""

from __future__ import annotations

import numpy as np

from gala.simulation.links import Floats, Wiring, expand
from gala.simulation.scenario import Durations, Scenario, Steps
from gala.simulation.tally import Tally
from gala.topology import Topology


class LockStep:
    """One simulation; see :class:`gala.simulation.asynchronous.Asynchronous` for the arguments.

    Attributes:
        x: Float64[N, D], parameters.
        sends: messages sent.
    """

    def __init__(
        self,
        topology: Topology,
        scenario: Scenario,
        *,
        wiring: Wiring,
        durations: Durations,
        steps: Steps,
        tally: Tally,
        generator: np.random.Generator,
    ) -> None:
        self._topology, self._scenario, self._wiring = topology, scenario, wiring
        self._durations, self._steps, self._tally = durations, steps, tally
        self._generator = generator
        self._everybody = np.arange(topology.agents)
        self.x = np.zeros((topology.agents, scenario.dimension))
        self.sends = 0

    def run(self) -> float:
        """Run ``updates`` rounds; returns the virtual time until the last agent is through."""
        n, scenario = len(self._everybody), self._scenario
        start, taken, back = np.zeros(n), np.full(n, -np.inf), np.full(n, -np.inf)
        staleness = np.zeros(n, np.int64)
        for round in range(scenario.updates):
            present = np.isneginf(back)
            done = start + self._durations.draw(self._everybody)
            self.x[present] += self._steps.draw(np.flatnonzero(present))
            staleness[present] += 1
            if scenario.churn:
                dies = present & (self._generator.random(n) < scenario.churn)
                self._tally.deaths += int(dies.sum())
                back[dies] = done[dies] + scenario.restart_s
                present &= ~dies
            # acknowledgements come back as late as messages do
            taken += scenario.latency_s
            published = np.maximum(done, np.minimum(taken, done + scenario.timeout_s))
            published[~present] = -np.inf
            mixed, taken = self._mix(round, published, present, staleness)
            self._tally.waited_s += float((mixed - done)[present].sum())
            start = np.where(present, mixed, start)
            if not present.all():
                self._join(start, back, mixed, present)
                taken[~present] = -np.inf
            living = present if scenario.churn else None
            self._tally.look(float(start.max()), self.x, present=living)
        return float(start.max())

    def _mix(
        self, round: int, published: Floats, present: np.ndarray, staleness: np.ndarray
    ) -> tuple[Floats, Floats]:
        """When each agent has mixed, and when all out-neighbours of each have taken its version."""
        wiring, scenario = self._wiring, self._scenario
        who = np.flatnonzero(present)
        edges, entries, owner = wiring.rows(who, np.full(len(who), round))
        weights = wiring.row_weights[entries]
        sender = wiring.source[edges]
        kept = present[sender]  # the weight of the dead stays with self
        edges, weights, owner, sender = edges[kept], weights[kept], owner[kept], sender[kept]
        position = edges - wiring.out_starts[sender] + 1
        arrival = published[sender] + scenario.latency_s + position * scenario.send_s
        if scenario.jitter_s:
            arrival = arrival + scenario.jitter_s * self._generator.random(len(edges))
        lost = np.zeros(len(edges), np.bool_)
        if scenario.loss:
            lost = self._generator.random(len(edges)) < scenario.loss
            arrival[lost] = np.inf
        self.sends += int(np.diff(wiring.out_starts)[present].sum())
        ready = published[who]
        limit = ready + scenario.timeout_s
        np.maximum.at(ready, owner, arrival)
        mixed = published.copy()
        mixed[who] = np.minimum(ready, limit)
        taken = np.full(len(published), -np.inf)
        np.maximum.at(taken, sender, np.where(lost, np.inf, mixed[who[owner]]))

        come = np.flatnonzero(~lost)
        edges, weights, owner, sender = edges[come], weights[come], owner[come], sender[come]
        self._tally.ages(np.zeros(len(edges), np.int64), mixed[who[owner]] - published[sender])
        received = np.bincount(owner, minlength=len(who)) > 0
        self._tally.staleness(staleness[who[~received]])
        self._tally.mixes(staleness[who[received]])
        staleness[who[received]] = 0
        if len(edges):
            starts = np.flatnonzero(np.diff(owner, prepend=-1))
            mixers = who[owner[starts]]
            mine = 1.0 - np.add.reduceat(weights, starts)
            sent = self.x
            if scenario.rounding:
                sent = sent + self._steps.errors(len(sent), scenario.rounding)
            others = np.add.reduceat(weights[:, None] * sent[sender], starts, axis=0)
            self.x[mixers] = mine[:, None] * self.x[mixers] + others
        return mixed, taken

    def _join(self, start: Floats, back: Floats, mixed: Floats, present: np.ndarray) -> None:
        """The dead whose time is up take over what a living in-neighbour has just mixed."""
        dead = np.flatnonzero(~present)
        entries, owner = expand(self._wiring.in_starts, dead)
        source = self._wiring.source[self._wiring.in_edges[entries]]
        offers = present[source] & (mixed[source] >= back[dead[owner]])
        for position in np.unique(owner[offers]).tolist():
            agent, giver = dead[position], source[offers & (owner == position)][0]
            self.x[agent], start[agent] = self.x[giver], mixed[giver]
            back[agent], present[agent] = -np.inf, True
