"""How fast a topology agrees: beta, gap, the factor of the bound, and the facts around them.

With ``P`` doubly stochastic, ``beta = sigma_2(P)``, the second largest singular value; for a
schedule, that of the product over one period, to the power 1/period. Disagreement shrinks by beta
per mix, and with updates of norm at most d it stays below ``factor * d``:
``factor = sum_{k>=1} ||P^k - J||_2``, which is ``beta / (1 - beta)`` for one symmetric or circulant
matrix (Assran et al. 2019, Proposition 1).

Circulant topologies are diagonal under the Fourier transform and cost O(N log N); others up to
:data:`DENSE` agents are computed by singular values of dense matrices, larger ones by Lanczos
iteration on sparse products.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gala.topology.analysis import advice, lanczos
from gala.topology.analysis.series import Rounds, sum_of_norms
from gala.topology.graph import Edges, degrees, neighbour_lists, strongly_connected
from gala.topology.mixing import Mixing
from gala.topology.topology import Topology

DENSE = 512
DENSE_WORK = 256 * 2**21
"""Period times N^3 up to which series of dense products are computed."""
ZERO = 1e-12
"""Below this a contraction is exact and what is left is rounding."""
SMALL = 1e-6
"""Of many agents, products that shrink more than this are rescaled on the way."""


@lru_cache(maxsize=256)
def beta(topology: Topology) -> float | None:
    """Second largest singular value of the product over one period, to the power 1/period.

    None where it says nothing and is expensive: more than :data:`DENSE` agents whose mixing is not
    doubly stochastic.
    """
    log = _log_sigma_2(topology)
    return None if log is None else float(np.exp(log / len(topology.rounds)))


def sigma_2(topology: Topology) -> float | None:
    """Second largest singular value of the product of the matrices of one period; None as above."""
    log = _log_sigma_2(topology)
    return None if log is None else float(np.exp(log))


@lru_cache(maxsize=256)
def _log_sigma_2(topology: Topology) -> float | None:
    """In logarithms: 64 rounds that shrink by 0.6 each look like the exact mean, and are not."""
    agents, rounds = topology.agents, topology.rounds
    if agents == 1:
        return -np.inf
    spectra = circulant_spectra(topology)
    if spectra is not None and topology.doubly_stochastic:
        moduli = np.abs(spectra[:, 1:])
        with np.errstate(divide="ignore"):
            logs = np.log(np.where(moduli < ZERO, 0.0, moduli)).sum(axis=0)
        return float(logs.max())
    if agents <= DENSE:
        if not topology.doubly_stochastic:
            product = np.eye(agents)
            for mixing in rounds:
                product = mixing.dense() @ product
            return float(np.log(max(np.linalg.svd(product, compute_uv=False)[1], 1e-300)))
        log, residue = 0.0, np.eye(agents) - 1 / agents
        for mixing in rounds:
            residue = mixing.dense() @ residue
            residue -= residue.mean(axis=0)  # what rounding leaks into it does not contract
            size = float(np.linalg.norm(residue, 2))
            if size < ZERO:  # from one to rounding in a single round: the exact mean
                return -np.inf
            log, residue = log + np.log(size), residue / size
        return float(min(log, 0.0))
    if not topology.doubly_stochastic:
        return None

    shrunk = _shrink(rounds)
    if min(shrunk) <= ZERO:
        return -np.inf
    scales = shrunk if np.prod(shrunk) < SMALL else np.ones(len(rounds))

    def gram(x: NDArray[np.float64]) -> NDArray[np.float64]:
        for mixing, scale in zip(rounds, scales, strict=True):
            x = mixing.apply(x) / scale
            x -= x.mean()
        for mixing, scale in zip(reversed(rounds), reversed(scales), strict=True):
            x = mixing.apply_transposed(x) / scale
            x -= x.mean()
        return x

    log = np.log(lanczos.norm(gram, agents)) + np.log(scales).sum()
    return float(min(log, 0.0))


def _shrink(rounds: Sequence[Mixing]) -> NDArray[np.float64]:
    """Float64[period]: by how much each round shrinks a random disagreement; 0 once it is gone.

    From one to rounding in a single round is the exact mean: what is left by then is far above it.
    """
    x = np.random.default_rng(0).standard_normal(rounds[0].agents)
    x -= x.mean()
    factors = np.zeros(len(rounds))
    for number, mixing in enumerate(rounds):
        mixed = mixing.apply(x)
        mixed -= mixed.mean()
        factors[number] = np.linalg.norm(mixed) / np.linalg.norm(x)
        if factors[number] <= ZERO:
            break
        x = mixed / factors[number]
    return factors


def rounds_of(topology: Topology, *, delay: int = 0) -> Rounds | None:
    """The matrices of one period in the form that series are computed with; None: too large."""
    spectra = circulant_spectra(topology)
    if spectra is not None:
        own = np.array([mixing.self_weight[0] for mixing in topology.rounds])
        return Rounds.diagonal(spectra[:, 1:], own, skew=float(np.sqrt(1 + (1 - own).max())))
    if len(topology.rounds) * topology.agents**3 > DENSE_WORK:
        return None
    return Rounds.dense(np.array([mixing.dense() for mixing in topology.rounds]), delay=delay)


def circulant_spectra(topology: Topology) -> NDArray[np.complex128] | None:
    """Eigenvalues of each round, Complex128[period, N], if every row is the first one shifted."""
    if not all(_circulant(mixing) for mixing in topology.rounds):
        return None
    spectra = []
    for mixing in topology.rounds:
        first = np.zeros(topology.agents)
        first[0] = mixing.self_weight[0]
        for source, weight in mixing.rows[0][1].items():
            first[source] = weight
        spectra.append(np.fft.fft(first))
    return np.array(spectra)


def _circulant(mixing: Mixing) -> bool:
    agents = mixing.agents
    if len(mixing.source) % agents or np.ptp(mixing.self_weight) > 0:
        return False
    # edges are sorted by target: as many per target, with the same hops and weights
    degree = len(mixing.source) // agents
    if degree == 0:
        return True
    if not np.array_equal(mixing.target, np.repeat(np.arange(agents), degree)):
        return False
    hops = ((mixing.target - mixing.source) % agents).reshape(agents, degree)
    order = np.argsort(hops, axis=1)
    hops = np.take_along_axis(hops, order, axis=1)
    weight = np.take_along_axis(mixing.weight.reshape(agents, degree), order, axis=1)
    return bool((hops == hops[0]).all() and (weight == weight[0]).all())


@lru_cache(maxsize=256)
def factor(topology: Topology) -> float | None:
    """``sup over the last round r of sum_{k>=1} ||P_r P_(r-1) ... P_(r-k+1) - J||_2``.

    ``beta / (1 - beta)`` for a static topology. None where no such bound holds: the mixing is not
    doubly stochastic, or never contracts.
    """
    sigma = sigma_2(topology)
    if sigma is None or not topology.doubly_stochastic or sigma > 1 - ZERO:
        return None
    period = len(topology.rounds)
    if period == 1 or topology.agents == 1:
        return sigma / (1 - sigma)
    rounds = rounds_of(topology)
    if rounds is None:
        # a stretch of m rounds holds at least (m - period + 1) // period whole periods
        return 2 * (period - 1) + period * sigma / (1 - sigma)
    series = sum_of_norms(rounds, delay=0, mix_every=1)
    return None if series is None else series.total


def rounds_to_consensus(topology: Topology, shrink: float = 1e-3) -> int | None:
    """Mixes until the disagreement is down to ``shrink``, by beta; None where it never is."""
    rate = beta(topology)
    if rate is None or rate >= 1 - ZERO:
        return None
    if rate == 0.0:
        return len(topology.rounds)
    return int(np.ceil(np.log(shrink) / np.log(rate)))


def diameter(edges: Edges, agents: int, *, exact_up_to: int = 2048) -> int | None:
    """Longest of the shortest paths, in hops; None where the graph is not strongly connected.

    Above ``exact_up_to`` agents: the longest found by a few sweeps to the farthest agent, which is
    exact on paths, circles and tori and a lower bound elsewhere.
    """
    after = neighbour_lists(edges[:, 0], edges[:, 1], agents)
    if agents <= exact_up_to:
        depths = [_depth(after, start)[0] for start in range(agents)]
    else:
        depths, start = [], 0
        for _ in range(8):
            depth, start = _depth(after, start)
            depths.append(depth)
    return None if min(depths) < 0 else max(depths)


def _depth(after: list[list[int]], start: int) -> tuple[int, int]:
    """Hops to the farthest agent (-1: some agent is not reached) and that agent."""
    seen = bytearray(len(after))
    seen[start] = 1
    frontier, depth, reached, last = [start], 0, 1, start
    while True:
        fresh = []
        for i in frontier:
            for j in after[i]:
                if not seen[j]:
                    seen[j] = 1
                    fresh.append(j)
        if not fresh:
            return (depth if reached == len(after) else -1), last
        frontier, depth, reached, last = fresh, depth + 1, reached + len(fresh), fresh[-1]


def messages_per_update(topology: Topology) -> float:
    """Messages that an agent receives per mix, averaged over agents and rounds."""
    sent = sum(len(mixing.source) for mixing in topology.rounds)
    return sent / (topology.agents * len(topology.rounds))


def report(topology: Topology) -> dict[str, Any]:
    """Everything ``gala topology --json`` prints; ``in_degree`` and ``out_degree`` per agent.

    Numbers that do not exist (no bound, not connected) are None.
    """
    heard, listeners = degrees(topology.edges, topology.agents)
    rate = beta(topology)
    return {
        "name": topology.name,
        "agents": topology.agents,
        "edges": len(topology.edges),
        "in_degree": heard.tolist(),
        "out_degree": listeners.tolist(),
        "strongly_connected": strongly_connected(topology.edges, topology.agents),
        "row_stochastic": topology.row_stochastic,
        "doubly_stochastic": topology.doubly_stochastic,
        "period": topology.period,
        "beta": rate,
        "gap": None if rate is None else 1 - rate,
        "factor": factor(topology),
        "diameter": diameter(topology.edges, topology.agents),
        "messages_per_update": messages_per_update(topology),
        "warnings": advice.warnings(topology, rate),
        "family": topology.family,
        "weights": topology.weights,
        "schedule": topology.schedule,
        "push_sum": topology.push_sum,
        "column_stochastic": all(mixing.column_stochastic for mixing in topology.rounds),
        "rounds_to_consensus": rounds_to_consensus(topology),
        "hash": topology.hash,
    }
