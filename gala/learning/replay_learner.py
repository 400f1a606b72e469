"""Replay learner: turns transitions into optimizer steps, as an off-policy algorithm says."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gala.device.streams import Direct, Stream
from gala.experience.batch import Batch
from gala.experience.transitions import transitions
from gala.experience.windows import Transitions
from gala.learning.auxiliary import Decorrelation
from gala.learning.diagnosis import NORM
from gala.learning.learner import Alone, Losses, Reduction
from gala.learning.off_policy import OffPolicy, Stage
from gala.networks.model import Model
from gala.parameters.gradient import clip_gradient
from gala.parameters.halves import HalvedOptimizer
from gala.parameters.schedule import scheduled

SOFT = "soft."
TARGETS, CRITICS = f"{SOFT}targets.", f"{SOFT}critics."
"""Where in the layout of a network's parameters they are."""


class ReplayLearner:
    """Owns the optimizer of a model; does for a replay what a ``Learner`` does for unrolls.

    Args:
        algorithm: its stages.
        model: of the parameters; its network has ``soft``.
        lr: learning rate at the start.
        rows: N, transitions of an optimizer step.
        generator: on the CPU, draws noise.
        stream: where it works.
        decorrelation: is added to the loss of each stage; None: nothing is.

    Attributes:
        optimizer: of all parameters.
    """

    def __init__(
        self,
        algorithm: OffPolicy,
        model: Model,
        *,
        lr: float,
        rows: int,
        generator: torch.Generator | None = None,
        stream: Stream | None = None,
        decorrelation: Decorrelation | None = None,
    ) -> None:
        assert model.module.soft is not None, "the network of another algorithm"
        self.algorithm, self._model, self._initial_lr = algorithm, model, lr
        self._rows, self._stream = rows, stream or Direct()
        self._equal = torch.full((rows,), 1 / rows, device=self._stream.device)
        self._generator = generator or torch.Generator().manual_seed(0)
        self._noise, self._decorrelation = model.module.soft.critics.noise, decorrelation
        flat = model.flat
        begin = _span(flat.layout, SOFT).start
        self.optimizer = HalvedOptimizer(algorithm.config, flat, begin, lr=lr, stream=self._stream)
        # the policy comes first in the vector, then critics and temperature, then what is no step
        named = list(model.module.named_parameters())
        self._learned = {
            soft: [each for name, each in named if name.startswith(SOFT) == soft]
            for soft in (False, True)
        }
        self._critics = flat.data[_span(flat.layout, CRITICS)]
        self._targets = flat.data[_span(flat.layout, TARGETS)]

    def schedule(self, share: float) -> float:
        """Set what is scheduled to ``share`` in [0, 1] of the run; return the learning rate."""
        left = 1.0 - min(max(share, 0.0), 1.0)
        self.optimizer.lr = scheduled(self._initial_lr, self.algorithm.config.lr_schedule, left)
        return self.optimizer.lr

    def update(self, batch: Batch, coupling: Reduction | None = None) -> Losses:
        """Learn from each N of the transitions of ``batch``, if all agents have any.

        Args:
            batch: of a :class:`~gala.experience.replay.Replay`.
            coupling: is shown each gradient before it is clipped.
        """
        coupling = coupling or Alone()
        sums: dict[str, Tensor] = {}
        spoilt: dict[str, Tensor] = {}
        skipped, steps = 0, batch.envs // self._rows
        if coupling.agree(float(steps > 0)) < 1.0:  # whoever stepped alone would be waited for
            steps = 0
        for number in range(steps):
            rows = transitions(batch, slice(number * self._rows, (number + 1) * self._rows))
            logged, usable = self.step(rows, self._draw(), coupling)
            if usable:
                sums = {name: sums.get(name, 0.0) + value for name, value in logged.items()}
            else:
                skipped, spoilt = skipped + 1, logged
        if steps and self._model.counts:
            self._model.count(batch)
        self._model.follow()
        left_out = torch.tensor(float(skipped))
        valid = batch.valid.flatten()
        return Losses(sums, steps, left_out, spoilt, None, batch.value.flatten(), valid, None)

    def step(
        self, rows: Transitions, noise: Tensor, coupling: Reduction
    ) -> tuple[dict[str, Tensor], bool]:
        """All stages on N transitions, then the targets follow.

        Args:
            rows: N transitions.
            noise: see :meth:`~gala.learning.off_policy.OffPolicy.prepare`.
            coupling: is shown the gradient of each stage's parameters before it is clipped.

        Returns:
            What is logged, and whether all of it was followed.
        """
        columns = self.algorithm.prepare(rows, self._model.module, noise)
        logged: dict[str, Tensor] = {}
        norms, usable = [], True
        for stage in self.algorithm.stages:
            loss = stage.loss(rows, columns, self._model.module)
            total, logged = loss.total, logged | loss.logged
            if self._decorrelation is not None:
                term = self._decorrelation.of(self._features(stage, rows), self._equal)
                total = total + term.total
                # of the critics and of the policy, in sum
                logged |= {name: logged.get(name, 0.0) + term.logged[name] for name in term.logged}
            norm, skip = self._follow(stage, total, coupling)
            norms.append(norm)
            usable &= not bool(skip)
        with torch.no_grad():
            self._targets.lerp_(self._critics, self.algorithm.config.tau)
        return logged | {NORM: torch.linalg.vector_norm(torch.stack(norms))}, usable

    def _features(self, stage: Stage, rows: Transitions) -> tuple[Tensor, ...]:
        """What the trunks make of N transitions that learn in a stage."""
        network = self._model.module
        if not stage.soft:
            return network.features(rows.obs)
        assert network.soft is not None
        critics = network.soft.critics
        return critics.features(critics.given(network.seen(rows.obs), rows.action))

    def _follow(self, stage: Stage, total: Tensor, coupling: Reduction) -> tuple[Tensor, Tensor]:
        """One optimizer step of a stage's parameters; returns what :func:`clip_gradient` does."""
        flat, limit = self._model.flat, self.algorithm.config.max_grad_norm
        flat.zero_grad()
        torch.autograd.backward(total, inputs=self._learned[stage.soft])
        gradient = flat.grad[self.optimizer.half(stage.soft)]
        coupling.reduce(gradient)
        norm, skip = clip_gradient(gradient, limit)
        self.optimizer.step(stage.soft, skip)
        self._model.revision += 1
        return norm, skip

    def _draw(self) -> Tensor:
        noise = torch.randn((2, self._rows, self._noise), generator=self._generator)
        return noise.to(self._stream.device)

    def follow(self, update: int, *, mixed: bool) -> None:
        """An update and its exchange are over; targets have followed and were mixed already.

        Args:
            update: that has been done.
            mixed: whether the exchange changed the parameters.
        """
        if mixed:
            self._model.refresh()

    def begin_anew(self, update: int) -> None:
        """Nothing: targets have come with the parameters."""

    def forget(self, update: int) -> None:
        """Nothing of what was learned from before the parameters came is of use."""
        self.optimizer.forget()

    def state_dict(self) -> dict[str, Any]:
        """Everything from which :meth:`load_state_dict` goes on; targets are parameters."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "generator": self._generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        self.optimizer.load_state_dict(state["optimizer"])
        self._generator.set_state(state["generator"])


def _span(layout: list[tuple[str, tuple[int, ...]]], prefix: str) -> slice:
    """Where in the flat vector the tensors lie whose names begin so: one after the other."""
    ends, end = [], 0
    for name, shape in layout:
        begin, end = end, end + torch.Size(shape).numel()
        if name.startswith(prefix):
            ends.append((begin, end))
    return slice(ends[0][0], ends[-1][1])
