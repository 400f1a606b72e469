"""How the ball is steered: what decides whether an update is published, from the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from gala.config.sections import GossipConfig
from gala.divergence.controller import SMOOTHING, EpsilonController, farthest, spread
from gala.divergence.policy import PolicyDivergence
from gala.divergence.trigger import Trigger, drift
from gala.parameters.flat import FlatVector
from gala.topology import Topology


class Pace(Protocol):
    """Decides which updates are published, and to how many neighbours."""

    def due(self, copies: int) -> int:
        """After an update: how many of the ``copies`` that reach all to send; 0: none."""
        ...

    def sent(self, copies: int) -> None:
        """They were."""
        ...

    def before_mix(
        self,
        weights: Mapping[int, float],
        received: Mapping[int, Tensor],
        updates: Mapping[int, int],
    ) -> None:
        """Before a mix.

        Args:
            weights: of the row.
            received: parameters of neighbours.
            updates: local updates of the neighbours, as their messages say.
        """
        ...

    def measured(self, relative: float) -> None:
        """This agent's distance to the mean, relative to the mean's norm, was measured."""
        ...

    def metrics(self) -> dict[str, float | None]:
        """What to record."""
        ...


class EpsilonPace:
    """:class:`~gala.divergence.controller.EpsilonController` on an agent's own vector.

    Args:
        vector: Float[P], the parameters; read, never changed.
        controller: decides.
        neighbours: number of neighbours that hear this agent.
    """

    def __init__(self, vector: Tensor, controller: EpsilonController, neighbours: int) -> None:
        self.controller = controller
        self._vector, self._neighbours = vector, neighbours
        self._sent = vector.clone()
        self._copies = 1
        self._update = 0
        self._updates: dict[int, int] = {}
        self._heard: dict[int, int] = {}
        self._gaps: dict[int, float] = {}

    @property
    def period(self) -> float:
        """Updates between two messages."""
        return max(self.controller.interval / self._copies, 1.0)

    @property
    def degree(self) -> float:
        """Neighbours that a message is sent to, in the mean."""
        return self._neighbours / min(self.controller.interval, self._copies)

    def due(self, copies: int) -> int:
        """See :class:`Pace`."""
        self._copies = copies
        self._update += 1
        return self.controller.due(copies, drift(self._sent, self._vector))

    def sent(self, copies: int) -> None:
        """See :class:`Pace`."""
        self.controller.sent(copies)
        self._sent.copy_(self._vector)

    def before_mix(
        self,
        weights: Mapping[int, float],
        received: Mapping[int, Tensor],
        updates: Mapping[int, int],
    ) -> None:
        """See :class:`Pace`."""
        own = self._vector.detach().cpu()
        squares = heard = 0.0
        for j, vector in received.items():
            squares += weights[j] * float(torch.dist(vector[: len(own)].to(own), own)) ** 2
            heard += weights[j]
            self._note(j, updates[j])
        # whoever fell silent holds nobody back for ever
        gaps = [max(gap, self._update - self._heard[j]) for j, gap in self._gaps.items()]
        self.controller.received(
            (squares / heard) ** 0.5, float(own.norm()), gaps, heard / sum(weights.values())
        )

    def measured(self, relative: float) -> None:
        """See :class:`Pace`."""
        self.controller.measured(relative)

    def metrics(self) -> dict[str, float | None]:
        """Updates between two messages, and how many neighbours each is sent to."""
        return {"gossip/period": self.period, "gossip/degree": self.degree}

    def _note(self, peer: int, update: int) -> None:
        """How many updates ``peer`` does between its messages."""
        gap = update - self._updates.get(peer, update)
        if gap > 0:
            known = self._gaps.get(peer, float(gap))
            self._gaps[peer] = known + SMOOTHING * (gap - known)
        self._updates[peer], self._heard[peer] = update, self._update


def pace_of(
    gossip: GossipConfig,
    topology: Topology,
    rank: int,
    flat: FlatVector,
    behaviour: PolicyDivergence,
) -> Pace | None:
    """What decides when to publish; None: after every update, to all.

    Distances are those of the parameters, without the statistics behind them.
    """
    if gossip.epsilon_target is not None:
        controller = EpsilonController(
            gossip.epsilon_target, spread=spread(topology), most=farthest(topology)
        )
        return EpsilonPace(flat.weights, controller, len(topology.out_neighbours(rank)))
    if gossip.trigger == "drift":
        return Trigger(flat.weights, drift, gossip.trigger_threshold)
    if gossip.trigger == "kl":
        return Trigger(flat.data, behaviour.between, gossip.trigger_threshold)
    return None
