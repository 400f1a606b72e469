"""The mixing rule: own parameters become the weighted average of own and received ones."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from gala.errors import UserError
from gala.topology import Topology


def require_averaging(topology: Topology) -> Topology:
    """``topology``, if its rows are weighted averages, which is what agents can mix with.

    Raises:
        UserError: push-sum weights, whose columns and not rows sum to one: they can be studied
            (``gala topology``), not trained with.
    """
    if topology.push_sum:
        raise UserError(
            f"{topology.name} has push-sum weights, which agents cannot mix with",
            field="topology",
            hint="weights: uniform, or metropolis on a graph that is heard both ways",
        )
    return topology


def mix_(x: Tensor, self_weight: float, received: Mapping[int, tuple[float, Tensor]]) -> Tensor:
    """``x <- P_ii x + sum_j P_ij x_j`` in place (paper, Algorithm 1, line 9).

    Neighbours are added in the order of their ranks, so that the result does not depend on the
    order of arrival.

    Args:
        x: Float32[P], changed in place.
        self_weight: P_ii; with the other weights it must sum to 1.
        received: ``{j: (P_ij, x_j)}``.
    """
    total = self_weight + sum(weight for weight, _ in received.values())
    assert abs(total - 1.0) < 1e-6, f"weights of a mix must sum to 1, got {total}"
    x.mul_(self_weight)
    for j in sorted(received):
        weight, vector = received[j]
        x.add_(vector, alpha=weight)
    return x


def without_missing(
    self_weight: float, weights: Mapping[int, float], present: set[int]
) -> tuple[float, dict[int, float]]:
    """Weights when only ``present`` neighbours sent: the weight of the missing stays with self."""
    kept = {j: weight for j, weight in weights.items() if j in present}
    missing = sum(weight for j, weight in weights.items() if j not in present)
    return self_weight + missing, kept
