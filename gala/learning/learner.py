"""Learner: turns batches into optimizer steps on the flat vector, as an algorithm's plan says.

A step has two halves, gradient and descent, with the reduction of the gradient between them. A
device records each half once and replays it: that costs a launch more than one recording would, and
it is the same for all couplings, of which ``allreduce`` needs the CPU in the middle.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from gala.device.streams import Direct, Stream
from gala.experience.batch import Batch
from gala.experience.circular import CircularBuffer
from gala.experience.drawn import Drawn
from gala.learning.algorithm import Algorithm, Terms, View
from gala.learning.auxiliary import Auxiliary
from gala.learning.returns import explained_variance
from gala.networks.model import Model
from gala.parameters.duals import DualOptimizer, unusable
from gala.parameters.gradient import clip_gradient
from gala.parameters.lagging import Lagging
from gala.parameters.optimizer import Optimizer, build_optimizer
from gala.parameters.schedule import scheduled


class Reduction(Protocol):
    """What an update asks of the other agents."""

    def reduce(self, gradient: Tensor) -> None:
        """See, and maybe change, the gradient of what is about to be stepped, before clipping.

        It is that of all parameters (and zeros behind them), or of a part that lies together.
        """
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
MAX_ADDED = 5
"""Most metrics of the terms that are added to it."""
LOGGED = MAX_LOGGED + MAX_ADDED + 2
"""Behind them stand the norm of the gradient, and whether the step was left out."""


@dataclass(slots=True)
class Losses:
    """What one update gave; tensors that the next one overwrites.

    Attributes:
        logged: by metric name, Float[], summed over the optimizer steps that were done.
        steps: number of optimizer steps, those that were left out included.
        skipped: Float[] on the CPU, steps left out because their gradient was not finite; known
            once the device was waited for.
        spoilt: by metric name, Float[] of the newest step that was left out.
        target: Float[T x B] that values were regressed on; None where there is none.
        value: Float[T x B] by which the batch was valued.
        valid: Bool[T x B].
        lag: mean and largest policy lag of the batch, in revisions of the parameters; None where
            it is of no matter who acted.
        priority: Float[T, B] on the CPU, how surprising the rows of the batch were, known likewise;
            None: nobody draws by it.
    """

    logged: dict[str, Tensor]
    steps: int
    skipped: Tensor
    spoilt: dict[str, Tensor]
    target: Tensor | None
    value: Tensor
    valid: Tensor
    lag: tuple[float, int] | None
    priority: Tensor | None = None

    def numbers(self) -> dict[str, float]:
        """Metrics: means over the optimizer steps that were done. Waits for a device."""
        done = self.steps - int(self.skipped)
        found: dict[str, float] = {}
        if done:
            found = {name: float(tensor) / done for name, tensor in self.logged.items()}
        if done and self.target is not None:
            usable = self.valid & self.target.isfinite()
            value, target = self.value[usable], self.target[usable]
            found["losses/explained_variance"] = explained_variance(value, target)
        if self.lag is None:
            return found
        return found | {"policy/lag": self.lag[0], "policy/lag_max": float(self.lag[1])}


class Learner:
    """Owns the optimizer of a model; :meth:`update` learns from one batch.

    Args:
        algorithm: its loss and plan.
        model: of the parameters.
        lr: learning rate at the start.
        generator: on the CPU, draws minibatches.
        stream: where it works.
        auxiliaries: terms that are added to the loss.
        columns: of what a replay has drawn, in each optimizer step; 0: it learns from unrolls.

    Attributes:
        optimizer: of all parameters.
        auxiliaries: as given; one may be appended before the first update.
    """

    optimizer: Optimizer | DualOptimizer

    def __init__(
        self,
        algorithm: Algorithm,
        model: Model,
        *,
        lr: float,
        generator: torch.Generator | None = None,
        stream: Stream | None = None,
        auxiliaries: Sequence[Auxiliary] = (),
        columns: int = 0,
    ) -> None:
        self._stream = stream = stream or Direct()
        self.auxiliaries = list(auxiliaries)
        self.algorithm, self._model, self._initial_lr = algorithm, model, lr
        self._generator = generator or torch.Generator().manual_seed(0)
        self._duals = len(algorithm.plan.duals)
        assert self._duals == len(model.duals), "the network has no duals of this algorithm"
        self.optimizer = self._build_optimizer(lr)
        self._numbers = [stream.number() for _ in algorithm.coefficients(1.0)]
        self.schedule(0.0)
        # a batch is the work of the current parameters, or of older ones: two recordings
        self._once = {
            fresh: stream.captured(partial(self._gradient_once, fresh)) for fresh in (True, False)
        }
        self._prepare = {
            fresh: stream.captured(partial(self._prepare_batch, fresh)) for fresh in (True, False)
        }
        plan = algorithm.plan
        self._target = model.twin() if plan.target_every else None
        self._lagging: Lagging | None = None
        if self._target is not None:
            source, copy = model.flat.data, self._target.flat.data
            self._lagging = Lagging(source, copy, every=plan.target_every)
        self._buffer = CircularBuffer(plan.buffer, plan.replays, stream) if plan.again else None
        self._drawn = Drawn(columns, stream) if columns else None
        self._one_step = plan.once and self._drawn is None  # for each batch
        self._priority: Tensor | None = None
        self._part = stream.captured(self._gradient_of_part)
        self._descend = stream.captured(self._step)
        self._count = stream.captured(model.count)
        self._catch_up = stream.captured(model.follow)
        self._columns: list[Any] = []  # of the algorithm, and of each auxiliary
        self._rows = torch.zeros(0, dtype=torch.int64, device=stream.device)
        self._names: list[str] = []
        self._begin = stream.captured(self._begin_sums)
        # of the steps of an update, of one step, of the newest that was left out
        self._sums, self._one, self._spoilt = torch.zeros(3, LOGGED, device=stream.device)

    def _build_optimizer(self, lr: float) -> Optimizer | DualOptimizer:
        config, flat, plan = self.algorithm.config, self._model.flat, self.algorithm.plan
        if not self._duals:
            return build_optimizer(config, flat, lr, self._stream)
        return DualOptimizer(
            config, flat, self._duals, lr=lr, dual_lr=plan.dual_lr, stream=self._stream
        )

    def schedule(self, share: float) -> float:
        """Set what is scheduled to ``share`` in [0, 1] of the run; return the learning rate."""
        left = 1.0 - min(max(share, 0.0), 1.0)
        self.optimizer.lr = scheduled(self._initial_lr, self.algorithm.config.lr_schedule, left)
        for number, value in zip(self._numbers, self.algorithm.coefficients(left), strict=True):
            number.set(value)
        return self.optimizer.lr

    def update(self, batch: Batch, coupling: Reduction | None = None) -> Losses:
        """Learn from ``batch`` as the plan says; then its observations count in the statistics.

        The model computes with the new parameters once :meth:`follow` was called.

        Args:
            batch: on a device, always the same one.
            coupling: is shown each gradient before it is clipped.
        """
        losses = self._learn(batch, coupling or Alone())
        # not before: acting and learning see the same normalised inputs
        if losses.steps and self._model.counts:
            self._count(batch)
        return losses

    def follow(self, update: int, *, mixed: bool) -> None:
        """An update and its exchange are over: the copy that computes follows, and, if it is time,
        a target network.

        Args:
            update: that has been done.
            mixed: whether the exchange changed the parameters.
        """
        if mixed:
            self._model.refresh()
        elif self._one_step and self._model.copies:
            self._catch_up()
        if self._lagging is None or self._target is None:
            return
        if mixed and self.algorithm.plan.target_mixed:
            self.begin_anew(update)
        elif self._lagging.follow(update):
            self._target.follow()

    def begin_anew(self, update: int) -> None:
        """The parameters, at ``update``, have become others, as by joining: so do their copies."""
        if self._lagging is not None and self._target is not None:
            self._lagging.restart(update)
            self._target.follow()

    def forget(self, update: int) -> None:
        """Nothing of what was learned from before the parameters came is of use."""
        self.optimizer.forget()
        self.begin_anew(update)
        if self._buffer is not None:
            self._buffer.clear()

    def _learn(self, batch: Batch, coupling: Reduction) -> Losses:
        if self._drawn is not None:
            return self._learn_drawn(self._drawn, batch, coupling)
        lag, fresh = batch.lag(self._model.revision), self._model.acted(batch)
        if self._one_step:
            logged, target, valid = self._once[fresh](batch)
            norm, skip = self._follow_gradient(coupling)
            logged = spoilt = logged | {"losses/grad_norm": norm}
            steps = 1
        elif self._buffer is not None:
            return self._learn_again(self._buffer, batch, coupling)
        else:
            target, valid = self._prepare[fresh](batch)
            steps = self._epochs(batch, coupling)
            logged, spoilt = self._by_name(self._sums), self._by_name(self._spoilt)
            skip = self._sums[-1]
        skipped = self._stream.send_down(skip)
        return Losses(logged, steps, skipped, spoilt, target, batch.value.flatten(), valid, lag)

    def _learn_again(self, buffer: CircularBuffer, batch: Batch, coupling: Reduction) -> Losses:
        """One optimizer step for each batch that is served; the last one is ``batch``."""
        self._begin()
        lags = []
        for served in buffer.serve(batch):
            lags.append(served.lag(self._model.revision))
            _, target, valid = self._once[self._model.acted(served)](served)
            self._follow_gradient(coupling)
        logged, spoilt = self._by_name(self._sums), self._by_name(self._spoilt)
        skipped = self._stream.send_down(self._sums[-1])
        lag = sum(mean for mean, _ in lags) / len(lags), max(most for _, most in lags)
        value = batch.value.flatten()
        return Losses(logged, len(lags), skipped, spoilt, target, value, valid, lag)

    def _learn_drawn(self, drawn: Drawn, batch: Batch, coupling: Reduction) -> Losses:
        """One optimizer step for each part of what a replay has drawn, if all agents have any."""
        self._begin()
        steps = 0
        ready = coupling.agree(float(batch.envs > 0)) == 1.0
        for keep in drawn.parts(batch) if ready else ():
            self._once[False](drawn.part)
            self._follow_gradient(coupling)
            if self._priority is not None:
                keep(self._priority)
            steps += 1
        logged, spoilt = self._by_name(self._sums), self._by_name(self._spoilt)
        skipped = self._stream.send_down(self._sums[-1])
        value, valid = batch.value.flatten(), batch.valid.flatten()
        known = None
        if steps and self._priority is not None:
            known = self._stream.send_down(drawn.priority)
        return Losses(logged, steps, skipped, spoilt, None, value, valid, None, known)

    def _by_name(self, row: Tensor) -> dict[str, Tensor]:
        return dict(zip(self._names, row, strict=False)) | {"losses/grad_norm": row[-2]}

    def state_dict(self) -> dict[str, Any]:
        """Everything from which :meth:`load_state_dict` goes on."""
        state: dict[str, Any] = {
            "optimizer": self.optimizer.state_dict(),
            "generator": self._generator.get_state(),
        }
        if self._lagging is not None:
            state["target"] = self._lagging.state_dict()
        if self._buffer is not None:
            state["buffer"] = self._buffer.state_dict(self._model.revision)
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        self.optimizer.load_state_dict(state["optimizer"])
        self._generator.set_state(state["generator"])
        if self._lagging is not None and self._target is not None:
            self._lagging.load_state_dict(state["target"])
            self._target.follow()
        if self._buffer is not None:
            self._buffer.load_state_dict(state["buffer"], self._model.revision)

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
        """Int64[N] each, all rows of a batch once, in random order.

        With a memory, whole environments are drawn: what is remembered needs their steps in order.
        """
        remembers = batch.memory is not None
        rows = batch.envs if remembers else batch.steps * batch.envs
        order = torch.randperm(rows, generator=self._generator)
        count = self.algorithm.plan.minibatches
        assert len(order) % count == 0, f"{count} minibatches of {len(order)} rows"
        for part in order.chunk(count):
            if remembers:
                steps = torch.arange(batch.steps).unsqueeze(-1) * batch.envs
                yield (steps + part).flatten()
            else:
                yield part

    def _follow_gradient(self, coupling: Reduction) -> tuple[Tensor, Tensor]:
        """One optimizer step along the gradient; returns what :meth:`_step` does."""
        coupling.reduce(self._model.flat.grad)
        self.optimizer.advance()
        found: tuple[Tensor, Tensor] = self._descend()
        self._model.revision += 1
        return found

    def _view(self, batch: Batch, fresh: bool) -> View:
        head, lagging = self._model.module.head, None
        lagging_following = None
        if self._target is not None:
            said, _ = self._target.evaluate(batch)
            lagging, lagging_following = said[:-1], said[1:]
        if fresh or not self.algorithm.plan.current:
            return View(batch.dist, batch.value, batch.next_value, head, lagging)
        dist, values = self._model.evaluate(batch)
        next_value = torch.where(batch.final, batch.next_value, values[1:])
        return View(dist[:-1], values[:-1], next_value, head, lagging, dist[1:], lagging_following)

    def _gradient_once(
        self, fresh: bool, batch: Batch
    ) -> tuple[dict[str, Tensor], Tensor | None, Tensor]:
        """Targets and gradient of a whole batch; the gradient goes into the flat vector."""
        columns, valid = self._make_columns(batch, fresh), batch.valid.flatten()
        logged = self._differentiate(batch, columns, valid, None)
        if not self._one_step:
            self._note(logged)
        return logged, getattr(columns[0], "target", None), valid

    @torch.no_grad()
    def _prepare_batch(self, fresh: bool, batch: Batch) -> tuple[Tensor | None, Tensor]:
        """The columns of a batch, into tensors that stay where they are."""
        made = self._make_columns(batch, fresh)
        if not self._columns:
            self._columns = [each._make(map(torch.zeros_like, each)) for each in made]
        for mine, each in zip(self._columns, made, strict=True):
            for kept, column in zip(mine, each, strict=True):
                kept.copy_(column)
        self._sums.zero_()
        return getattr(self._columns[0], "target", None), batch.valid.flatten()

    @torch.no_grad()
    def _make_columns(self, batch: Batch, fresh: bool) -> list[Any]:
        """The NamedTuples of the algorithm and of each auxiliary, [T x B, ...] each column."""
        made = [self.algorithm.targets(batch, self._view(batch, fresh))]
        made += [each.targets(batch) for each in self.auxiliaries]
        return [each._make(column.flatten(0, 1) for column in each) for each in made]

    def _gradient_of_part(self, batch: Batch) -> None:
        """The gradient of the rows that are next."""
        rows = self._rows
        columns = [
            each._make(column.index_select(0, rows) for column in each) for each in self._columns
        ]
        valid = batch.valid.flatten().index_select(0, rows)
        self._note(self._differentiate(batch, columns, valid, rows))

    def _begin_sums(self) -> None:
        self._sums.zero_()

    def _note(self, logged: dict[str, Tensor]) -> None:
        """What one of several optimizer steps gave."""
        self._names = list(logged)
        self._one[: len(logged)].copy_(torch.stack(list(logged.values())))

    def _differentiate(
        self, batch: Batch, columns: list[Any], valid: Tensor, rows: Tensor | None
    ) -> dict[str, Tensor]:
        weight = valid.to(torch.float32)
        weight = even = weight / weight.sum().clamp(min=1.0)
        if batch.weight is not None:
            weight = even * batch.weight.expand(batch.steps, -1).flatten()
        out = self._model.unroll(batch, rows)
        kind = type(self.algorithm.coefficients(1.0))
        coefficients = kind(*(number.value for number in self._numbers))
        duals = type(self.algorithm.plan.duals)(*self._model.duals)
        terms = Terms(weight, coefficients, duals)
        loss = self.algorithm.loss(columns[0], out, terms)
        total, logged, self._priority = loss.total, loss.logged, loss.priority
        for auxiliary, mine in zip(self.auxiliaries, columns[1:], strict=True):
            term = auxiliary.loss(mine, out, even)
            total, logged = total + term.total, logged | term.logged
        self._model.zero_grad()
        torch.autograd.backward(total)
        self._model.gradient()
        return logged

    def _step(self) -> tuple[Tensor, Tensor]:
        """Clip the gradient and follow it, unless it is not finite.

        Returns:
            Float[], its norm before, and Float[], 1 where the step was left out, else 0.
        """
        flat, limit = self._model.flat, self.algorithm.config.max_grad_norm
        begin, end = flat.learned - self._duals, flat.learned
        gradient = flat.grad[:begin] if self._duals else flat.grad
        norm, skip = clip_gradient(gradient, limit, recorded=self._stream.records)
        if self._duals:
            skip = torch.maximum(skip, unusable(flat.grad[begin:end]))
        if not self._one_step:
            left_out = skip > 0
            self._one[-2].copy_(norm)
            self._sums[:-1].add_(self._one[:-1].masked_fill(left_out, 0.0))
            self._sums[-1].add_(skip)
            self._spoilt.copy_(torch.where(left_out, self._one, self._spoilt))
        self.optimizer.apply(skip)
        if not self._one_step:  # else an exchange comes first
            self._model.follow()
        return norm, skip
