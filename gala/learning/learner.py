"""Learner: turns batches into optimizer steps on the flat vector, as an algorithm's plan says.

A step has two halves, gradient and descent, with the reduction of the gradient between them. A
device records each half once and replays it: that costs a launch more than one recording would, and
it is the same for all couplings, of which ``allreduce`` needs the CPU in the middle.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from gala.device.streams import Direct, Stream
from gala.experience.batch import Batch
from gala.learning.algorithm import Algorithm, Terms, View
from gala.learning.returns import explained_variance
from gala.networks.model import Model
from gala.parameters.optimizer import build_optimizer
from gala.parameters.schedule import scheduled


class Reduction(Protocol):
    """What an update asks of the other agents."""

    def reduce(self, gradient: Tensor) -> None:
        """See, and maybe change, the flat gradient before clipping and optimizer step."""
        ...

    def agree(self, number: float) -> float:
        """A number that all agents whose gradients are reduced decide by."""
        ...


class Alone:
    """A :class:`Reduction` of an agent that is by itself."""

    def reduce(self, gradient: Tensor) -> None:
        """Leave it as it is."""

    def agree(self, number: float) -> float:
        """The number itself."""
        return number


MAX_LOGGED = 15
"""Most metrics that a loss may log."""


@dataclass(slots=True)
class Losses:
    """What one update gave; tensors that the next one overwrites.

    Attributes:
        logged: by metric name, Float[], summed over the optimizer steps.
        steps: number of optimizer steps.
        target: Float[T x B] that values were regressed on; None where there is none.
        value: Float[T x B] by which the batch was valued.
        valid: Bool[T x B].
        lag: mean and largest policy lag of the batch, in revisions of the parameters.
    """

    logged: dict[str, Tensor]
    steps: int
    target: Tensor | None
    value: Tensor
    valid: Tensor
    lag: tuple[float, int]

    def numbers(self) -> dict[str, float]:
        """Metrics: means over the optimizer steps. Waits for a device."""
        found = {name: float(tensor) / self.steps for name, tensor in self.logged.items()}
        if self.target is not None:
            value, target = self.value[self.valid], self.target[self.valid]
            found["losses/explained_variance"] = explained_variance(value, target)
        return found | {"policy/lag": self.lag[0], "policy/lag_max": float(self.lag[1])}


class Learner:
    """Owns the optimizer of a model; :meth:`update` learns from one batch.

    Args:
        algorithm: its loss and plan.
        model: of the parameters.
        lr: learning rate at the start.
        generator: on the CPU, draws minibatches.
        stream: where it works.

    Attributes:
        optimizer: of all parameters.
    """

    def __init__(
        self,
        algorithm: Algorithm,
        model: Model,
        *,
        lr: float,
        generator: torch.Generator | None = None,
        stream: Stream | None = None,
    ) -> None:
        self._stream = stream = stream or Direct()
        self.algorithm, self._model, self._initial_lr = algorithm, model, lr
        self._generator = generator or torch.Generator().manual_seed(0)
        self.optimizer = build_optimizer(algorithm.config, model.flat, lr, stream)
        self._numbers = [stream.number() for _ in algorithm.coefficients(1.0)]
        self.schedule(0.0)
        # a batch is the work of the current parameters, or of older ones: two recordings
        self._once = {
            fresh: stream.captured(partial(self._gradient_once, fresh)) for fresh in (True, False)
        }
        self._prepare = {
            fresh: stream.captured(partial(self._prepare_batch, fresh)) for fresh in (True, False)
        }
        self._part = stream.captured(self._gradient_of_part)
        self._descend = stream.captured(self._step)
        self._count = stream.captured(model.count)
        self._columns: tuple[Tensor, ...] = ()
        self._rows = torch.zeros(0, dtype=torch.int64, device=stream.device)
        self._names: list[str] = []
        self._sums = torch.zeros(MAX_LOGGED + 1, device=stream.device)  # the last: gradient norm

    def schedule(self, share: float) -> float:
        """Set what is scheduled to ``share`` in [0, 1] of the run; return the learning rate."""
        left = 1.0 - min(max(share, 0.0), 1.0)
        self.optimizer.lr = scheduled(self._initial_lr, self.algorithm.config.lr_schedule, left)
        for number, value in zip(self._numbers, self.algorithm.coefficients(left), strict=True):
            number.set(value)
        return self.optimizer.lr

    def update(self, batch: Batch, coupling: Reduction | None = None) -> Losses:
        """Learn from ``batch`` as the plan says; then its observations count in the statistics.

        Args:
            batch: on a device, always the same one.
            coupling: is shown each gradient before it is clipped.
        """
        losses = self._learn(batch, coupling or Alone())
        if self._model.counts:  # not before: acting and learning see the same normalised inputs
            self._count(batch)
        return losses

    def _learn(self, batch: Batch, coupling: Reduction) -> Losses:
        lag, fresh = batch.lag(self._model.revision), self._model.acted(batch)
        if self.algorithm.plan.once:
            logged, target, valid = self._once[fresh](batch)
            logged = logged | {"losses/grad_norm": self._follow_gradient(coupling)}
            return Losses(logged, 1, target, batch.value.flatten(), valid, lag)
        target, valid = self._prepare[fresh](batch)
        steps = self._epochs(batch, coupling)
        logged = dict(zip(self._names, self._sums, strict=False))
        logged["losses/grad_norm"] = self._sums[-1]
        return Losses(logged, steps, target, batch.value.flatten(), valid, lag)

    def state_dict(self) -> dict[str, Any]:
        """Everything from which :meth:`load_state_dict` goes on."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "generator": self._generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        self.optimizer.load_state_dict(state["optimizer"])
        self._generator.set_state(state["generator"])

    def _epochs(self, batch: Batch, coupling: Reduction) -> int:
        """All optimizer steps of a plan that has several; returns how many there were."""
        plan, steps, before = self.algorithm.plan, 0, 0.0
        size = batch.steps * batch.envs // plan.minibatches
        if len(self._rows) != size:
            self._rows = self._rows.new_zeros(size)
        for _ in range(plan.epochs):
            for rows in self._minibatches(batch):
                self._stream.upload(rows, self._rows)
                self._part(batch)
                self._follow_gradient(coupling)
                steps += 1
            if plan.stop_kl is not None:
                sums = self._stream.download(self._sums)
                kl = float(sums[self._names.index("policy/kl")])
                mean, before = (kl - before) / plan.minibatches, kl
                if coupling.agree(mean) > plan.stop_kl:
                    break
        return steps

    def _minibatches(self, batch: Batch) -> Iterator[Tensor]:
        """Int64[N] each, all rows of a batch once, in random order."""
        order = torch.randperm(batch.steps * batch.envs, generator=self._generator)
        count = self.algorithm.plan.minibatches
        assert len(order) % count == 0, f"{count} minibatches of {len(order)} rows"
        yield from order.chunk(count)

    def _follow_gradient(self, coupling: Reduction) -> Tensor:
        """One optimizer step along the gradient; returns its norm before clipping."""
        coupling.reduce(self._model.flat.grad)
        self.optimizer.advance()
        norm: Tensor = self._descend()
        self._model.revision += 1
        return norm

    def _view(self, batch: Batch, fresh: bool) -> View:
        head = self._model.module.head
        if fresh or not self.algorithm.plan.current:
            return View(batch.dist, batch.value, batch.next_value, head)
        dist, values = self._model.evaluate(batch)
        next_value = torch.where(batch.final, batch.next_value, values[1:])
        return View(dist, values[:-1], next_value, head)

    def _gradient_once(
        self, fresh: bool, batch: Batch
    ) -> tuple[dict[str, Tensor], Tensor | None, Tensor]:
        """Targets and gradient of a whole batch; the gradient goes into the flat vector."""
        with torch.no_grad():
            columns = self.algorithm.targets(batch, self._view(batch, fresh))
        flat = type(columns)(*(column.flatten(0, 1) for column in columns))
        valid = batch.valid.flatten()
        logged = self._differentiate(batch, flat, valid, None)
        return logged, getattr(flat, "target", None), valid

    @torch.no_grad()
    def _prepare_batch(self, fresh: bool, batch: Batch) -> tuple[Tensor | None, Tensor]:
        """The columns of a batch, into tensors that stay where they are."""
        columns = self.algorithm.targets(batch, self._view(batch, fresh))
        flat = [column.flatten(0, 1) for column in columns]
        if not self._columns:
            self._columns = type(columns)(*(torch.zeros_like(column) for column in flat))
        for mine, column in zip(self._columns, flat, strict=True):
            mine.copy_(column)
        self._sums.zero_()
        return getattr(self._columns, "target", None), batch.valid.flatten()

    def _gradient_of_part(self, batch: Batch) -> None:
        """The gradient of the rows that are next."""
        rows = self._rows
        kind: Any = type(self._columns)
        columns = kind(*(column.index_select(0, rows) for column in self._columns))
        valid = batch.valid.flatten().index_select(0, rows)
        logged = self._differentiate(batch, columns, valid, rows)
        self._names = list(logged)
        self._sums[: len(logged)].add_(torch.stack(list(logged.values())))

    def _differentiate(
        self, batch: Batch, columns: Any, valid: Tensor, rows: Tensor | None
    ) -> dict[str, Tensor]:
        weight = valid.to(torch.float32)
        weight /= weight.sum().clamp(min=1.0)
        out = self._model.unroll(batch, rows)
        kind = type(self.algorithm.coefficients(1.0))
        terms = Terms(weight, kind(*(number.value for number in self._numbers)))
        loss = self.algorithm.loss(columns, out, terms)
        self._model.zero_grad()
        torch.autograd.backward(loss.total)
        self._model.gradient()
        return loss.logged

    def _step(self) -> Tensor:
        """Clip the gradient and follow it; returns its norm before."""
        gradient, limit = self._model.flat.grad, self.algorithm.config.max_grad_norm
        norm: Tensor = gradient.norm()
        if not self.algorithm.plan.once:
            self._sums[-1].add_(norm)
        if limit is not None:
            gradient.mul_((limit / (norm + 1e-6)).clamp(max=1.0))
        self.optimizer.apply()
        self._model.follow()
        return norm
