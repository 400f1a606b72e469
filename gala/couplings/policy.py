"""Exchange of policies: agents publish parameters, and neighbours learn from what these would do.

Nothing is averaged. Each agent evaluates the newest parameters of its in-neighbours on its own
observations, and has a term in its loss that pulls its policy towards theirs or away from it. So
agents need not stay near to one another as vectors; what they have in common is behaviour.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from gala.config.sections import DistilConfig, RepelConfig
from gala.couplings.gossip import Gossip
from gala.experience.batch import Batch
from gala.gossip.listening import Listening
from gala.gossip.message import Header
from gala.gossip.node import GossipNode
from gala.learning.algorithm import Loss
from gala.learning.auxiliary import Auxiliary
from gala.networks.heads import ActionHead
from gala.networks.outputs import Outputs

UNBOUND = "agents exchange policies and never average parameters"
"""Why there is no certificate; distances between policies are ``divergence/kl/J``."""

FAR = 100.0
"""Nats from the policy that acted beyond which an output is none: nothing is learned from it."""

SCORE = 2
"""Numbers behind the parameters of a message: whether games were finished, their mean return."""


@dataclass(frozen=True, kw_only=True)
class Policies:
    """What an agent compares policies with.

    Attributes:
        evaluate: Float[P] parameters and a batch -> distributions Float[T, B, A] and values
            Float[T, B] by these parameters.
        head: what turns distributions into probabilities.
        score: mean raw return of this agent's newest games; None before the first.
        distil: section of the configuration.
        repel: section of the configuration.
    """

    evaluate: Callable[[Tensor, Batch], tuple[Tensor, Tensor]]
    head: ActionHead
    score: Callable[[], float | None]
    distil: DistilConfig
    repel: RepelConfig


class Said(NamedTuple):
    """What K neighbours say of T x B observations.

    Attributes:
        dist: Float[T, B, K, A].
        value: Float[T, B, K].
        usable: Bool[T, B, K]; where it is not, the other two are the agent's own.
    """

    dist: Tensor
    value: Tensor
    usable: Tensor


class Consulting:
    """Evaluates neighbours on a batch, for a term of the loss.

    Args:
        listening: has their parameters.
        parameters: P, elements of a message that are these.
        policies: evaluates them.
    """

    def __init__(self, listening: Listening, parameters: int, policies: Policies) -> None:
        self._listening, self._parameters = listening, parameters
        self._policies, self._head = policies, policies.head

    def targets(self, batch: Batch) -> Said:
        """See :class:`~gala.learning.auxiliary.Auxiliary`."""
        vectors = self._listening.vectors[:, : self._parameters]
        found = [self._policies.evaluate(vector, batch) for vector in vectors]
        dist, value = (torch.stack(each, 2) for each in zip(*found, strict=True))
        acted, valued = batch.dist.unsqueeze(2), batch.value.unsqueeze(2)
        usable = (self._head.kl(dist, acted) < FAR) & value.isfinite()  # NaN is not below
        dist = torch.where(usable.unsqueeze(-1), dist, acted)
        return Said(dist, torch.where(usable, value, valued), usable)

    def _shares(self, said: Said, weight: Tensor) -> Tensor:
        """Float[N, K], what each row of each neighbour counts."""
        return weight.unsqueeze(-1) * self._listening.weights * said.usable


class Distillation(Consulting):
    """Pulls policy and value towards those of the neighbours.

    ``coef sum_j w_j mean[T^2 KL(pi_j || pi) + value_coef huber(V_j - V)]``, with the weights of the
    topology; what these leave to the agent itself is nobody's pull. Both distributions are at
    temperature T, whose square keeps the gradient's scale (Hinton et al. 2015). In this direction
    the gradient of choices is a difference of probabilities, and Huber's has a bound too: whoever
    publishes nonsense pulls no harder than anybody else.
    """

    def loss(self, columns: Said, out: Outputs, weight: Tensor) -> Loss:
        """See :class:`~gala.learning.auxiliary.Auxiliary`."""
        config, head, shares = self._policies.distil, self._head, self._shares(columns, weight)
        t = config.temperature
        peers, own = (head.tempered(d, t) for d in (columns.dist, out.dist.unsqueeze(1)))
        kl = (shares * head.kl(peers, own)).sum()
        value = out.value.unsqueeze(1).expand_as(columns.value)
        error = (shares * F.smooth_l1_loss(value, columns.value, reduction="none")).sum()
        whole = shares.sum().clamp(min=1e-8)
        return Loss(
            config.coef * (t * t * kl + config.value_coef * error),
            {
                "losses/peer_kl": kl.detach() / whole,
                "losses/peer_value": error.detach() / whole,
            },
        )


class Repulsion(Consulting):
    """Pulls the policy towards neighbours that do better, and away from those that do worse.

    ``coef sum_j w_j beta_j mean KL(pi_j || pi)`` with :func:`attractions` beta, after ARAC (Doan et
    al. 2019, arXiv 1909.07543). Of a neighbour that repels, rows beyond ``limit`` nats are far
    enough away: they have no gradient, or there would be no end to it.

    Args:
        listening: see :class:`Consulting`.
        message: Float32[P + 2], the agent's own.
        policies: see :class:`Consulting`.
    """

    def __init__(self, listening: Listening, message: Tensor, policies: Policies) -> None:
        super().__init__(listening, len(message) - SCORE, policies)
        self._message = message

    def loss(self, columns: Said, out: Outputs, weight: Tensor) -> Loss:
        """See :class:`~gala.learning.auxiliary.Auxiliary`."""
        config, shares = self._policies.repel, self._shares(columns, weight)
        heard = self._listening
        own, others = self._message[-SCORE:], heard.vectors[:, -SCORE:]
        beta = attractions(own, others, heard.weights > 0)
        kl = self._head.kl(columns.dist, out.dist.unsqueeze(1))
        felt = torch.where(beta < 0, kl.clamp(max=config.limit), kl)
        whole = shares.sum().clamp(min=1e-8)
        return Loss(
            config.coef * (shares * beta * felt).sum(),
            {
                "losses/peer_kl": (shares * kl.detach()).sum() / whole,
                "policy/attraction": (shares * beta).sum() / whole,
            },
        )


def attractions(own: Tensor, others: Tensor, present: Tensor) -> Tensor:
    """How much better each neighbour does: its return less one's own, of the spread of all.

    Args:
        own: Float[2], whether games were finished, and their mean return.
        others: Float[K, 2], likewise.
        present: Bool[K], who counts.

    Returns:
        Float[K] in -1..1; 0 where one of both has finished no game, or all do equally well.
    """
    known = present & (others[:, 0] > 0) & (own[0] > 0)
    gap = torch.where(known, others[:, 1] - own[1], 0.0)
    spread = gap.max().clamp(min=0.0) - gap.min().clamp(max=0.0)
    return gap / torch.where(spread > 0, spread, 1.0)


class PolicyExchange(Gossip):
    """``--coupling distil``: gossip whose messages are kept to learn from, and not averaged.

    Args:
        node: mixes by ``listening``.
        listening: keeps what neighbours published.
        auxiliary: learns from what was heard; None for an agent that hears nobody.
        on_first: called once, when the first update is published.
    """

    def __init__(
        self,
        node: GossipNode,
        listening: Listening,
        auxiliary: Auxiliary | None,
        on_first: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(node, on_first)
        self.topology, self.unbound, self.auxiliary = None, UNBOUND, auxiliary
        self._listening = listening

    def exchange(self, update: int, step: int) -> bool:
        """Publish, and hear; parameters change only where an agent had to join the others anew."""
        return super().exchange(update, step) and self.jumped > 0

    def state_dict(self) -> dict[str, Any]:
        """See :class:`~gala.couplings.coupling.Coupling`; with what was heard last."""
        return super().state_dict() | {"heard": self._listening.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See :class:`~gala.couplings.coupling.Coupling`."""
        super().load_state_dict(state)
        if "heard" in state:
            self._listening.load_state_dict(state["heard"])


