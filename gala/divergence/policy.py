"""Policy divergence: do neighbours still act alike on what this agent sees?

Distance of parameters says little about behaviour: the same step can leave the policy as it is or
turn it over. This module knows parameters as vectors and asks what it is given for the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

OBSERVATIONS = 32
"""Rows on which policies are compared."""

Evaluate = Callable[[Tensor, Tensor], Tensor]
"""Float[P] parameters, observations with B rows -> Float[B, K] action distributions."""
KL = Callable[[Tensor, Tensor], Tensor]
"""Float[B, K], Float[B, K] -> Float[B] in nats."""


class PolicyDivergence:
    """KL between policies on this agent's recent observations.

    Args:
        observations: the newest observations with any number of rows; None when there are none.
        evaluate: see :data:`Evaluate`.
        kl: see :data:`KL`.
    """

    def __init__(
        self, observations: Callable[[], Tensor | None], evaluate: Evaluate, kl: KL
    ) -> None:
        self._observations, self._evaluate, self._kl = observations, evaluate, kl

    @torch.no_grad()
    def between(self, first: Tensor, second: Tensor) -> float | None:
        """Mean ``KL(first || second)`` of two parameter vectors; None without observations."""
        rows = self._rows()
        if rows is None:
            return None
        return _mean(self._kl(self._evaluate(first, rows), self._evaluate(second, rows)))

    @torch.no_grad()
    def from_others(self, own: Tensor, others: Mapping[int, Tensor]) -> dict[str, float | None]:
        """Metrics ``divergence/kl/J``: ``KL(own || J)`` for the parameters of each of ``others``.

        Null where it is not finite: a neighbour that rules out what this agent would do.
        """
        rows = self._rows()
        if rows is None:
            return {}
        mine = self._evaluate(own, rows)
        return {
            f"divergence/kl/{j}": _mean(self._kl(mine, self._evaluate(vector, rows)))
            for j, vector in sorted(others.items())
        }

    def _rows(self) -> Tensor | None:
        found = self._observations()
        if found is None or len(found) == 0:
            return None
        stride = max(len(found) // OBSERVATIONS, 1)
        return found[::stride][:OBSERVATIONS]


def _mean(values: Tensor) -> float:
    return max(float(values.mean()), 0.0)  # rounding alone makes it negative
