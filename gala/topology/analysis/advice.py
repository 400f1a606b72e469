"""Warnings that teach: what a topology will do to a run, and what would do better."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from gala.topology.topology import Topology

MANY = 8
"""Agents below which speed of agreement hardly matters."""


def warnings(topology: Topology, beta: float | None) -> list[str]:
    """What a user of ``topology`` should know, each with what to do about it.

    Args:
        topology: the topology.
        beta: its second largest singular value, if known.
    """
    rules: list[Callable[[Topology, float | None], str | None]] = [
        _one_agent,
        _mean_drifts,
        _push_sum,
        _never_contracts,
        _slow,
        _hub,
        _many_messages,
        _family,
        _pointless_schedule,
    ]
    found = (rule(topology, beta) for rule in rules)
    return [*topology.notes, *(text for text in found if text is not None)]


def exponential_beta(agents: int) -> float:
    """Beta of the static exponential graph, ``1 - 2 / (1 + ceil(log2 N))``; less for odd N."""
    return 1 - 2 / (1 + math.ceil(math.log2(agents))) if agents > 1 else 0.0


def _one_agent(topology: Topology, beta: float | None) -> str | None:
    return "one agent has nobody to gossip with" if topology.agents == 1 else None


def _mean_drifts(topology: Topology, beta: float | None) -> str | None:
    if topology.doubly_stochastic or topology.push_sum:
        return None
    sums = np.mean([mixing.column_sums for mixing in topology.rounds], axis=0)
    most = int(np.argmax(sums))
    return (
        f"not doubly stochastic: the mean drifts toward agents that are heard more (agent {most} "
        f"counts {sums[most]:.2f} times); weights: metropolis preserves the mean where edges go "
        "both ways, weights: push-sum on any graph"
    )


def _push_sum(topology: Topology, beta: float | None) -> str | None:
    if not topology.push_sum:
        return None
    return "push-sum keeps the mean on any graph, and no bound on the divergence is known for it"


def _never_contracts(topology: Topology, beta: float | None) -> str | None:
    if beta is None or beta < 1 - 1e-12 or not topology.doubly_stochastic:
        return None
    return (
        "some disagreement never shrinks (beta 1): agents that keep none of their own parameters "
        "only swap them; give every agent a weight of its own"
    )


def _slow(topology: Topology, beta: float | None) -> str | None:
    best = exponential_beta(topology.agents)
    if beta is None or topology.agents <= MANY or 1 - beta > (1 - best) / 4 or beta > 1 - 1e-12:
        return None
    return (
        f"{topology.name} of {topology.agents} agrees slowly: beta {beta:.3f}; an exponential "
        f"graph gives {best:.3f} with {math.ceil(math.log2(topology.agents))} messages per update, "
        "a one-peer-exponential one needs a single message"
    )


def _hub(topology: Topology, beta: float | None) -> str | None:
    degrees = np.bincount(topology.edges[:, 0], minlength=topology.agents)
    hub, others = int(degrees.argmax()), int(np.median(degrees))
    if topology.agents < 4 or degrees[hub] < max(4 * others, 3):
        return None
    return (
        f"agent {hub} is heard by {degrees[hub]} agents, the others by about {others}: it is a "
        "bottleneck, and its loss leaves the others apart"
    )


def _many_messages(topology: Topology, beta: float | None) -> str | None:
    sent = sum(len(m.source) for m in topology.rounds) / (topology.agents * len(topology.rounds))
    few = math.ceil(math.log2(topology.agents)) if topology.agents > 1 else 0
    if topology.agents <= MANY or sent < 4 * few:
        return None
    return (
        f"{sent:.3g} messages per agent and update; an exponential graph needs {few} for beta "
        f"{exponential_beta(topology.agents):.3f}"
    )


def _family(topology: Topology, beta: float | None) -> str | None:
    agents = topology.agents
    if topology.family == "torus" and agents > 3 and _prime(agents):
        return f"{agents} is prime: this torus has one row, it is a ring"
    if topology.family == "one-peer-exponential" and agents & (agents - 1):
        return (
            f"{agents} is no power of two: one period does not reach the exact mean; "
            "family: base does for every number of agents"
        )
    return None


def _pointless_schedule(topology: Topology, beta: float | None) -> str | None:
    if topology.schedule in ("rotate", "one-peer") and len(topology.rounds) == 1:
        if topology.agents > 2 and topology.family not in ("one-peer-exponential", "base"):
            return f"schedule: {topology.schedule} has a single round here, it is static"
    return None


def _prime(number: int) -> bool:
    return number > 1 and all(number % d for d in range(2, math.isqrt(number) + 1))
