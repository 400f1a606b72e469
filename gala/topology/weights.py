"""Weights: from who hears whom to a mixing matrix.

=============  ==================================================================================
uniform        the mean over oneself and everybody heard; doubly stochastic on regular graphs
metropolis     1 / (1 + the larger degree of the two ends), the rest to oneself: doubly stochastic
               on every undirected graph (Metropolis-Hastings; Xiao, Boyd 2004)
lazy           ``self_weight`` (1/2) to oneself, the rest shared equally among those heard
explicit       as the file says; what is left of one goes to oneself
push-sum       a publisher splits its mass over itself and its listeners: columns sum to one instead
               of rows, and a travelling scalar weight repairs the scale (Kempe et al. 2003)
clipped        uniform or metropolis, whichever keeps the mean; whoever mixes clips each difference
               to a ball around itself (He, Karimireddy, Jaggi 2022)
trimmed        likewise, but whoever mixes takes the mean over itself and everybody heard in each
               coordinate, without its largest and its smallest value (Yin et al. 2018)
=============  ==================================================================================

With any of them a ``discount`` below one makes old messages count less: the weight of a message
that is a updates old is multiplied by ``discount^a``, and what it loses goes to oneself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gala.topology.graph import Edges, degrees, symmetric
from gala.topology.mixing import TOLERANCE, Mixing, Row

WeightsKind = Literal["uniform", "metropolis", "explicit", "lazy", "push-sum", "clipped", "trimmed"]

ROBUST = ("clipped", "trimmed")
"""Kinds whose matrix is that of agents that tell the truth: what one liar does is bounded."""

NAMED = ("push-sum", *ROBUST)
"""Kinds that say how agents mix; files name them, and their edges need no weights."""

TRIMMED_FROM = 3
"""Agents that each must hear under ``trimmed``."""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """How weights are given.

    Attributes:
        kind: one of the table above.
        self_weight: own weight under ``lazy``, within (0, 1).
        discount: factor on the weight of a message per update of its age, within (0, 1].
    """

    kind: WeightsKind = "uniform"
    self_weight: float = 0.5
    discount: float = 1.0


class WeightError(ValueError):
    """Weights that cannot be: ``rule``, the ``agent`` whose row is at fault, and a ``hint``."""

    def __init__(self, rule: str, *, agent: int, hint: str) -> None:
        super().__init__(rule)
        self.rule, self.agent, self.hint = rule, agent, hint


def discount_by_age(
    own: float, others: Mapping[int, float], ages: Mapping[int, int], discount: float
) -> Row:
    """A row of the mixing matrix after old messages have lost weight to the agent itself.

    Args:
        own: weight of the agent itself.
        others: weight of each message, by sender.
        ages: updates since the sender made it; absent: fresh.
        discount: factor per update of age, within (0, 1].
    """
    kept = {j: weight * discount ** ages.get(j, 0) for j, weight in others.items()}
    return own + sum(others.values()) - sum(kept.values()), kept


def weigh(edges: Edges, agents: int, weights: Weights) -> Mixing:
    """Mixing matrix of one round.

    Args:
        edges: Int64[E, 2] of (source, target).
        agents: N.
        weights: any kind but ``explicit``.

    Raises:
        WeightError: metropolis on a graph whose directions do not balance.
    """
    source, target = edges[:, 0], edges[:, 1]
    heard, listeners = degrees(edges, agents)
    if weights.kind == "push-sum":
        weight = 1.0 / (1.0 + listeners[source])
        return Mixing.of(agents, source, target, weight, 1.0 / (1.0 + listeners))
    if weights.kind == "uniform":
        weight = 1.0 / (1.0 + heard[target])
        return Mixing.of(agents, source, target, weight, 1.0 / (1.0 + heard))
    if weights.kind == "lazy":
        weight = (1.0 - weights.self_weight) / heard[target]
        own = np.where(heard > 0, weights.self_weight, 1.0)
        return Mixing.of(agents, source, target, weight, own)
    if weights.kind == "trimmed" and agents > 1 and heard.min() < TRIMMED_FROM:
        agent = int(heard.argmin())
        raise WeightError(
            f"trimmed weights need {TRIMMED_FROM} agents or more to hear; agent {agent} hears "
            f"{heard[agent]}",
            agent=agent,
            hint="weights: clipped, or more edges",
        )
    if weights.kind in ROBUST:
        uniform = weigh(edges, agents, Weights(kind="uniform"))
        if uniform.column_stochastic or not symmetric(edges):
            return uniform
    else:
        assert weights.kind == "metropolis"
    weight = 1.0 / (1.0 + np.maximum(heard[source], heard[target]))
    mixing = fill(edges, agents, weight)
    if not mixing.column_stochastic:
        worst = int(np.abs(mixing.column_sums - 1).argmax())
        raise WeightError(
            f"metropolis weights need a graph that is heard both ways; agent {worst} hears "
            f"{heard[worst]} and is heard by {listeners[worst]}",
            agent=worst,
            hint="add the edges back, or use weights: push-sum",
        )
    return mixing


def fill(edges: Edges, agents: int, weight: NDArray[np.float64]) -> Mixing:
    """Mixing matrix of given edge weights Float64[E]; what is left of one goes to oneself.

    Raises:
        WeightError: the weights of an agent sum to more than one.
    """
    left = 1.0 - np.bincount(edges[:, 1], weight, minlength=agents)
    for agent in np.flatnonzero(left < -TOLERANCE)[:1].tolist():
        given = weight[edges[:, 1] == agent]
        raise WeightError(
            f"the weights of row {agent} sum to {given.sum():.10g}, and a row must sum to 1 with "
            "what is left given to the agent itself",
            agent=agent,
            hint=f"give at most {1 / (len(given) + 1):.4g} to each of the {len(given)} it hears",
        )
    left = np.round(np.where(left < TOLERANCE, 0.0, left), 15)  # 0.4, not 0.39999999999999997
    return Mixing.of(agents, edges[:, 0], edges[:, 1], weight, left)
