"""What is simulated: agents, their speeds, and the network between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gala.errors import UserError, did_you_mean

Floats = NDArray[np.float64]

WIRES = {"float32": 4.0, "bfloat16": 2.0, "int8": 1.0 + 1 / 64}
"""Bytes of a parameter in each format of messages (:mod:`gala.gossip.wire`)."""
ROUNDING = {"float32": 0.0, "bfloat16": 0.0016, "int8": 0.0068}
"""Length of the rounding error of a message over that of the parameters, if they are normal."""
CLIP = 4.0
"""Deviations beyond which random times are cut off."""
SPEEDS = ("constant", "lognormal:S", "uniform:A:B", "straggler:K:FACTOR", "each:F:F:...")


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """The conditions of a simulated run. Times are in seconds.

    Attributes:
        updates: local updates per agent. Agents that wait for nobody end when all have done
            ``agents * updates`` together, as in training; in lock-step each does its share.
        update_s: mean time of one update of an agent of speed 1.
        speed: how the time of an update differs between agents, see :func:`draw_factors`.
        update_jitter: how it differs from update to update: deviation of its logarithm.
        latency_s: time that every message is under way.
        jitter_s: up to so much more, uniformly.
        loss: probability that a message is lost.
        churn: probability per update that the agent dies instead of publishing it.
        restart_s: how long a dead agent is gone before a joiner takes its place.
        parameters: of the network.
        wire: format of messages, of :data:`WIRES`.
        every: updates from one publication to the next.
        update_size: length of an update over that of the parameters; None: not known, and messages
            are taken to be exact in every format.
        bandwidth_mbit: of the link on which an agent sends, in Mbit/s; None: infinite.
        max_staleness: updates without a mix before an agent waits; 0: lock-step; None: never.
        policy: at ``max_staleness``, ``wait`` for the missing or ``skip`` them.
        timeout_s: longest wait.
        dimension: length of the vectors that stand for the parameters.
        correlation: expected inner product of any two updates, of any two agents, each of norm 1.
        seed: of everything random.
    """

    updates: int
    update_s: float = 0.1
    speed: str = "constant"
    update_jitter: float = 0.0
    latency_s: float = 0.0
    jitter_s: float = 0.0
    loss: float = 0.0
    churn: float = 0.0
    restart_s: float = 2.0
    parameters: int = 866_439
    wire: str = "float32"
    every: int = 1
    update_size: float | None = None
    bandwidth_mbit: float | None = None
    max_staleness: int | None = None
    policy: Literal["wait", "skip"] = "wait"
    timeout_s: float = 60.0
    dimension: int = 8
    correlation: float = 0.0
    seed: int = 1

    @property
    def message_bytes(self) -> int:
        """Size of one message."""
        return round(self.parameters * WIRES[self.wire])

    @property
    def rounding(self) -> float:
        """Length of the rounding error of a message, in lengths of an update."""
        return 0.0 if self.update_size is None else ROUNDING[self.wire] / self.update_size

    @property
    def send_s(self) -> float:
        """Time that one message takes of its sender's link."""
        if self.bandwidth_mbit is None:
            return 0.0
        return 8 * self.message_bytes / (1e6 * self.bandwidth_mbit)

    @property
    def lock_step(self) -> bool:
        """Whether every agent mixes equal versions."""
        return self.max_staleness == 0


