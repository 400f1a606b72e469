"""Planning: the cheapest way to keep agents within a radius over links of a given speed.

Graphs, wire formats and periods of a list that leave the links room are simulated, those that send
the least first, until one stays within the radius. Nothing is extrapolated: what is proposed has
been simulated, and its certificate computed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gala.errors import UserError
from gala.simulation.prediction import Prediction, simulate
from gala.simulation.scenario import ROUNDING, Scenario
from gala.topology import Topology, load_topology

GRAPHS = (
    "ring", "torus", "hypercube", "one-peer-exponential", "exponential", "complete",
)  # fmt: skip
"""Families that are tried, where they exist for so many agents."""
PERIODS = (1, 2, 4, 8, 16, 32)
"""Updates from one publication to the next that are tried."""
LARGEST = 256
"""Agents that can be planned for: more are simulated, but not certified."""
FULL = 0.8
"""Share of a link that may be used: one that is full is never empty again."""
MIXES = 25
"""Publications of each agent in a simulation, at least."""


@dataclass(frozen=True, kw_only=True)
class Option:
    """One way to gossip, and what came of it.

    Attributes:
        topology: name of the graph.
        wire: format of messages.
        every: updates from one publication to the next.
        relative: largest ``||x_i - mean||`` over the norm of the parameters.
        certified: what the divergence of all agents cannot exceed, over the same norm; computed
            for what is proposed.
        divergence: the mean divergence of all agents, over the same norm.
        mbit_s: sent by an agent, on average.
        busy: share of its link that this is; None where links are endless.
        age_s: seconds by which messages are old when they are mixed, in the mean.
    """

    topology: str
    wire: str
    every: int
    relative: float
    divergence: float
    mbit_s: float
    busy: float | None
    age_s: float
    certified: float | None = None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is proposed.

    Attributes:
        target: largest relative distance that was asked for.
        agents: N.
        best: the cheapest option within the target; where there is none the one that comes nearest.
        reached: whether it is within.
        tried: what was simulated, the cheapest first.
    """

    target: float
    agents: int
    best: Option
    reached: bool
    tried: Sequence[Option]

    def to_json(self) -> dict[str, Any]:
        """As plain data; the names are fixed."""
        return {
            "agents": self.agents,
            "target": self.target,
            "reached": self.reached,
            "plan": vars(self.best),
            "tried": [vars(option) for option in self.tried],
        }


def plan(agents: int, target: float, scenario: Scenario, graphs: Sequence[str] = GRAPHS) -> Plan:
    """The cheapest option for ``agents`` under ``scenario``.

    Args:
        agents: N.
        target: largest relative distance of an agent from the mean.
        scenario: the conditions; ``update_size`` must be known, its format and period are tried.
        graphs: families, or files, that are tried.

    Raises:
        UserError: too many agents, or no graph fits.
    """
    if agents > LARGEST:
        rule = f"can be planned for {LARGEST} agents at most"
        raise UserError(rule, field="--agents", hint=str(LARGEST))
    ways = sorted(_ways(agents, scenario, graphs), key=lambda way: way[0])
    if not ways:
        rule = "no graph that is tried fits the number of agents and the links"
        raise UserError(rule, field="--plan", hint="more --bandwidth-mbit")
    tried: list[tuple[Option, Topology, Scenario]] = []
    reached = False
    for _, topology, each in ways:
        option = _option(simulate(topology, each))
        tried.append((option, topology, each))
        reached = option.relative <= target
        if reached:
            break
    best, topology, each = tried[-1] if reached else min(tried, key=lambda way: way[0].relative)
    found = simulate(topology, each, certified=True).certificate
    if found is not None:
        best = replace(best, certified=found.epsilon * (scenario.update_size or 0.0))
    return Plan(
        target=target,
        agents=agents,
        best=best,
        reached=reached,
        tried=[option for option, _, _ in tried],
    )


def _ways(
    agents: int, scenario: Scenario, graphs: Sequence[str]
) -> Iterator[tuple[float, Topology, Scenario]]:
    """Every way whose messages leave the links room, with the bytes per second of an agent."""
    for name in graphs:
        try:
            topology = load_topology(name, agents)
        except UserError:  # no such graph of so many
            continue
        if topology.push_sum or topology.robust:
            continue
        degree = len(topology.edges) / agents
        for wire in ROUNDING:
            for every in PERIODS:
                each = replace(
                    scenario, wire=wire, every=every, updates=max(scenario.updates, MIXES * every)
                )
                period_s = every * each.update_s
                if degree * each.send_s <= FULL * period_s:
                    yield degree * each.message_bytes / period_s, topology, each


def _option(found: Prediction) -> Option:
    scenario, tally = found.scenario, found.tally
    size = scenario.update_size or 0.0
    settled = len(tally.farthest) // 4  # agents begin equal
    divergence = tally.divergence[settled:]
    mbit_s = 8e-6 * found.bytes_per_agent / max(found.wall_clock_s, 1e-12)
    link = scenario.bandwidth_mbit
    return Option(
        topology=found.topology.name,
        wire=scenario.wire,
        every=scenario.every,
        relative=size * max(tally.farthest[settled:]),
        divergence=size * math.fsum(divergence) / len(divergence),
        mbit_s=mbit_s,
        busy=None if link is None else mbit_s / link,
        age_s=tally.mean_age_s,
    )
