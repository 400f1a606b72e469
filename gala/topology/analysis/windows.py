r"""Sums of norms of growing products for many agents, from the norms of a few long products.

The exact series (:mod:`gala.topology.analysis.series`) follows dense matrices; here products are
applied to vectors and never formed. With messages d mixes old the state after a mix is
Z = (X, C_1, ..., C_d), the parameters and the copies under way, the oldest first, and round r
makes it

    T_r (X, C_1, ..., C_d) = (D_r X + (P_r - D_r) C_1, C_2, ..., C_d, X)

(without delay ``T_r X = P_r X``). T_r has rows that sum to one. Give row i of Z(r) a weight w_i(r)
such that ``w(r-1) = T_r^T w(r)``; then by Jensen no product of rounds of one period lengthens the
norm ``sum_i w_i |z_i|^2``. Where self weights do not change with the round the weights are 1 for X
and the column sums of ``P - D`` for copies; else some sweeps find them.

Let t_k be the norm of a product of k periods with the common part of all rows taken off. A product
of j + k periods has norm at most t_j t_k, so that over the binary digits of k

    sum_{k>=0} t_k  <=  (1 + t_1)(1 + t_2)(1 + t_4) ... (1 + t_{m/2}) / (1 - t_m)

for every power of two m with t_m < 1: equal for ``t_k = beta^k``, and never less than the sum.

An update enters through X alone and is looked at in X alone, and what the copies hold is not in
either: with l the norm of ``(I - J) E^T T^w`` and r that of ``T^w E``, E the columns of X,

    sum_{k>=0} ||(I - J) E^T T^k E||  <=  sum_{k<2w} t_k + l r sum_{k>=0} t_k

which is less by up to 1 + d (1 - self weight). It is used where the period is one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gala.topology.analysis import lanczos
from gala.topology.analysis.series import Series
from gala.topology.mixing import Mixing

Floats = NDArray[np.float64]

ENOUGH = 0.3
"""Longer products are not looked at when one has shrunk to this: they gain 9 % at most."""
MAX_WORK = 400_000_000
"""Edges that may be passed over; a few seconds."""
CALL = 2_000
"""Edges that could be passed over while one round is called."""
SWEEPS = 64
"""Periods after which the weights of the norm are taken as they are."""
PRECISION = 1e-3
MARGIN = 5e-3
"""Share of ``1 - t^2`` that Lanczos may miss, and is taken off."""
STILL = 1e-9
"""What shrinks by less does not shrink: rounding."""
TINY = 1e-13


def sum_of_norms(rounds: Sequence[Mixing], *, delay: int, mix_every: int) -> Series | None:
    """An upper bound on what :func:`gala.topology.analysis.series.sum_of_norms` adds up.

    Args:
        rounds: of one period, all doubly stochastic.
        delay: tau, age of mixed messages in updates.
        mix_every: s, updates from one mix to the next.

    Returns:
        None where no product within reach contracts.
    """
    mixes, late = divmod(delay, mix_every)
    weights = _weights(rounds, mixes)
    if weights is None:
        return None
    products = _Products(_Steps(rounds, mixes), weights)
    found = products.long()
    if found is None:
        return None
    norms, period = np.array(found), len(rounds)
    sums = _geometric(norms), _geometric(norms**2)
    if period == 1 and mixes:
        sums = products.through_ends(norms, sums)
    # up to period - 1 rounds come after the last whole period, and one product has no round
    apart = weights.spread * (period - 2 + period * sums[0])
    squares = weights.spread**2 * (period - 2 + period * sums[1])
    # the newest `late` updates before a mix miss the copy that it sends: at first only the self
    # weight carries them
    own = max(float(mixing.self_weight.max()) for mixing in rounds) if late else 0.0
    return Series(
        total=float((mix_every - late) * apart + late * own * (1 + apart)),
        squares=float((mix_every - late) * squares + late * own**2 * (1 + squares)),
        rate=float(norms[-1] ** (1 / (2 ** (len(norms) - 1) * period * mix_every))),
    )


def _geometric(norms: Floats) -> float:
    """Bound on ``sum_{k>=0} t_k`` from t_1, t_2, t_4, ..., t_m."""
    return float(np.prod(1 + norms[:-1]) / (1 - norms[-1]))


@dataclass(frozen=True, kw_only=True)
class _Weights:
    """Of the norm.

    Attributes:
        ends: Float64[(d + 1) N], at both ends of a period.
        jump: largest factor on the norm where the weights after one period differ from these.
        spread: largest factor on ``||(I - J) E^T Z||`` that comes from weights that are not 1.
    """

    ends: Floats
    jump: float
    spread: float


def _weights(rounds: Sequence[Mixing], mixes: int) -> _Weights | None:
    agents, period = rounds[0].agents, len(rounds)
    steps = _Steps(rounds, mixes)
    copies = [_heard(rounds[i % period]) for i in range(mixes)]
    first = np.concatenate([np.ones(agents), *copies])
    for _ in range(SWEEPS):
        owns, last = [], first
        for number in reversed(range(period)):
            first = steps.back(number, first)
            owns.append(first[:agents])
        first[first < TINY] = 0.0
        if (last[first > 0] <= 0).any():
            continue
        jump = float(np.max(first[first > 0] / last[first > 0]))
        if jump < 1 + 1e-6:
            break
    else:
        if (last[first > 0] <= 0).any():
            return None
    smallest, largest = min(own.min() for own in owns), max(own.max() for own in owns)
    if smallest < TINY:
        return None
    jump = float(np.sqrt(max(jump, 1.0)))
    return _Weights(ends=first, jump=jump, spread=jump * float(np.sqrt(largest / smallest)))


def _heard(mixing: Mixing) -> Floats:
    """Float64[N]: the weight that others give to each agent; rounding never makes it negative."""
    return np.maximum(mixing.column_sums - mixing.self_weight, 0.0)


class _Steps:
    """The rounds T_r and their transposes on Float64[(d + 1) N]."""

    def __init__(self, rounds: Sequence[Mixing], mixes: int) -> None:
        self._rounds, self.mixes = rounds, mixes
        self.period, self.agents = len(rounds), rounds[0].agents
        self.cost = sum(len(mixing.source) + 2 * mixing.agents + CALL for mixing in rounds)

    def forward(self, state: Floats, periods: int) -> Floats:
        """Through whole periods."""
        own, *copies = np.split(state, self.mixes + 1)
        under_way = deque(copies)
        for _ in range(periods):
            for mixing in self._rounds:
                under_way.append(own)
                heard = under_way.popleft()
                own = mixing.apply(heard) + mixing.self_weight * (own - heard)
        return np.concatenate([own, *under_way])

    def backward(self, state: Floats, periods: int) -> Floats:
        """Through the transposes of whole periods."""
        for _ in range(periods):
            for number in reversed(range(self.period)):
                state = self.back(number, state)
        return state

    def back(self, number: int, state: Floats) -> Floats:
        """Through the transpose of one round."""
        mixing, agents = self._rounds[number], self._rounds[0].agents
        own, copies = state[:agents], state[agents:]
        kept = mixing.self_weight * own
        heard = mixing.apply_transposed(own) - kept
        if not self.mixes:
            return heard + kept
        return np.concatenate([kept + copies[-agents:], heard, copies[:-agents]])


class _TooDear(Exception):
    """The next norm costs more than is left."""


class _Products:
    """Norms of products of whole periods."""

    def __init__(self, steps: _Steps, weights: _Weights) -> None:
        self._steps, self._jump = steps, weights.jump
        self._roots = np.sqrt(weights.ends)
        self._inverse = np.divide(
            1.0, self._roots, out=np.zeros_like(self._roots), where=self._roots > 0
        )
        self._common = self._roots / np.linalg.norm(self._roots)
        self._left = MAX_WORK

    def long(self) -> list[float] | None:
        """t_1, t_2, t_4, ... until they are small or too dear; None where none contracts."""
        norms: list[float] = []
        periods = 1
        while not norms or norms[-1] >= ENOUGH:
            most = self._jump**periods
            if periods * self._steps.period <= self._steps.mixes:  # some copy is only passed on
                norms.append(most)
            else:
                try:
                    norms.append(min(self._whole(periods), most))
                except _TooDear:
                    break
            periods *= 2
        return norms if norms and norms[-1] < 1 - STILL else None

    def through_ends(self, norms: Floats, sums: tuple[float, float]) -> tuple[float, float]:
        """Smaller sums of t_k and t_k^2, from what enters and leaves through X."""
        self._left = MAX_WORK
        best = sums
        for number in range(len(norms)):
            periods = 2**number
            first = float(np.prod(1 + norms[: number + 1]))
            if periods < self._steps.mixes:
                continue
            if first >= best[0]:
                break
            try:
                ends = self._enters(periods) * self._leaves(periods)
            except _TooDear:
                break
            squares = float(np.prod(1 + norms[: number + 1] ** 2)) + ends**2 * sums[1]
            best = min(best[0], first + ends * sums[0]), min(best[1], squares)
        return best

    def _whole(self, periods: int) -> float:
        size = len(self._roots)
        return self._norm(lambda y: self._back(self._on(y, periods), periods), size, self._common)

    def _enters(self, periods: int) -> float:
        """r: an update of X, as it is found in X and all copies."""
        agents = self._steps.agents

        def gram(x: Floats) -> Floats:
            y = np.zeros(len(self._roots))
            y[:agents] = self._roots[:agents] * x
            return self._roots[:agents] * self._back(self._on(y, periods), periods)[:agents]

        return self._norm(gram, agents, np.zeros(agents))

    def _leaves(self, periods: int) -> float:
        """l: X and all copies, as they are found in X."""
        agents = self._steps.agents

        def gram(x: Floats) -> Floats:
            y = np.zeros(len(self._roots))
            y[:agents] = self._inverse[:agents] * (x - x.mean())
            return self._inverse[:agents] * self._on(self._back(y, periods), periods)[:agents]

        return self._norm(gram, agents, None)

    def _on(self, y: Floats, periods: int) -> Floats:
        """In the norm of the weights, with the common part taken off."""
        y = self._roots * self._steps.forward(self._inverse * y, periods)
        return self._without_common(y)

    def _back(self, y: Floats, periods: int) -> Floats:
        self._left -= 2 * periods * self._steps.cost
        if self._left < 0:
            raise _TooDear
        y = self._inverse * self._steps.backward(self._roots * y, periods)
        return self._without_common(y)

    def _without_common(self, y: Floats) -> Floats:
        y -= lanczos.dot(self._common, y) * self._common
        return y

    def _norm(self, gram: lanczos.Operator, size: int, fixed: Floats | None) -> float:
        """A little more than Lanczos finds, which is never more than the norm."""
        square = lanczos.norm(gram, size, fixed=fixed, tolerance=PRECISION, first=8) ** 2
        return float(np.sqrt(square + MARGIN * abs(1 - square)))