def draw_factors(speed: str, agents: int, generator: np.random.Generator) -> Floats:
    """How many times as long as the mean each agent needs for an update, Float64[N].

    ==================  =========================================================================
    constant            all agents alike
    lognormal:S         ``exp(S z - S^2 / 2)`` with z normal: mean 1, deviation of the logarithm S
    uniform:A:B         between A and B
    straggler:K:FACTOR  K agents, at random, need FACTOR times as long; the others 1
    each:F:F:...        as many as there are agents: the factor of each
    ==================  =========================================================================

    Raises:
        UserError: none of these.
    """
    kind, *texts = speed.split(":")
    field = "--speed"
    arguments = {"constant": 0, "lognormal": 1, "uniform": 2, "straggler": 2, "each": agents}
    if kind not in arguments:
        hint = did_you_mean(kind, arguments)
        raise UserError(f"no speeds are named {kind!r}", field=field, hint=hint)
    form = next(each for each in SPEEDS if each.startswith(kind))
    if len(texts) != arguments[kind]:
        raise UserError(f"must look like {form}, got {speed!r}", field=field)
    try:
        numbers = [float(text) for text in texts]
    except ValueError:
        raise UserError(f"must look like {form} with numbers, got {speed!r}", field=field) from None
    if not all(np.isfinite(numbers)):
        raise UserError(f"must be finite, got {speed!r}", field=field)
    if kind == "lognormal":
        (spread,) = numbers
        if not 0 <= spread <= 3:
            raise UserError(f"S must be within 0 and 3, got {spread:g}", field=field)
        return np.asarray(np.exp(spread * generator.standard_normal(agents) - spread**2 / 2))
    if kind == "uniform":
        low, high = numbers
        if not 0 < low <= high:
            raise UserError(f"0 < A <= B must hold, got {speed!r}", field=field)
        return np.asarray(generator.uniform(low, high, agents))
    if kind == "each":
        if min(numbers) <= 0:
            raise UserError(f"factors must be above 0, got {min(numbers):g}", field=field)
        return np.asarray(numbers)
    factors = np.ones(agents)
    if kind == "straggler":
        count, factor = numbers
        if count != int(count) or not 0 <= count <= agents:
            rule = f"K must be a whole number of at most {agents} agents, got {texts[0]}"
            raise UserError(rule, field=field)
        if factor <= 0:
            raise UserError(f"FACTOR must be above 0, got {factor:g}", field=field)
        factors[generator.choice(agents, int(count), replace=False)] = factor
    return factors


class Durations:
    """The time of each update of each agent.

    Args:
        mean_s: Float64[N], per agent.
        jitter: deviation of the logarithm of the time of one update.
        generator: of random numbers.
    """

    def __init__(self, mean_s: Floats, jitter: float, generator: np.random.Generator) -> None:
        self.mean_s, self._jitter, self._generator = mean_s, jitter, generator

    def draw(self, agents: NDArray[np.int64]) -> Floats:
        """Seconds that the next update of each of ``agents`` will take, Float64[n]."""
        means = self.mean_s[agents]
        if self._jitter == 0.0:
            return means
        noise = np.clip(self._generator.standard_normal(len(agents)), -CLIP, CLIP)
        return np.asarray(means * np.exp(self._jitter * noise - self._jitter**2 / 2))

    @property
    def shortest_s(self) -> float:
        """No update takes less."""
        return float(self.mean_s.min() * np.exp(-CLIP * self._jitter - self._jitter**2 / 2))


class Steps:
    """Random updates of norm 1 that share a direction.

    An update is ``sqrt(c) g + sqrt(1 - c) r``: g is the same for all agents and updates, r is a
    fresh random direction orthogonal to g. Any two have the expected inner product c.

    Args:
        dimension: D, at least 2.
        correlation: c.
        generator: of random numbers.
    """

    def __init__(self, dimension: int, correlation: float, generator: np.random.Generator) -> None:
        self._dimension, self._generator = dimension, generator
        self._shared, self._own = np.sqrt(correlation), np.sqrt(1 - correlation)

    def errors(self, count: int, length: float) -> Floats:
        """Rounding errors of so many messages: random directions, Float64[count, D]."""
        found = self._generator.standard_normal((count, self._dimension))
        return np.asarray(found * (length / np.sqrt(np.einsum("nd,nd->n", found, found)))[:, None])

    def draw(self, agents: NDArray[np.int64]) -> Floats:
        """Updates of ``agents``, Float64[n, D]."""
        u = self._generator.standard_normal((len(agents), self._dimension))
        if self._shared:
            u[:, 0] = 0.0  # g is the first axis: all directions are alike
        u *= self._own / np.sqrt(np.einsum("nd,nd->n", u, u))[:, None]
        u[:, 0] += self._shared
        return u
