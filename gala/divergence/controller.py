"""Controller: keep the agents within a given radius, with as few messages as that takes.

An agent cannot see the mean of all parameters, but it sees its neighbours (Kong et al. 2021,
"Consensus control for decentralized deep learning"). With weights ``P_ij``, scaled to sum to one
over the neighbours j that sent, its distance to them is

    d_i = sqrt( sum_j w_ij || x_j - x_i ||^2 )

and, over all agents, ``d sqrt(1 - p) / 2 <= xi <= d sqrt((1 - p) / (2 (1 - beta)))`` for the root
mean squares d of d_i and xi of ``||x_i - mean||``, and p = P_ii. Between the two, what is to be
expected when updates are independent follows from the topology alone, :func:`spread`. It does not
matter which of the neighbours sent: each is a sample.

The less often agents send, the fewer bytes they need and the further they drift apart before they
mix: at most in proportion to the updates between two messages to the same neighbour. The
controller of each agent therefore scales this interval by target over estimate. What an interval
allows is sent at once, to the next neighbours in turn, not saved up until there is enough for all:
at equal bytes agents stay closer together (``docs/epsilon-ball.md``). So a longer interval first
means fewer neighbours per message, and more updates between messages only when one is left.

Agents agree on a common interval without talking about it: nobody waits much longer than its most
eager in-neighbour, whose eagerness it reads off the updates between that agent's messages.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from gala.topology import Topology
from gala.topology.analysis import spectrum

DENSE = 256
"""Agents up to which the expected spread is computed."""
MARGIN = 0.65
"""Share of the target that is aimed at: distances scatter from mix to mix."""
GROWTH = 1.25
"""Largest factor on the interval while every neighbour sends once."""
LONGEST = 1000.0
"""Updates between two messages to the same neighbour, at most."""
SMOOTHING = 0.25


def spread(topology: Topology) -> float:
    """Expected ``xi / d`` just before a mix, for independent updates of all agents.

    The disagreement left after a mixes is ``L_a U`` with ``L_a = (I - J) P^a`` and random U of
    equal variance for every agent and age, so that xi^2 and d^2 are sums over a of what the rows of
    L_a show: their lengths, and their distances to each other; for a schedule both sums run over
    products of its rounds. :func:`farthest`, the worst case, for more than 256 agents.
    """
    agents = topology.agents
    if agents == 1:
        return 1.0
    if agents > DENSE:
        return farthest(topology)
    rounds = [mixing.dense() for mixing in topology.rounds]
    eye = np.eye(agents)
    xi = apart = 0.0
    for first in range(len(rounds)):
        left = eye - 1 / agents
        for age in range(100_000):
            # `left` is what is there of an update just before round `first + age`
            matrix = rounds[(first + age) % len(rounds)]
            xi += float(np.linalg.norm(left) ** 2) / agents
            apart += _apart(matrix, left)
            left = matrix @ left
            left = left - left.mean(axis=0)
            if np.linalg.norm(left) ** 2 < 1e-6 * xi * agents / (first + 1):
                break
    return float(np.sqrt(xi / apart))


def _apart(matrix: NDArray[np.float64], rows: NDArray[np.float64]) -> float:
    """Mean of d_i^2 over the agents with an in-neighbour in a round, Float64[N, N] each."""
    weights = matrix - np.diag(np.diag(matrix))
    total = weights.sum(axis=1)
    gram = rows @ rows.T
    squares = np.diag(gram)
    sums = (weights * (squares[:, None] + squares - 2 * gram)).sum(axis=1)
    return float((sums[total > 0] / total[total > 0]).mean())


def farthest(topology: Topology) -> float:
    """Largest ``xi / d`` that is possible, whatever the updates: ``1 / sqrt(2 (1 - beta))``."""
    beta = spectrum.beta(topology) or 0.0
    return float(1 / np.sqrt(2 * max(1 - beta, 1e-3)))


class EpsilonController:
    """Chooses how often one agent sends, and to how many.

    Args:
        target: R, for the relative distance ``||x_i - mean|| / ||mean||``.
        spread: distance to the mean over :math:`d_i`, see :func:`spread`.
        most: largest distance to the mean over d that is possible, see :func:`farthest`.

    Attributes:
        interval: updates from one message to a neighbour to the next one to it.
        estimate: of the relative distance just before a mix; 0 before the first.
    """

    def __init__(self, target: float, *, spread: float, most: float) -> None:
        assert target > 0 and spread > 0
        self.interval = 1.0
        self.estimate = 0.0
        self._target, self._spread, self._most = target, spread, max(most, spread)
        self._wish = 1.0
        self._since = 0.0
        self._copies = 1
        self._correction = 1.0

    def due(self, copies: int, moved: float = 0.0) -> int:
        """After an update: how many copies to send.

        Args:
            copies: that a message to all neighbours takes. Each update earns its share of them.
            moved: ``||x_i - y_i|| / ||x_i||`` with y_i as sent last. What moved as far as the
                distance that is aimed at is sent before its time, to the next in turn.
        """
        self._copies = copies
        # in updates, so that an interval that becomes shorter makes due at once what is late then
        self._since = min(self._since, self.interval) + 1.0
        earned = int(self._since * copies / self.interval + 1e-9)
        early = moved >= MARGIN * self._target
        return min(max(earned, int(early)), copies)

    def sent(self, copies: int) -> None:
        """Note that ``copies`` were sent."""
        self._since = max(self._since - copies * self.interval / self._copies, 0.0)

    def received(
        self, distance: float, norm: float, gaps: Collection[float], share: float = 1.0
    ) -> None:
        """Take the distance to the neighbours before a mix.

        Args:
            distance: d_i.
            norm: ``||x_i||``, which stands for that of the mean.
            gaps: updates between messages of each in-neighbour, where known.
            share: weight of those that sent in that of all neighbours.
        """
        if norm <= 0.0:
            return
        found = self._correction * self._spread * distance / norm
        # a growing distance counts at once, a shrinking one by and by
        smoothed = self.estimate + SMOOTHING * share * (found - self.estimate)
        self.estimate = max(found, smoothed)
        aim = MARGIN * self._target
        ratio = aim / self.estimate if self.estimate else GROWTH
        self._wish = min(max(self._wish * min(ratio, GROWTH**share), 1.0), LONGEST)
        self.interval = min([self._wish, *(gap + max(1.0, gap / 4) for gap in gaps)])
        # a wish that the others do not share must not run away
        self._wish = min(self._wish, GROWTH * (self.interval + 1))

    def measured(self, relative: float) -> None:
        """A measurement of the relative distance, where there is one, corrects the estimate."""
        if self.estimate <= 0.0 or not relative > 0.0:
            return
        wanted = self._correction * relative / self.estimate
        step = SMOOTHING * (wanted - self._correction)
        # downwards it goes with care: just after a mix agents are nearer than just before the next
        self._correction = min(max(self._correction + step, 1.0), self._most / self._spread)
