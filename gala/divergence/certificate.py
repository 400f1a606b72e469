r"""The epsilon-ball, certified from what happened: a bound that holds for any schedule of messages.

Everything that gossip does to parameters is linear. Walked back in time from a cut - row i after
its own event k_i, whatever the clocks say - each update ``u_s`` of an agent turns out to enter the
disagreement with a weight ``w_s``, Float[n]: what of it is left in each row, less its mean. Then

    X - Xbar = sum_s w_s u_s^T + (what the window began with)

    certificate:  ||X - Xbar||_F <= sum_s ||w_s|| ||u_s||  + ||beginning||_F
    expectation:  sqrt(sum_s ||w_s||^2 ||u_s||^2 + ||beginning||_F^2)

the second for updates that have nothing to do with one another. Neither needs lock-step, doubly
stochastic matrices, equal ages or living agents: weights are products of the mixes that took place.
Rounding, of the wire and of the mixes themselves, enters as updates of its own.

One more row follows the mean itself: an update should count 1/n in it, and where copies are late or
rows irregular it counts more or less, which is how averaging moves the mean.

The walk
--------
``weight[i]``, Float[n], is what the parameters of agent i, as they were at the event that is looked
at, still count in each row of the cut. Backwards,

- the cut of i:         ``weight[i] += column i of I - 1 1^T / n``
- a step of i:          ``w_s = weight[i]``
- a mix of i with c:    ``under_way[c] += a weight[i]``, ``weight[i] *= 1 - a``
- an adoption of c:     ``under_way[c] += weight[i]``, ``weight[i] = 0``
- a publication c of i: ``weight[i] += under_way[c]``, and the rounding of c counts that much
- a sketch of i that begins the window: what is left counts for the vector that was sketched.

Push-sum mixes masses, parameters times a weight w: the column of a cut is divided by w, a step or a
sketch counts ``w`` times ``weight[i]``. Its messages are running sums of shares, and ``sums[i]`` is
what those of agent i count,

- a pull of c since b:  ``under_way[c] += weight[i]``, ``under_way[b] -= weight[i]``
- a push c of i:        ``sums[i] += under_way[c]``,
                        ``weight[i] = (1 - receivers share) weight[i] + share sums[i]``

Nothing is said of the order of cuts: a message that was published after its publisher's cut and
mixed before its reader's gives weight to records after the cut.

A copy that crossed the beginning - published before the sketch, mixed after it - goes on to an
earlier sketch of its publisher. The sketches are linear, so that the length of what all of them
contribute is measured, not bounded. A publication waits in the walk until all who mixed it have
been passed, so that clocks play no part. Source: Assran et al. 2019, arXiv 1906.04585, Proposition
1 has the sum for lock-step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gala.divergence.walk import Incomplete, Log, Sketches, Walk
from gala.telemetry.history import Kind

FLOAT32 = 1e-4
"""Part by which lengths that were taken in float32, and differences of mixes, may be wrong."""


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """What is certain of the agents' distance at one cut.

    Attributes:
        epsilon: no less than ``||X - Xbar||_F``.
        expected: what it would be for unrelated updates (root mean square).
        beginning: the part of ``epsilon`` that the window began with.
        drift: what averaging did to the mean: the length of all steps in it, weighted by the error
            of their weight, over that with their weight 1/n (root mean squares); 0 where every
            update counts a n-th in the mean, as doubly stochastic mixes of equal age have it.
        steps: updates since the window began that were weighed.
    """

    epsilon: float
    expected: float
    beginning: float
    drift: float
    steps: int


def certify(
    histories: Mapping[int, NDArray[np.void]],
    sketches: Sketches,
    *,
    tick: int,
    present: Mapping[int, float],
    begin: int,
    norms: Mapping[int, float],
    sketch_error: float,
) -> Certificate | Incomplete:
    """The certificate of the cut at ``tick``.

    Args:
        histories: records of every agent (:func:`~gala.telemetry.history.read_history`), of those
            who are gone as well.
        sketches: of the parameters, of this and of earlier ticks.
        tick: of the cut.
        present: the agents that are cut, and the time of each one's sketch.
        begin: tick with which the window begins.
        norms: L2 norm of each agent's parameters, for the rounding of its mixes.
        sketch_error: relative standard error of a length that a sketch tells; three are added.
    """
    if len(present) < 2:
        return Certificate(epsilon=0.0, expected=0.0, beginning=0.0, drift=0.0, steps=0)
    for rank, t in present.items():
        if rank not in histories or not _has_cut(histories[rank], tick, t):
            reason = f"the records of agent {rank} cannot be read from here"
            return Incomplete(reason=reason, more=rank in histories and len(histories[rank]) > 0)
    with np.errstate(over="ignore", invalid="ignore"):  # what is read could be anything
        logs = {rank: Log(rank, records) for rank, records in histories.items()}
        walk = Walk(logs, tick, present, sketches, begin, norms)
        problem = walk.run()
        sums = walk.sums
        beginning = (1 + 3 * sketch_error) * float(np.linalg.norm(walk.beginning)) + walk.left
        epsilon = (1 + FLOAT32) * sums.total + beginning
    if problem is not None:
        return problem
    if not math.isfinite(epsilon):
        return Incomplete(reason="a length in the records is not finite")
    return Certificate(
        epsilon=epsilon,
        expected=math.sqrt(sums.squares + beginning**2),
        beginning=beginning,
        drift=math.sqrt(sums.misplaced / sums.lengths) if sums.lengths else 0.0,
        steps=sums.steps,
    )


def _has_cut(records: NDArray[np.void], tick: int, t: float) -> bool:
    """Whether the sketch of ``tick`` that was taken at ``t`` has its place in the records."""
    cuts = (records["kind"] == Kind.CUT) & (records["number"] == tick) & (records["value"] == t)
    return bool(cuts.any())
