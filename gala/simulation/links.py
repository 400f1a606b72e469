"""Links: the messages under way, what each agent has published, and what has arrived where.

The newest message wins, as in the mailboxes of the toolkit. An agent with finite bandwidth sends
to one out-neighbour after another, in turns; what has not been begun when the next version is
published is replaced by it, and what has been begun is finished.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gala.errors import UserError
from gala.simulation.scenario import Scenario
from gala.topology import Topology

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Versions = NDArray[np.int32]

RARE = 1e-6
"""Probability of losing so many messages in a row that older ones are forgotten."""
MAX_AGE = 4096
"""Versions of an agent that can be under way at once."""
MAX_NUMBERS = 200_000_000
"""Numbers that messages under way may hold."""


def expand(starts: Ints, rows: Ints) -> tuple[Ints, Ints]:
    """Entries of ``rows`` of a compressed table, and for each the position of its row in ``rows``.

    Args:
        starts: Int64[M + 1], where the entries of each row begin.
        rows: Int64[n].
    """
    begin = starts[rows]
    entries, owner = unroll(starts[rows + 1] - begin)
    entries += np.repeat(begin, starts[rows + 1] - begin)
    return entries, owner


def unroll(counts: Ints) -> tuple[Ints, Ints]:
    """0 1 ... counts[0] - 1, 0 1 ... counts[1] - 1, ..., and 0 0 ... 1 1 ..., of equal length."""
    owner = np.repeat(np.arange(len(counts)), counts)
    ends = np.cumsum(counts)
    return np.arange(len(owner)) - np.repeat(ends - counts, counts), owner


def _power_of_two(least: int) -> int:
    return 1 << (least - 1).bit_length()  # so that a remainder is a mask


@dataclass(frozen=True, kw_only=True, eq=False)
class Wiring:
    """The edges of a topology as arrays; edge numbers are sorted by source.

    Attributes:
        source: Int64[E].
        target: Int64[E].
        out_starts: Int64[N + 1], first edge of each source.
        in_starts: Int64[N + 1], into ``in_edges``: the edges of each target in any round.
        in_edges: Int64[E].
        row_starts: Int64[p N + 1], into the arrays below: row i of round r is number ``r N + i``.
        row_edges: Int64[total].
        row_weights: Float64[total].
        agents: N.
        period: p.
    """

    source: Ints
    target: Ints
    out_starts: Ints
    in_starts: Ints
    in_edges: Ints
    row_starts: Ints
    row_edges: Ints
    row_weights: Floats
    agents: int
    period: int

    @staticmethod
    def of(topology: Topology) -> Wiring:
        """The wiring of ``topology``."""
        n = topology.agents
        keys = np.sort(topology.edges[:, 0] * n + topology.edges[:, 1])
        source, target = keys // n, keys % n
        in_edges = np.argsort(target, kind="stable")
        row_starts, row_edges, row_weights, total = [np.zeros(1, np.int64)], [], [], 0
        for mixing in topology.rounds:
            row_edges.append(np.searchsorted(keys, mixing.source * n + mixing.target))
            row_weights.append(mixing.weight)
            ends = np.cumsum(np.bincount(mixing.target, minlength=n))
            row_starts.append(total + ends)
            total += len(mixing.source)
        return Wiring(
            source=source,
            target=target,
            out_starts=np.searchsorted(source, np.arange(n + 1)),
            in_starts=np.searchsorted(target[in_edges], np.arange(n + 1)),
            in_edges=in_edges,
            row_starts=np.concatenate(row_starts),
            row_edges=np.concatenate(row_edges),
            row_weights=np.concatenate(row_weights),
            agents=n,
            period=len(topology.rounds),
        )

    def rows(self, agents: Ints, rounds: Ints) -> tuple[Ints, Ints, Ints]:
        """Rows in given rounds: their edges, their entries in ``row_weights``, and the owner of
        each (position in ``agents``).
        """
        row = agents if self.period == 1 else rounds % self.period * self.agents + agents
        entries, owner = expand(self.row_starts, row)
        return self.row_edges.take(entries), entries, owner


@dataclass(frozen=True, slots=True, eq=False)
class _Published:
    """What :meth:`Links.publish` is given."""

    agents: Ints
    times: Floats
    payload: Floats
    updates: Ints
    rounds: Ints

    def of(self, some: Ints) -> _Published:
        """Of ``some`` of its senders, by position."""
        return _Published(
            self.agents[some],
            self.times[some],
            self.payload[some],
            self.updates[some],
            self.rounds[some],
        )


class Links:
    """Everything that was published and may still be read.

    Args:
        wiring: who sends to whom.
        scenario: latency, bandwidth, loss.
        shortest_s: a lower bound on the time between two versions of an agent.
        generator: of random numbers.

    Attributes:
        version: Int64[N], newest version of each agent, from 1.
        used: Int32[E], newest version that the target of an edge has used.
        sends: Int64[N], messages whose sending was begun.

    Raises:
        UserError: so much would be under way at once that it does not fit into memory.
    """

    def __init__(
        self,
        wiring: Wiring,
        scenario: Scenario,
        *,
        shortest_s: float,
        generator: np.random.Generator,
    ) -> None:
        self._wiring, self._generator = wiring, generator
        agents, edges = wiring.agents, len(wiring.source)
        self._latency, self._jitter = scenario.latency_s, scenario.jitter_s
        self._loss, self._send_s = scenario.loss, scenario.send_s
        self._degree = np.diff(wiring.out_starts)
        busiest = int(self._degree.max(initial=1))
        streak = math.ceil(math.log(RARE) / math.log(self._loss)) if self._loss else 0
        under_way = self._send_s + self._latency + self._jitter
        pause = max(shortest_s, self._send_s)  # between two messages on one edge
        lost = streak if self._send_s else 0  # what is lost takes a slot on slow links only
        self._depth = _power_of_two(3 + lost + math.ceil(under_way / pause))
        stay = under_way + (streak + 1) * max(busiest * self._send_s, shortest_s)
        # versions of which nothing is sent are not kept, if it is known at once that nothing is
        known = scenario.max_staleness is None and scenario.every == 1
        self._kept = _power_of_two(4 + math.ceil(stay / (pause if known else shortest_s)))
        numbers = agents * self._kept * (scenario.dimension + 3) + 2 * edges * self._depth
        if self._kept > MAX_AGE or numbers > MAX_NUMBERS:
            raise UserError(
                f"{self._kept} versions of each agent would be under way at once: the links are "
                "far too slow for these updates",
                hint="more --bandwidth-mbit, less --latency-ms, fewer neighbours, fewer --params",
            )
        self.version = np.zeros(agents, np.int64)
        self.used = np.zeros(edges, np.int32)
        self.sends = np.zeros(agents, np.int64)
        self._payload = np.zeros((agents * self._kept, scenario.dimension))
        self._published_at = np.zeros(agents * self._kept)
        self._update = np.zeros(agents * self._kept, np.int64)
        self._round = np.zeros(agents * self._kept, np.int64)
        self._head = np.zeros(edges, np.int64)
        self._head_start = np.full(edges, -np.inf)
        self._versions = np.zeros(edges * self._depth, np.int32)
        self._arrivals = np.full(edges * self._depth, np.inf)
        self._begun = np.zeros(agents)  # when the link began with the newest version
        self._turn = np.zeros(agents, np.int64)  # out-neighbour whose turn it was then
        self._queued = np.zeros(agents, np.int64)  # messages of that version, at most

    def publish(
        self,
        agents: Ints,
        times: Floats,
        payload: Floats,
        *,
        updates: Ints,
        rounds: Ints,
        until: Floats | None = None,
    ) -> None:
        """New versions of ``agents``, at most one each.

        Args:
            agents: Int64[n].
            times: Float64[n], when they are published.
            payload: Float64[n, D].
            updates: Int64[n], of the senders.
            rounds: Int64[n], of the senders.
            until: Float64[n], when each will publish again, if that is known.
        """
        new = _Published(agents, times, payload, updates, rounds)
        if self._send_s:
            self._send_in_turns(new, until)
        else:
            self._send_at_once(new)

    def _send_at_once(self, new: _Published) -> None:
        """To all out-neighbours; what is lost takes no slot."""
        counts = self._degree[new.agents]
        self.sends[new.agents] += counts
        version = np.repeat(self._keep(new), counts)
        edges, _ = expand(self._wiring.out_starts, new.agents)
        start = np.repeat(new.times, counts)
        if self._loss:
            kept = np.flatnonzero(~self._lost(len(edges)))
            edges, start, version = edges.take(kept), start.take(kept), version.take(kept)
        self._put(edges, self._head.take(edges) + 1, version, start)

    def _send_in_turns(self, new: _Published, until: Floats | None) -> None:
        """To one out-neighbour after another, as many as are begun ``until`` then."""
        counts = degree = self._degree[new.agents]
        begin = self._take_turns(new.agents, new.times)
        if until is not None:
            counts = _begun(until - begin, self._send_s, degree)
            sent = np.flatnonzero(counts)
            new, counts, begin, degree = new.of(sent), counts[sent], begin[sent], degree[sent]
        turns, _ = unroll(counts)
        degree = np.repeat(degree, counts)
        position = turns + np.repeat(self._turn[new.agents], counts)
        position -= np.where(position >= degree, degree, 0)
        edges = position + np.repeat(self._wiring.out_starts[new.agents], counts)
        start = np.repeat(begin, counts) + turns * self._send_s
        head = self._head.take(edges)
        head += self._head_start.take(edges) < np.repeat(new.times, counts)  # else replaced
        self._head_start[edges] = start
        if self._loss:
            start[self._lost(len(edges))] = np.inf  # its turn is taken all the same
        self._put(edges, head, np.repeat(self._keep(new), counts), start)

    def _lost(self, messages: int) -> NDArray[np.bool_]:
        return self._generator.random(messages, dtype=np.float32) < self._loss

    def _keep(self, new: _Published) -> Ints:
        """Make ``new`` readable; returns its versions."""
        self.version[new.agents] += 1
        version = self.version[new.agents]
        slot = new.agents * self._kept + (version & self._kept - 1)
        self._payload[slot] = new.payload
        self._published_at[slot] = new.times
        self._update[slot], self._round[slot] = new.updates, new.rounds
        return version

    def _put(self, edges: Ints, head: Ints, version: Ints, start: Floats) -> None:
        """Have messages whose sending begins at ``start`` arrive, each in slot ``head``."""
        head &= self._depth - 1
        self._head[edges] = head
        entry = edges * self._depth + head
        self._versions[entry] = version
        start += self._send_s + self._latency
        if self._jitter:
            start += self._jitter * self._generator.random(len(edges))
        self._arrivals[entry] = start

    def die(self, agents: Ints, times: Floats) -> None:
        """What ``agents`` have not begun to send will never be."""
        if self._send_s:
            self._begun[agents] = self._take_turns(agents, times)
            self._queued[agents] = 0
            edges, owner = expand(self._wiring.out_starts, agents)
            edges = edges[self._head_start[edges] >= times[owner]]
            self._arrivals[edges * self._depth + self._head[edges]] = np.inf

    def settle(self, time: float) -> None:
        """Count what has been begun until the end of the run."""
        if self._send_s:
            everybody = np.arange(len(self.version))
            self._take_turns(everybody, np.full(len(everybody), time))

    def fresh(self, edges: Ints, times: Floats) -> Versions:
        """Newest version that has arrived on each edge by its time and was not used; 0 for none."""
        found = np.zeros(len(edges), np.int32)
        left = None
        at, head, used = edges * self._depth, self._head.take(edges), self.used.take(edges)
        for _ in range(self._depth):
            entry = at + head
            version = self._versions.take(entry)
            new = version > used
            here = self._arrivals.take(entry) <= times
            here &= new
            if left is None:
                np.copyto(found, version, where=here)
            else:
                found[left[here]] = version[here]
            on = np.flatnonzero(new > here)
            if len(on) == 0:
                break
            left = on if left is None else left[on]
            at, used, times = at.take(on), used.take(on), times.take(on)
            head = head.take(on) - 1 & self._depth - 1
        if self._send_s or self._loss:  # messages of long ago, whose payload is no longer kept
            newest = self.version.take(self._wiring.source.take(edges))
            found[newest - found >= self._kept] = 0
        return found

    def first_arrival(self, edges: Ints) -> Floats:
        """When the first unused message arrives on each edge, as far as known; else infinite."""
        entry = edges[:, None] * self._depth + np.arange(self._depth)
        unused = self._versions[entry] > self.used[edges][:, None]
        return np.asarray(np.where(unused, self._arrivals[entry], np.inf).min(axis=1))

    def payload(self, edges: Ints, versions: Versions) -> Floats:
        """The parameters in messages, Float64[n, D]."""
        return self._payload.take(self._slot(edges, versions), axis=0)

    def published_at(self, edges: Ints, versions: Versions) -> Floats:
        """When messages were published, Float64[n]."""
        return self._published_at.take(self._slot(edges, versions))

    def progress(self, edges: Ints, versions: Versions) -> tuple[Ints, Ints]:
        """Update and round of the sender that messages tell."""
        slot = self._slot(edges, versions)
        return self._update[slot], self._round[slot]

    def _slot(self, edges: Ints, versions: Versions) -> Ints:
        return self._wiring.source.take(edges) * self._kept + (versions & self._kept - 1)

    def _take_turns(self, agents: Ints, times: Floats) -> Floats:
        """End the sending of the last versions at ``times``; returns when the next can begin."""
        begun = self._begun[agents]
        done = _begun(times - begun, self._send_s, self._queued[agents])
        self.sends[agents] += done
        begin = np.maximum(times, begun + done * self._send_s)
        self._turn[agents] = (self._turn[agents] + done) % np.maximum(self._degree[agents], 1)
        self._begun[agents], self._queued[agents] = begin, self._degree[agents]
        return begin


def _begun(seconds: Floats, send_s: float, queued: Ints) -> Ints:
    """How many of ``queued`` messages were begun within ``seconds``."""
    return np.clip(np.ceil(seconds / send_s), 0, queued).astype(np.int64)
