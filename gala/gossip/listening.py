"""Listening: keep what neighbours published, instead of averaging with it.

For who learns from neighbours in another way. Who is heard and when, what is refused, who is waited
for and what becomes of the dead is the node's matter, as with every other mixing rule.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from gala.gossip.mixing import Staging, without_missing
from gala.telemetry.history import History, Numbered
from gala.topology import Topology
from gala.topology.weights import discount_by_age


class Listening:
    """A :class:`~gala.gossip.mixing.Mixer` that leaves the vector as it is.

    The messages of a round stay until the next round's; whose sender died or left counts no more.

    Args:
        vector: Float32[P], what is published; only :meth:`adopt` changes it.
        topology: of the run.
        rank: of this agent.

    Attributes:
        staged: see :class:`~gala.gossip.mixing.Mixer`.
        vectors: Float32[K, P], of the neighbours that were heard in the last round, in the order of
            their ranks; K is the most that a round has. They stay where they are.
        weights: Float32[K], theirs; 0 behind the last one, and for who is gone.
    """

    needs_all = True

    def __init__(self, vector: Tensor, topology: Topology, rank: int) -> None:
        self._vector, self._discount = vector, topology.discount
        self.on(vector.device)
        slots = max(len(topology.row(rank, k)[1]) for k in range(topology.period))
        self.vectors = vector.detach().repeat(slots, 1)
        self.weights = torch.zeros(slots, device=vector.device)
        self._heard: dict[int, float] = {}
        self._gone: set[int] = set()

    def on(self, device: torch.device) -> Listening:
        """This one, with messages on ``device``: that of the vector, or the CPU."""
        self._staging = Staging(self._vector, device)
        self.staged = self._staging.staged
        return self

    def outgoing(self, out_neighbours: Callable[[], int]) -> Tensor:
        """See :class:`~gala.gossip.mixing.Mixer`: the vector."""
        return self._staging.fetch()

    def mix(
        self,
        self_weight: float,
        weights: Mapping[int, float],
        received: Mapping[int, Tensor],
        ages: Mapping[int, int],
    ) -> None:
        """See :class:`~gala.gossip.mixing.Mixer`."""
        own, kept = without_missing(self_weight, weights, set(received))
        if self._discount < 1.0:
            _, kept = discount_by_age(own, kept, ages, self._discount)
        self._keep({j: kept[j] for j in sorted(kept)}, [received[j] for j in sorted(kept)])

    def record(
        self,
        history: History,
        entered: Mapping[int, float] | None,
        messages: Mapping[int, Numbered],
    ) -> None:
        """Nothing has entered the parameters."""

    def record_sent(self, history: History, version: int, rounding: float) -> None:
        """Nothing that is published enters anybody's parameters."""

    def adopt(self, peer: int, vector: Tensor) -> bool:
        """See :class:`~gala.gossip.mixing.Mixer`."""
        self._vector.copy_(vector)
        return True

    def forget(self, peer: int) -> None:
        """See :class:`~gala.gossip.mixing.Mixer`: its message counts no more."""
        self._gone.add(peer)
        self._weigh()

    def state_dict(self) -> dict[str, Any]:
        """Plain data and tensors to go on from; who has gone since is back when all go on."""
        vectors = self.vectors[: len(self._heard)].to("cpu", copy=True)
        return {"heard": dict(self._heard), "vectors": vectors}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`; of other messages or more neighbours than now, without."""
        vectors = state["vectors"]
        if len(vectors) <= len(self.vectors) and vectors.shape[1:] == self.vectors.shape[1:]:
            self._keep(dict(state["heard"]), list(vectors))

    def _keep(self, heard: dict[int, float], vectors: list[Tensor]) -> None:
        self._heard = heard
        self._gone.clear()
        for slot, vector in zip(self.vectors, vectors, strict=False):
            slot.copy_(vector)
        self._weigh()

    def _weigh(self) -> None:
        weights = [0.0] * len(self.weights)
        for slot, (peer, weight) in enumerate(self._heard.items()):
            weights[slot] = 0.0 if peer in self._gone else weight
        self.weights.copy_(torch.tensor(weights))
