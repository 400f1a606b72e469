"""Algorithm: a pure loss and a plan. One learner runs all of them.

An algorithm says twice what it makes of a batch: :meth:`Algorithm.targets`, once for the whole of
it and without gradients, and :meth:`Algorithm.loss`, for each minibatch. Both are pure functions
on tensors, so that a device can record them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from gala.experience.batch import Batch
from gala.learning.settings import LearnerConfig
from gala.networks.heads import ActionHead
from gala.networks.outputs import Outputs
from gala.parameters.schedule import scheduled


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How often a batch is learned from.

    Attributes:
        epochs: passes over the batch.
        minibatches: optimizer steps in each; must divide the observations of a batch.
        buffer: batches to keep and learn from again, the newest included.
        replays: of them, learned from in each update; with more than 1, or a buffer, there are no
            epochs and minibatches.
        target_every: updates after which a target network, whose distributions
            :meth:`Algorithm.targets` are shown as well, is copied at the latest; 0: there is none.
        target_mixed: copy it after each mix with neighbours, too.
        stop_kl: end after the epoch in which the mean of ``policy/kl`` was above this; None: never.
        current: give :meth:`Algorithm.targets` the current parameters' view of the batch; else the
            view of the policy that acted, which is the same unless it is older.
        duals: NamedTuple of numbers above 0 that hold constraints, as they begin;
            :attr:`Terms.duals` has them as they are.
        dual_lr: their learning rate at the start.
        act_every: a copy of the parameters acts that is taken every so many updates, after the mix;
            1: they act themselves.
    """

    epochs: int = 1
    minibatches: int = 1
    buffer: int = 1
    replays: int = 1
    target_every: int = 0
    target_mixed: bool = False
    stop_kl: float | None = None
    current: bool = False
    duals: Any = ()
    dual_lr: float = 1e-2
    act_every: int = 1

    @property
    def once(self) -> bool:
        """Whether there is one optimizer step for a batch."""
        return self.epochs == self.minibatches == 1 and not self.again

    @property
    def again(self) -> bool:
        """Whether batches are kept and learned from again."""
        return self.buffer > 1 or self.replays > 1


class View(NamedTuple):
    """What some parameters say of all T x B observations of a batch, without gradients.

    Attributes:
        dist: Float[T, B, K], parameters of action distributions.
        value: Float[T, B], V(obs[t]).
        next_value: Float[T, B], V of the true successor of step t.
        head: what turns distributions into probabilities.
        lagging: Float[T, B, K], distributions of the target network; None: the plan has none.
        following: Float[T, B, K], distributions of the current parameters at ``obs[t + 1]``; None:
            the view is not theirs.
        lagging_following: likewise, of the target network.
    """

    dist: Tensor
    value: Tensor
    next_value: Tensor
    head: ActionHead
    lagging: Tensor | None = None
    following: Tensor | None = None
    lagging_following: Tensor | None = None


class Terms(NamedTuple):
    """What a loss is made with besides columns and outputs.

    Attributes:
        weight: Float[N], 0 where a row is not valid, and 1 in sum over those that are, times the
            importance of each in a batch that has some.
        coefficients: what :meth:`Algorithm.coefficients` gave, numbers or Float[].
        duals: of the kind of :attr:`Plan.duals`, Float[] each, with gradients.
    """

    weight: Tensor
    coefficients: Any
    duals: Any = ()


class Loss(NamedTuple):
    """What :meth:`Algorithm.loss` gives.

    Attributes:
        total: Float[], to be minimised.
        logged: by metric name, Float[] without gradients.
        priority: Float[N] without gradients, how surprising each row was, for a replay that draws
            by it; None: it is of no matter.
    """

    total: Tensor
    logged: dict[str, Tensor]
    priority: Tensor | None = None


class Algorithm(Protocol):
    """What a learner needs to know.

    Attributes:
        config: its section of the configuration.
        plan: how often a batch is learned from.
    """

    @property
    def config(self) -> LearnerConfig:
        """See the class."""
        ...

    @property
    def plan(self) -> Plan:
        """See the class."""
        ...

    def coefficients(self, left: float) -> Any:
        """A NamedTuple of scheduled numbers.

        Args:
            left: share of the run that is still to come, in [0, 1].
        """
        ...

    def targets(self, batch: Batch, view: View) -> Any:
        """A NamedTuple of columns, [T, B, ...], which the loss gets row by row as [N, ...].

        A column named ``target`` is what values are regressed on: its explained variance is
        logged.
        """
        ...

    def loss(self, columns: Any, out: Outputs, terms: Terms) -> Loss:
        """The loss of N rows of a batch, in whatever order."""
        ...


class Coefficients(NamedTuple):
    """Scheduled numbers of an actor-critic.

    Attributes:
        entropy: weight of the entropy bonus.
    """

    entropy: float


class ActorCritic:
    """An :class:`Algorithm` without targets and loss: those an actor-critic adds.

    Args:
        config: its section of the configuration.
    """

    plan = Plan()

    def __init__(self, config: LearnerConfig) -> None:
        self.config = config

    def coefficients(self, left: float) -> Any:
        """See :class:`Algorithm`."""
        config = self.config
        return Coefficients(scheduled(config.entropy_coef, config.entropy_schedule, left))
