"""How the ball is steered: what decides whether an update is published, from the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from gala.config import Config
from gala.divergence.controller import EpsilonController, spread
from gala.divergence.policy import PolicyDivergence
from gala.divergence.trigger import Trigger, drift
from gala.topology import Topology, spectrum


class Pace(Protocol):
    """Decides which updates are published."""

    def due(self) -> bool:
        """After an update: whether to publish it."""
        ...

    def sent(self) -> None:
        """It was."""
        ...


class EpsilonPace:
    """:class:`~gala.divergence.controller.EpsilonController` on an agent's own vector.

    Args:
        vector: Float[P], the parameters; read, never changed.
        controller: decides.
    """

    def __init__(self, vector: Tensor, controller: EpsilonController) -> None:
        self.controller = controller
        self._vector = vector
        self._sent = vector.clone()
        self._updates: dict[int, int] = {}

    def due(self) -> bool:
        """See :class:`Pace`."""
        return self.controller.due(drift(self._sent, self._vector))

    def sent(self) -> None:
        """See :class:`Pace`."""
        self._sent.copy_(self._vector)
        self.controller.sent()

    def hear(
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
        own = self._vector.detach().cpu()
        gap = torch.zeros_like(own)
        for j, vector in received.items():
            gap.add_(vector.to(own.dtype) - own, alpha=weights[j])
        gaps = [
            updates[j] - self._updates[j]
            for j in received
            if j in self._updates and updates[j] > self._updates[j]
        ]
        self._updates.update({j: updates[j] for j in received})
        self.controller.heard(float(gap.norm()), float(own.norm()), gaps)


def pace_of(
    config: Config, topology: Topology, vector: Tensor, behaviour: PolicyDivergence
) -> Pace | None:
    """What decides when to publish; None: after every update."""
    gossip = config.gossip
    if gossip.epsilon_target is not None:
        beta = spectrum.beta(topology) or 0.0
        controller = EpsilonController(
            gossip.epsilon_target, spread=spread(topology), most=1 / max(1 - beta, 1e-3)
        )
        return EpsilonPace(vector, controller)
    if gossip.trigger == "drift":
        return Trigger(vector, drift, gossip.trigger_threshold)
    if gossip.trigger == "kl":
        return Trigger(vector, behaviour.between, gossip.trigger_threshold)
    return None
