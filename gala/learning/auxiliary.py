"""Auxiliary terms: what is added to the loss of every algorithm, by whoever asks for it."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from gala.experience.batch import Batch
from gala.learning.algorithm import Loss
from gala.networks.outputs import Outputs


class Auxiliary(Protocol):
    """A term of the loss besides the algorithm's own; pure as an algorithm is.

    Of at most five metrics in sum over all terms of a learner.
    """

    def targets(self, batch: Batch) -> Any:
        """A NamedTuple of columns, [T, B, ...], made once for a batch and without gradients."""
        ...

    def loss(self, columns: Any, out: Outputs, weight: Tensor) -> Loss:
        """The term of N rows of a batch, in whatever order.

        Args:
            columns: of these rows, [N, ...].
            out: what the current parameters say of them.
            weight: Float[N], 0 where a row is not valid, and 1 in sum over those that are.
        """
        ...


class NoColumns(NamedTuple):
    """What a term needs that looks at nothing but the outputs."""


class Decorrelation:
    """``network.decorrelate`` times the :func:`covariance` of the features.

    Of a network with a trunk for each, actor and critic, it is the sum over both.

    Args:
        coef: weight of the term.
    """

    def __init__(self, coef: float) -> None:
        self._coef = coef

    def targets(self, batch: Batch) -> NoColumns:
        """See :class:`Auxiliary`."""
        return NoColumns()

    def loss(self, columns: NoColumns, out: Outputs, weight: Tensor) -> Loss:
        """See :class:`Auxiliary`."""
        return self.of(out.features, weight)

    def of(self, features: tuple[Tensor, ...], weight: Tensor) -> Loss:
        """The term of the features of N observations.

        Args:
            features: Float[N, ...] of each trunk.
            weight: Float[N], 1 in sum.
        """
        found = torch.stack(
            [covariance(each.flatten(1).to(weight.dtype), weight) for each in features]
        )
        total = found.sum()
        return Loss(self._coef * total, {"losses/decorrelation": total.detach()})


def covariance(features: Tensor, weight: Tensor) -> Tensor:
    """Squared covariances of all pairs of features, ``sum_{i != j} C_ij^2``.

    Mavrin, Graves and Chan 2019, arXiv 1911.08610: ``||C||_F`` is also that of the Gramian of the N
    rows, so that whichever of both matrices is smaller is formed.

    Args:
        features: Float[N, F].
        weight: Float[N], not negative, 1 in sum: ``C = sum_n w_n (f_n - mean)(f_n - mean)^T``.

    Returns:
        Float[].
    """
    assert weight.shape == features.shape[:1], (weight.shape, features.shape)
    column = weight.to(features.dtype).unsqueeze(-1)
    centred = (features - (column * features).sum(0)) * column.sqrt()
    rows, size = centred.shape
    gram = centred @ centred.t() if rows < size else centred.t() @ centred
    return gram.square().sum() - centred.square().sum(0).square().sum()
