"""Keep the agents within a radius that the user names, with as few messages as that takes.

An agent cannot see the mean of all parameters, but it sees its neighbours. With weights ``P_ij``

    theta_i = || sum_j P_ij (x_j - x_i) ||

and, over all agents, ``theta / 2 <= xi <= theta / (1 - beta)`` for the root mean squares theta of
theta_i and xi of ``||x_i - mean||`` (Kong et al. 2021, "Consensus control for decentralized deep
learning"). Between the two, what is to be expected when updates are independent follows from the
topology alone, :func:`spread`.

The less often agents publish, the fewer bytes they send and the further they drift apart before
they mix: at most in proportion to the updates between two messages. The controller of each agent
therefore scales its period by target over estimate. Agents agree on a common period without
talking about it: nobody waits much longer than the most eager agent it hears, whose eagerness it
reads off the updates between that agent's messages.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from gala.topology import Topology, spectrum

DENSE = 256
"""Agents up to which the expected spread is computed."""
MARGIN = 0.65
"""Share of the target that is aimed at: distances scatter from mix to mix."""
GROWTH = 1.25
"""Largest factor on the period from one mix to the next."""
LONGEST = 1000
"""Updates between two messages, at most."""
SMOOTHING = 0.25


def spread(topology: Topology) -> float:
    """Expected ``xi / theta`` just before a mix, for independent updates of all agents.

    The disagreement left after a mixes is ``(P^a - J) U`` with random U of equal variance for
    every agent and age, so that ``xi^2 : theta^2 = sum_a ||(I - J) P^a||_F^2 : sum_a ||(I - P)
    P^a||_F^2``; for a schedule both sums run over products of its rounds. ``1 / (1 - beta)``, the
    worst case, for more than 256 agents.
    """
    agents = topology.agents
    if agents == 1:
        return 1.0
    rate = spectrum.beta(topology)
    if agents > DENSE:
        return 1.0 / max(1.0 - (rate or 0.0), 1e-3)
    rounds = [mixing.dense() for mixing in topology.rounds]
    eye = np.eye(agents)
    xi = theta = 0.0
    for first in range(len(rounds)):
        left = eye - 1 / agents
        for age in range(100_000):
            # `left` is what is there of an update just before round `first + age`
            xi += float(np.linalg.norm(left) ** 2)
            theta += float(np.linalg.norm((eye - rounds[(first + age) % len(rounds)]) @ left) ** 2)
            left = rounds[(first + age) % len(rounds)] @ left
            left = left - left.mean(axis=0)
            if np.linalg.norm(left) ** 2 < 1e-6 * xi / (first + 1):
                break
    return float(np.sqrt(xi / theta))


class EpsilonController:
    """Chooses how often one agent publishes.

    Args:
        target: R, for the relative distance ``||x_i - mean|| / ||mean||``.
        spread: distance to the mean over :math:`theta_i`, see :func:`spread`.
        most: largest distance to the mean over theta that is possible: ``1 / (1 - beta)``.

    Attributes:
        period: updates from one message to the next.
        estimate: of the relative distance just before a mix; 0 before the first.
    """

    def __init__(self, target: float, *, spread: float, most: float) -> None:
        assert target > 0 and spread > 0
        self.period = 1
        self.estimate = 0.0
        self._target, self._spread, self._most = target, spread, max(most, spread)
        self._wish = 1.0
        self._since = 0
        self._correction = 1.0

    def due(self, moved: float = 0.0) -> bool:
        """After an update: whether to publish it.

        Args:
            moved: ``||x_i - y_i|| / ||x_i||`` with y_i as published last. What moved as far as the
                distance that is aimed at is published before its time.
        """
        self._since += 1
        return self._since >= self.period or moved >= MARGIN * self._target

    def sent(self) -> None:
        """It was published."""
        self._since = 0

    def heard(self, theta: float, norm: float, gaps: Collection[int]) -> None:
        """Before a mix: how far the neighbours are.

        Args:
            theta: ``||sum_j P_ij (x_j - x_i)||``.
            norm: ``||x_i||``, which stands for that of the mean.
            gaps: updates between the last two messages of each in-neighbour, where known.
        """
        if norm <= 0.0:
            return
        found = self._correction * self._spread * theta / norm
        # news of a growing distance counts at once, of a shrinking one by and by
        smoothed = self.estimate + SMOOTHING * (found - self.estimate)
        self.estimate = max(found, smoothed)
        aim = MARGIN * self._target
        ratio = aim / self.estimate if self.estimate else GROWTH
        self._wish = min(max(self._wish * min(ratio, GROWTH), 1.0), float(LONGEST))
        self.period = int(min([self._wish, *(gap + max(1, gap // 4) for gap in gaps)]))
        # a wish that the others do not share must not run away
        self._wish = min(self._wish, GROWTH * (self.period + 1))

    def measured(self, relative: float) -> None:
        """A measurement of the relative distance, where there is one, corrects the estimate."""
        if self.estimate <= 0.0 or not relative > 0.0:
            return
        wanted = self._correction * relative / self.estimate
        step = SMOOTHING * (wanted - self._correction)
        # downwards it goes with care: just after a mix agents are nearer than just before the next
        self._correction = min(max(self._correction + step, 1.0), self._most / self._spread)
