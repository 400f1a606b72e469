"""Actor-Mimic: a student learns what its teachers would do.

Parisotto, Ba and Salakhutdinov 2015, arXiv 1511.06342. The student acts, as the paper prefers it,
and each teacher says what it would have done there; no reward is looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gala.device.streams import Stream
from gala.experience.batch import Batch
from gala.learning.algorithm import Loss, Plan, Terms, View
from gala.learning.auxiliary import Auxiliary
from gala.learning.learner import Learner, Losses, Reduction
from gala.learning.settings import LearnerConfig
from gala.networks.model import Model
from gala.networks.outputs import Outputs
from gala.networks.trunks import orthogonal_
from gala.parameters.flat import FlatParameters
from gala.parameters.gradient import clip_gradient
from gala.parameters.optimizer import build_optimizer


class Taught(NamedTuple):
    """What teachers say of T x B observations.

    Attributes:
        dist: Float[T, B, A], action distributions at their temperature.
        task: Int64[T, B], whose observation it is.
        features: Float[T, B, F], what their heads were given; zeros behind those of narrower ones.
    """

    dist: Tensor
    task: Tensor
    features: Tensor


class NoNumbers(NamedTuple):
    """Nothing is scheduled but the learning rate."""


class FeatureMaps(nn.Module):
    """A linear map for each teacher, from a student's features to its own (the paper's f).

    They are learned beside the student and are no part of it.

    Args:
        features: S, of the student.
        widths: F_k, of each of K teachers.
        generator: draws the weights.
    """

    there: Tensor

    def __init__(self, features: int, widths: Sequence[int], generator: torch.Generator) -> None:
        super().__init__()
        most = max(widths)
        self.map = nn.Linear(features, len(widths) * most)
        orthogonal_(self.map, 1.0, generator)
        there = torch.arange(most) < torch.tensor(list(widths)).unsqueeze(-1)
        self.register_buffer("there", there)

    def error(self, features: Tensor, task: Tensor, wanted: Tensor) -> Tensor:
        """``||f_k(h) - h_k||^2`` of N observations, Float[N].

        Args:
            features: Float[N, S], h.
            task: Int64[N], k.
            wanted: Float[N, F], h_k; what lies behind F_k does not count.
        """
        found = self.map(features).unflatten(-1, self.there.shape)
        mine = task.view(-1, 1, 1).expand(-1, 1, found.shape[-1])
        gap = (found.gather(1, mine).squeeze(1) - wanted) * self.there[task]
        error: Tensor = gap.square().sum(-1)
        return error


class Mimic:
    """One optimizer step per batch, as an :class:`~gala.learning.algorithm.Algorithm`.

    The loss is the mean over valid steps of ``KL(pi_k || pi) + features ||f_k(h) - h_k||^2``, k the
    teacher of the task. The KL is the paper's cross-entropy less the teacher's own entropy, so that
    it has the same gradient, and is 0 where there is nothing left to learn.

    Args:
        config: of the optimizer.
        teach: asks the teachers about a batch.
        maps: between features; None: these are left alone.
        features: weight of their error.
    """

    plan = Plan()

    def __init__(
        self,
        config: LearnerConfig,
        teach: Callable[[Batch], Taught],
        maps: FeatureMaps | None = None,
        features: float = 0.0,
    ) -> None:
        self.config, self._teach = config, teach
        self._maps, self._features = maps, features

    def coefficients(self, left: float) -> NoNumbers:
        """See :class:`~gala.learning.algorithm.Algorithm`."""
        return NoNumbers()

    def targets(self, batch: Batch, view: View) -> Taught:
        """See :class:`~gala.learning.algorithm.Algorithm`."""
        return self._teach(batch)

    def loss(self, columns: Taught, out: Outputs, terms: Terms) -> Loss:
        """See :class:`~gala.learning.algorithm.Algorithm`."""
        weight = terms.weight
        kl = (weight * out.head.kl(columns.dist, out.dist)).sum()
        logged = {
            "losses/mimic_kl": kl.detach(),
            "losses/entropy": (weight * out.entropy()).sum().detach(),
        }
        if self._maps is None:
            return Loss(kl, logged)
        features = out.features[0].flatten(1).to(weight.dtype)
        error = (weight * self._maps.error(features, columns.task, columns.features)).sum()
        logged["losses/mimic_features"] = error.detach()
        return Loss(kl + self._features * error, logged)


class MappedLearner(Learner):
    """A learner beside whose model feature maps learn, from the same loss.

    Args:
        algorithm: has the maps in its loss.
        model: of the student.
        maps: on its device.
        lr: learning rate at the start, of both.
        stream: where it works.
        auxiliaries: terms that are added to the loss.
    """

    def __init__(
        self,
        algorithm: Mimic,
        model: Model,
        maps: FeatureMaps,
        *,
        lr: float,
        stream: Stream,
        auxiliaries: Sequence[Auxiliary] = (),
    ) -> None:
        super().__init__(algorithm, model, lr=lr, stream=stream, auxiliaries=auxiliaries)
        self._mapped, self._records = FlatParameters(maps), stream.records
        self._beside = build_optimizer(algorithm.config, self._mapped, lr, stream)
        self._follow_beside = stream.captured(self._step_beside)

    def update(self, batch: Batch, coupling: Reduction | None = None) -> Losses:
        """See :class:`~gala.learning.learner.Learner`."""
        losses = super().update(batch, coupling)
        self._beside.lr = self.optimizer.lr
        self._beside.advance()
        self._follow_beside()
        return losses

    def _step_beside(self) -> None:
        limit = self.algorithm.config.max_grad_norm
        _, skip = clip_gradient(self._mapped.grad, limit, recorded=self._records)
        self._beside.apply(skip)
        self._mapped.zero_grad()
