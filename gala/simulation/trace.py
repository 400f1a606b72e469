"""What happened to simulated agents, as real ones record it, for the same certificate.

Distances are in lengths of an update, as everywhere in simulations. It is for some hundred agents
at most: every step and every message is an event of its own.
"""

from __future__ import annotations

import numpy as np

from gala.divergence.certificate import Certificate, certify
from gala.divergence.walk import Incomplete
from gala.simulation.links import Floats, Ints, Versions
from gala.telemetry.history import DTYPE, Kind, begin_tick

START, END = begin_tick(0), 0
"""Ticks of the two sketches: of consensus, and of the end."""

Event = tuple[int, int, int, float]
"""Kind, peer, number and value, see :mod:`gala.telemetry.history`."""


class Trace:
    """Keeps the events of every agent.

    Args:
        agents: N; all begin with equal parameters.
        rounding: length of the rounding error of a message.
    """

    def __init__(self, agents: int, rounding: float = 0.0) -> None:
        self._events: list[list[Event]] = [[(Kind.CUT, 0, START, 0.0)] for _ in range(agents)]
        self._rounding = rounding
        self._newest = [0] * agents

    def steps(self, who: Ints) -> None:
        """Each of ``who`` made an update of length 1."""
        for agent in who.tolist():
            self._events[agent].append((Kind.STEP, 0, 0, 1.0))

    def publications(self, who: Ints, versions: Ints) -> None:
        """Newest versions of ``who``; one that is known already was not published again."""
        for agent, version in zip(who.tolist(), versions.tolist(), strict=True):
            if version != self._newest[agent]:
                self._newest[agent] = version
                self._events[agent].append((Kind.PUBLISH, 0, version, self._rounding))

    def mixes(self, takers: Ints, peers: Ints, versions: Versions, weights: Floats) -> None:
        """Messages that entered, Int64[n] each; those of one taker stand together."""
        left, before = 0.0, -1
        shares = dict(zip(*_sums(takers, weights), strict=True))
        rows = (takers.tolist(), peers.tolist(), versions.tolist(), weights.tolist())
        for taker, peer, version, weight in zip(*rows, strict=True):
            if taker != before:
                left, before = 1.0 - shares[taker], taker
            left += weight
            self._events[taker].append((Kind.MIX, peer, version, weight / left))

    def adoptions(self, takers: Ints, peers: Ints, versions: Versions) -> None:
        """Messages that became the parameters of those who came back."""
        rows = (takers.tolist(), peers.tolist(), versions.tolist())
        for taker, peer, version in zip(*rows, strict=True):
            self._events[taker].append((Kind.ADOPT, peer, version, 1.0))

    def certificate(self) -> Certificate | Incomplete:
        """Of the agents as they are now."""
        histories = {}
        for agent, events in enumerate(self._events):
            log = np.zeros(len(events) + 1, DTYPE)
            whole = [*events, (Kind.CUT, 0, END, 0.0)]
            for name, column in zip(
                ("kind", "peer", "number", "value"), zip(*whole, strict=True), strict=True
            ):
                log[name] = column
            histories[agent] = log
        sketches = {(agent, START, 0.0): np.zeros(1) for agent in histories}
        return certify(
            histories,
            sketches,
            tick=END,
            present=dict.fromkeys(histories, 0.0),
            begin=START,
            norms={},
            sketch_error=0.0,
        )


def _sums(takers: Ints, weights: Floats) -> tuple[list[int], list[float]]:
    known, owner = np.unique(takers, return_inverse=True)
    return known.tolist(), np.bincount(owner, weights, minlength=len(known)).tolist()
