r"""How far apart agents can be: the epsilon-ball that theory promises.

Model
-----
Rows of X are the agents' parameters. At update t every agent makes a local step, publishes, and at
every s-th update mixes, with its own newest parameters and messages that are tau updates old::

    Y(t) = X(t-1) + U(t)                          local updates; published
    X(t) = D Y(t) + (P - D) Y(t - tau)            if s divides t   (D: the diagonal of P)
    X(t) = Y(t)                                   else

tau = 0 and s = 1 is lock-step gossip, ``X(t) = P Y(t)``. Everything is linear, so that, started in
consensus, ``Y(t) = sum_a C_a U(t-a)`` where C_a is the product of the last a steps (with tau > 0,
its upper left block when every agent has tau virtual agents that hold its messages under way, one
per update of age). With ``I - J`` taking the mean off,

    ||(I - J) Y(t)||_F <= sum_{a>=0} ||(I - J) C_a||_2 ||U(t-a)||_F <= factor * sup ||U||_F

and for updates that are independent in time with mean zero the root mean square of the left side is
at most ``sqrt(sum_a ||(I - J) C_a||_2^2)`` times the root mean square of ``||U||_F``. Nothing here
needs P to be doubly stochastic: rows that sum to one suffice, though the mean then drifts.

Which moment
------------
*Just after a mix* the first term is ``||(I - J) P||``; with P symmetric or circulant, tau = 0 and
s = 1 the sum is ``beta / (1 - beta)``, the factor of Assran et al. 2019 (Proposition 1), and the
independent case ``beta / sqrt(1 - beta^2)``. *Just before a mix*, s updates have come on top of
what the last mix left, which adds s to the sum: the worst of all moments that agents share. When
agents are *one update apart* - some before update t, some after it, some after the mix - their
rows are ``Z = Q Y(t) - S U(t)`` with ``Q = R + (I - R) P`` for some 0/1 diagonals R >= S, and
``||(I - J) Z|| <= sqrt(max column sum of Q) * (bound before the mix)``: the norm of a non-negative
matrix is at most the root of its largest row sum times its largest column sum
(``||Q||_2^2 <= ||Q||_1 ||Q||_inf``), for Q as for ``R - S + (I - R) P``, the factor of U(t).

The delay model gives every message the same age. A larger age is not always worse - a message that
was sent before the last updates is nearer to what all had in common - so that for ages up to tau
the bound is the largest over the ages 0, tau and the last multiple of s. Ages that vary can in
principle do worse than any constant age: with tau > 0 the number is a model (Assran et al. 2019,
Proposition 2), not a proof, and says so in ``reason``. With a discount g on old messages, ``P - D``
becomes ``g^tau (P - D)``, and D takes the rest.

For many agents products are not formed: :mod:`gala.topology.analysis.windows` bounds the sum
from above by the norms of a few of them, found by Lanczos iteration. That needs P to be doubly
stochastic.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar

import numpy as np

from gala.topology import Topology
from gala.topology.analysis import spectrum, windows
from gala.topology.analysis.series import Rounds, sum_of_norms
from gala.topology.graph import edge_array, reached
from gala.topology.mixing import Mixing

MAX_DELAY = 256
"""Updates; a model with older messages says nothing of use."""


PAST = "lock-step, once the past has faded"
"""Reason of a bound for those that live where others died."""


@dataclass(frozen=True, kw_only=True)
class Contraction:
    """Bounds on ``||X - Xbar||_F``, as multiples of ``sup ||U||_F``, the norm of one update of all.

    Attributes:
        beta: contraction of the disagreement: per mix and in the worst direction (second largest
            singular value) without delay, per update and in the long run with delay or s > 1.
        after_mix: bound at moments when every agent has just mixed.
        before_mix: bound at any moment that all agents share; the worst is just before a mix.
        skewed: bound for agents that are up to one update apart; None where none is known (tau > 0
            or s > 1).
        noise_after_mix: for updates independent in time with mean zero, instead of the worst case.
        noise_before_mix: likewise.
        lock_step: tau = 0 and s = 1.
        exact: lock-step with nobody missing: a theorem for messages that are exact and the largest
            step that ever was. What a run did is certified, or a model.
        reason: the model, in words.
    """

    beta: float
    after_mix: float
    before_mix: float
    skewed: float | None
    noise_after_mix: float
    noise_before_mix: float
    lock_step: bool
    exact: bool
    reason: str

    @property
    def factor(self) -> float:
        """The worst-case factor where agents are compared after each exchange.

        In lock-step every exchange is a mix and ``beta / (1 - beta)`` holds; otherwise some agents
        have not mixed for a while, and the bound is that of the moment before a mix.
        """
        return self.after_mix if self.lock_step else self.before_mix

    @property
    def noise_factor(self) -> float:
        """:attr:`factor` for independent updates: an expectation (rms), not a bound."""
        return self.noise_after_mix if self.lock_step else self.noise_before_mix

    def text(self, every: int = 1) -> str:
        """Beta and the predicted epsilon; of ``every`` updates between two mixes, steps add up."""
        return (
            f"beta {self.beta:.3f}, epsilon = {every * self.factor:.2f} x norm of all agents' "
            f"largest updates ({self.reason})"
        )


@dataclass(frozen=True, kw_only=True)
class NoBound:
    """No bound is known: a :class:`Contraction` without its numbers.

    Attributes:
        reason: "no bound applies: ..." and why.
    """

    reason: str
    beta: ClassVar[None] = None
    factor: ClassVar[None] = None
    before_mix: ClassVar[None] = None
    noise_factor: ClassVar[None] = None
    lock_step: ClassVar[bool] = False

    def text(self, every: int = 1) -> str:
        """Why there is none."""
        return self.reason


@lru_cache(maxsize=1024)
def contraction(
    topology: Topology,
    *,
    delay: int = 0,
    mix_every: int = 1,
    alive: frozenset[int] | None = None,
) -> Contraction | NoBound:
    """The bound for agents that gossip over ``topology``. Cached; milliseconds for 64 agents.

    Args:
        topology: who mixes with whom.
        delay: tau, largest age of a message when it is mixed, in updates; 0 in lock-step.
        mix_every: s, updates from one mix to the next (staleness + 1).
        alive: agents that take part (None: all); the weight of the others stays with its giver.
    """
    assert delay >= 0 and mix_every >= 1
    if topology.push_sum:
        return NoBound(reason="no bound applies: push-sum divides by weights, which is not linear")
    if topology.robust:
        return NoBound(
            reason=f"no bound applies: {topology.weights} weights follow what the agents send"
        )
    present = sorted(
        range(topology.agents) if alive is None else alive & set(range(topology.agents))
    )
    who = "" if len(present) == topology.agents else f", {len(present)} of {topology.agents} agents"
    model = _model(delay, mix_every, len(present)) + who
    if who and len(present) > 1:  # what the others did still counts in these, for a while
        model = model.replace("exact: lock-step", PAST)
    if len(present) < 2:
        return Contraction(
            beta=0.0, after_mix=0.0, before_mix=0.0, skewed=0.0, noise_after_mix=0.0,
            noise_before_mix=0.0, lock_step=delay == 0 and mix_every == 1, exact=True, reason=model,
        )  # fmt: skip
    if delay > MAX_DELAY or mix_every > MAX_DELAY:
        return NoBound(
            reason=f"no bound applies: messages are {delay} updates old and mixes {mix_every} "
            "updates apart, too far for a useful one"
        )
    if not topology.doubly_stochastic or who:
        apart = _never_agree(topology, present)
        if apart is not None:
            return NoBound(reason=f"no bound applies: {apart}")
    living = _among(topology, present)
    rounds = spectrum.rounds_of(living, delay=delay)
    if rounds is None:
        return _large(living, delay=delay, mix_every=mix_every, reason=model, exact=not who)
    return _summed(rounds, living, delay=delay, mix_every=mix_every, reason=model, exact=not who)


def _model(delay: int, mix_every: int, agents: int) -> str:
    if agents < 2:
        return "exact: one agent is its own mean"
    if delay == 0 and mix_every == 1:
        return "exact: lock-step"
    every = "" if mix_every == 1 else f", mixing every {mix_every} updates"
    return f"delay model, tau = {delay}{every}"


def _among(topology: Topology, present: list[int]) -> Topology:
    """The gossip of the ``present`` among themselves, renumbered from 0.

    What the others would get stays with its giver, so that a symmetric matrix stays symmetric.
    """
    if len(present) == topology.agents:
        return topology
    number = np.full(topology.agents, -1)
    number[present] = np.arange(len(present))
    rounds = []
    for mixing in topology.rounds:
        source, target = number[mixing.source], number[mixing.target]
        here, lost = (source >= 0) & (target >= 0), (source < 0) & (target >= 0)
        kept = mixing.self_weight[present] + np.bincount(
            target[lost], mixing.weight[lost], minlength=len(present)
        )
        rounds.append(
            Mixing.of(len(present), source[here], target[here], mixing.weight[here], kept)
        )
    return replace(topology, agents=len(present), rounds=tuple(rounds), positions=None)


def _never_agree(topology: Topology, present: list[int]) -> str | None:
    """Why two groups of the ``present`` never influence each other or a third one, or None.

    Disagreement vanishes exactly if some agent reaches everybody, over one period.
    """
    index = {agent: i for i, agent in enumerate(present)}
    edges = edge_array(
        [(index[s], index[t]) for s, t in topology.edges.tolist() if s in index and t in index]
    )
    # the last agent to be discovered first reaches everybody if anybody does
    left, root = set(range(len(present))), 0
    while left:
        root = min(left)
        left -= set(np.flatnonzero(reached(edges, len(present), root)).tolist())
    missed = np.flatnonzero(~reached(edges, len(present), root)).tolist()
    if not missed:
        return None
    first, second = present[root], present[missed[0]]
    lost = "" if len(present) == topology.agents else "with the others gone, "
    return f"{lost}nobody reaches both agent {first} and agent {second}"


def _summed(
    rounds: Rounds,
    topology: Topology,
    *,
    delay: int,
    mix_every: int,
    reason: str,
    exact: bool,
) -> Contraction | NoBound:
    """From the norms of all products of the ``rounds`` of ``topology``."""
    ages = {0, delay - delay % mix_every, delay}
    found = [
        sum_of_norms(rounds.discounted(topology.discount**age), delay=age, mix_every=mix_every)
        for age in sorted(ages)
    ]
    every = [series for series in found if series is not None]
    if len(every) < len(found):
        return NoBound(reason="no bound applies: the mixing does not contract the disagreement")
    total, squares = max(one.total for one in every), max(one.squares for one in every)
    lock_step = delay == 0 and mix_every == 1
    drift = "" if rounds.column_stochastic else ", row-stochastic only: the mean drifts"
    rate = spectrum.beta(topology) if lock_step and topology.doubly_stochastic else None
    return Contraction(
        beta=max(one.rate for one in every) if rate is None else rate,
        after_mix=total,
        before_mix=mix_every + total,
        skewed=(1 + total) * rounds.skew if lock_step else None,
        noise_after_mix=float(np.sqrt(squares)),
        noise_before_mix=float(np.sqrt(mix_every + squares)),
        lock_step=lock_step,
        exact=lock_step and exact,
        reason=reason + drift,
    )


def _large(
    topology: Topology, *, delay: int, mix_every: int, reason: str, exact: bool
) -> Contraction | NoBound:
    """For many agents, from the norms of a few products: never less than the sum of all."""
    if not topology.doubly_stochastic:
        return NoBound(
            reason=f"no bound applies: {topology.agents} agents are too many for one where the "
            "mean is not kept (not doubly stochastic)"
        )
    factor, sigma = spectrum.factor(topology), spectrum.sigma_2(topology)
    if factor is None or sigma is None:
        return NoBound(reason="no bound applies: the mixing does not contract the disagreement")
    period = len(topology.rounds)
    # windows of at least m rounds hold (m - period + 1) // period whole periods, norm <= sigma each
    squares = mix_every * (2 * (period - 1) + period * sigma**2 / (1 - sigma**2))
    total = mix_every * factor
    rate = float(sigma ** (1 / (period * mix_every))) if sigma > spectrum.ZERO else 0.0
    for age in sorted({delay - delay % mix_every, delay} - {0}):
        rounds = [mixing.discounted(topology.discount**age) for mixing in topology.rounds]
        series = windows.sum_of_norms(rounds, delay=age, mix_every=mix_every)
        if series is None:
            return NoBound(
                reason=f"no bound applies: {topology.agents} agents mix too slowly to find one for "
                f"messages that are {age} updates old"
            )
        total, squares = max(total, series.total), max(squares, series.squares)
        rate = max(rate, series.rate)
    lock_step = delay == 0 and mix_every == 1
    return Contraction(
        beta=rate,
        after_mix=total,
        before_mix=mix_every + total,
        skewed=(1 + total) * _skew(topology) if lock_step else None,
        noise_after_mix=float(np.sqrt(squares)),
        noise_before_mix=float(np.sqrt(mix_every + squares)),
        lock_step=lock_step,
        exact=lock_step and exact,
        reason=reason,
    )


def _skew(topology: Topology) -> float:
    sums = [mixing.column_sums - mixing.self_weight for mixing in topology.rounds]
    return float(np.sqrt(1 + np.max(sums)))