class ScoredExchange(PolicyExchange):
    """``--coupling repel``: how well an agent does travels behind its parameters.

    Args:
        node: see :class:`PolicyExchange`; it publishes ``message``.
        listening: see :class:`PolicyExchange`.
        auxiliary: see :class:`PolicyExchange`.
        parameters: Float32[P], the agent's own.
        message: Float32[P + 2], of both.
        score: see :class:`Policies`.
        on_first: see :class:`PolicyExchange`.
    """

    def __init__(
        self,
        node: GossipNode,
        listening: Listening,
        auxiliary: Auxiliary | None,
        *,
        parameters: Tensor,
        message: Tensor,
        score: Callable[[], float | None],
        on_first: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(node, listening, auxiliary, on_first)
        self._parameters, self._message, self._score = parameters, message, score
        self._write()

    def exchange(self, update: int, step: int) -> bool:
        """See :class:`PolicyExchange`."""
        self._write()
        joined = super().exchange(update, step)
        if joined:
            self._read()
        return joined

    def join(self, timeout_s: float) -> Header | None:
        """See :class:`~gala.couplings.coupling.Coupling`: begin as a neighbour is."""
        header = super().join(timeout_s)
        if header is not None:
            self._read()
        return header

    def vectors(self, *, everybody: bool) -> dict[int, Tensor]:
        """See :class:`~gala.couplings.coupling.Coupling`."""
        found = super().vectors(everybody=everybody)
        return {j: vector[:-SCORE] for j, vector in found.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See :class:`~gala.couplings.coupling.Coupling`."""
        super().load_state_dict(state)
        self._write()

    def _write(self) -> None:
        score = self._score()
        told = [0.0, 0.0] if score is None else [1.0, score]
        self._message[:-SCORE].copy_(self._parameters)
        self._message[-SCORE:].copy_(torch.tensor(told))

    def _read(self) -> None:
        """Become what was adopted."""
        self._parameters.copy_(self._message[:-SCORE])
