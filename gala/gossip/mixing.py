"""Mixing rules: how received parameters enter the own ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import torch
from torch import Tensor

from gala.errors import UserError
from gala.gossip.push_sum import PushSum
from gala.gossip.robust import Clipping, trimmed_mean_
from gala.gossip.wire import CPU
from gala.telemetry.history import History, Numbered
from gala.topology import Topology
from gala.topology.weights import discount_by_age


class Mixer(Protocol):
    """A rule by which an agent mixes.

    Attributes:
        needs_all: whether a mix should wait until every living neighbour is fresh, and whether
            messages are parameters that can be compared with the own ones.
        staged: Float[P] on the device of messages, equal to the parameters right after
            :meth:`outgoing`.
    """

    needs_all: bool
    staged: Tensor

    def outgoing(self, out_neighbours: Callable[[], int]) -> Tensor:
        """Vector to publish now; ``out_neighbours`` counts those that are alive."""
        ...

    def mix(
        self,
        self_weight: float,
        weights: Mapping[int, float],
        received: Mapping[int, Tensor],
        ages: Mapping[int, int],
    ) -> Mapping[int, float] | None:
        """Let ``received`` enter; ``weights`` are those of the whole row.

        Returns:
            The weight with which each entered, self kept the rest of one; None where it is not told
            by weights.
        """
        ...

    def record(
        self,
        history: History,
        entered: Mapping[int, float] | None,
        messages: Mapping[int, Numbered],
    ) -> None:
        """Tell ``history`` of the last mix; ``entered`` is what it returned."""
        ...

    def record_sent(self, history: History, version: int, rounding: float) -> None:
        """Tell ``history`` what :meth:`outgoing` gave; the wire format changed it by so much."""
        ...

    def adopt(self, peer: int, vector: Tensor) -> bool:
        """Become what ``peer`` published; False when one more message of it is needed for that."""
        ...

    def forget(self, peer: int) -> None:
        """Note that ``peer`` died or left."""
        ...


class Staging:
    """A vector on the device of messages: itself, or a copy in pinned memory on an own stream.

    Args:
        vector: Float[P], on any device.
        device: of messages: that of the vector, or the CPU.

    Attributes:
        staged: Float[P] on ``device``.
    """

    def __init__(self, vector: Tensor, device: torch.device = CPU) -> None:
        assert device in (vector.device, CPU), (device, vector.device)
        self._vector = vector
        self._stream: torch.cuda.Stream | None = None
        self.staged = vector
        if vector.device != device:
            self._stream = torch.cuda.Stream(vector.device)  # type: ignore[no-untyped-call]
            self.staged = torch.empty_like(vector, device=device, pin_memory=True)

    def fetch(self) -> Tensor:
        """``staged``, equal to the vector now."""
        if self._stream is not None:
            # beside the agent's own stream, so that only this copy is waited for
            self._stream.wait_stream(torch.cuda.current_stream(self._vector.device))
            with torch.cuda.stream(self._stream):
                self.staged.copy_(self._vector, non_blocking=True)
            self._stream.synchronize()
        return self.staged


Weigh = Callable[[float, Mapping[int, float], set[int]], tuple[float, dict[int, float]]]
"""Rule for a row - self weight, weights of all, who is present - when some are missing."""


def without_missing(
    self_weight: float, weights: Mapping[int, float], present: set[int]
) -> tuple[float, dict[int, float]]:
    """Weights when only ``present`` neighbours sent: the weight of the missing stays with self."""
    kept = {j: weight for j, weight in weights.items() if j in present}
    missing = sum(weight for j, weight in weights.items() if j not in present)
    return self_weight + missing, kept


def among_present(
    self_weight: float, weights: Mapping[int, float], present: set[int]
) -> tuple[float, dict[int, float]]:
    """Weights when the others send at other times: the row of those who are there, scaled to one.

    Of neighbours with equal weights whose messages come one at a time, each counts a half, not one
    part in the number of all. Self is never less than any of them: that would be no average.
    """
    kept = {j: weight for j, weight in weights.items() if j in present}
    own = max(self_weight, *kept.values(), 0.0)
    total = own + sum(kept.values())
    return own / total, {j: weight / total for j, weight in kept.items()}


class Averaging:
    """``x_i <- P_ii x_i + sum_j P_ij x_j``.

    Args:
        vector: Float32[P], on any device.
        discount: factor on the weight of a message per update of its age.
        weigh: who gets the weight of the missing.
        device: of messages: that of the vector, or the CPU.
        robust: "clipped" or "trimmed", see :mod:`gala.gossip.robust`; else the plain average.
    """

    needs_all = True

    def __init__(
        self,
        vector: Tensor,
        discount: float = 1.0,
        weigh: Weigh = without_missing,
        device: torch.device = CPU,
        robust: str = "",
    ) -> None:
        self._vector, self._discount, self._weigh = vector, discount, weigh
        self._clip = Clipping() if robust == "clipped" else None
        self._trims = robust == "trimmed"
        self._staging = Staging(vector, device)
        self.staged = self._staging.staged

    def outgoing(self, out_neighbours: Callable[[], int]) -> Tensor:
        """See :class:`Mixer`: the parameters."""
        return self._staging.fetch()

    def mix(
        self,
        self_weight: float,
        weights: Mapping[int, float],
        received: Mapping[int, Tensor],
        ages: Mapping[int, int],
    ) -> Mapping[int, float] | None:
        """See :class:`Mixer`."""
        device = self._vector.device
        vectors = {j: vector.to(device) for j, vector in received.items()}
        if self._trims:
            trimmed_mean_(self._vector, [vectors[j] for j in sorted(vectors)])
            return None
        self_weight, kept = self._weigh(self_weight, weights, set(received))
        if self._discount < 1.0:
            self_weight, kept = discount_by_age(self_weight, kept, ages, self._discount)
        if self._clip is not None:
            vectors = self._clip(self._vector, vectors)
        mix_(self._vector, self_weight, {j: (kept[j], vectors[j]) for j in vectors})
        if self._clip is not None:
            return {j: kept[j] * self._clip.shares[j] for j in vectors}
        return {j: kept[j] for j in vectors}

    def record(
        self,
        history: History,
        entered: Mapping[int, float] | None,
        messages: Mapping[int, Numbered],
    ) -> None:
        """See :class:`Mixer`."""
        history.mixed(entered, messages)

    def record_sent(self, history: History, version: int, rounding: float) -> None:
        """See :class:`Mixer`."""
        history.published(version, rounding)

    def adopt(self, peer: int, vector: Tensor) -> bool:
        """See :class:`Mixer`."""
        self._vector.copy_(vector)
        return True

    def forget(self, peer: int) -> None:
        """Nothing is kept of neighbours."""


class PushSumMixing:
    """Mass and weight instead of averages; see :mod:`gala.gossip.push_sum`.

    Args:
        vector: Float32[P].
        newcomer: whether shares from before a neighbour's first message was seen were not for this
            agent, as they are for all that begin together in lock-step.
        device: of messages: that of the vector, or the CPU.
    """

    needs_all = False

    def __init__(
        self, vector: Tensor, *, newcomer: bool = False, device: torch.device = CPU
    ) -> None:
        self.staged = vector  # never compared: sums are no parameters
        self._newcomer, self._device = newcomer, device
        self._gone: set[int] = set()
        self._known: set[int] = set()  # whom a newcomer has met
        self._sums = PushSum(vector)
        self._met: set[int] = set()
        self._pulled: set[int] = set()
        self._seen: dict[int, tuple[int, int]] = {}  # incarnation and version, for the records

    def outgoing(self, out_neighbours: Callable[[], int]) -> Tensor:
        """See :class:`Mixer`: running sums, Float64[P + 1]."""
        return self._sums.push(out_neighbours()).to(self._device)

    def mix(
        self,
        self_weight: float,
        weights: Mapping[int, float],
        received: Mapping[int, Tensor],
        ages: Mapping[int, int],
    ) -> None:
        """See :class:`Mixer`; the senders have applied the weights already."""
        self._met.clear()
        self._pulled.clear()
        for j in sorted(received):
            if j in self._gone or (self._newcomer and j not in self._known):
                self._sums.meet(j, received[j])
                self._gone.discard(j)
                self._known.add(j)
                self._met.add(j)
            elif self._sums.pull(j, received[j]):
                self._pulled.add(j)
        self._sums.settle()

    def record(
        self,
        history: History,
        entered: Mapping[int, float] | None,
        messages: Mapping[int, Numbered],
    ) -> None:
        """See :class:`Mixer`."""
        for j in sorted(self._met | self._pulled):
            now = messages[j].incarnation, messages[j].version
            before = self._seen.get(j)
            if j in self._pulled:
                if before is None:
                    history.pulled(j, messages[j], 0)
                elif before[0] == now[0] and before[1] < now[1]:
                    history.pulled(j, messages[j], now[1] - before[1])
                else:
                    history.mixed(None, messages)
            self._seen[j] = now
        history.weighs(self._sums.weight)

    def record_sent(self, history: History, version: int, rounding: float) -> None:
        """See :class:`Mixer`."""
        history.pushed(version, *self._sums.given, self._sums.weight)

    def adopt(self, peer: int, vector: Tensor) -> bool:
        """See :class:`Mixer`: what was added between two messages is the sender's ``z``, scaled."""
        self._seen[peer] = -1, 0  # from a message whose number is not known here
        if self._sums.adopt(peer, vector):
            return True
        self._sums.meet(peer, vector)
        return False

    def forget(self, peer: int) -> None:
        """See :class:`Mixer`."""
        self._gone.add(peer)


def mixer_of(
    topology: Topology,
    vector: Tensor,
    *,
    newcomer: bool = False,
    weigh: Weigh = without_missing,
    device: torch.device = CPU,
) -> Mixer:
    """The rule that the weights of ``topology`` ask for.

    Args:
        topology: of the run.
        vector: Float32[P].
        newcomer: see :class:`PushSumMixing`.
        weigh: see :class:`Averaging`.
        device: of messages: that of the vector, or the CPU.

    Raises:
        UserError: see :func:`require_mixable`.
    """
    require_mixable(topology)
    if topology.push_sum:
        return PushSumMixing(vector, newcomer=newcomer, device=device)
    return Averaging(vector, topology.discount, weigh, device, robust=topology.weights)


def require_mixable(topology: Topology) -> None:
    """Refuse what agents cannot do.

    Raises:
        UserError: push-sum weights with a schedule: the sums in a mailbox are the same for all
            that read it, so the out-neighbours must not change from round to round.
    """
    if topology.push_sum and topology.period != 1:
        raise UserError(
            f"{topology.name} has push-sum weights and a schedule, which agents cannot mix with",
            field="topology",
            hint="schedule: static, or weights: uniform",
        )


def mix_(x: Tensor, self_weight: float, received: Mapping[int, tuple[float, Tensor]]) -> Tensor:
    """``x <- P_ii x + sum_j P_ij x_j`` in place (paper, Algorithm 1, line 9).

    Each neighbour moves the average of those before it: one pass over the memory for each, and who
    agrees with all neighbours stays exactly where it is. Neighbours are added in the order of their
    ranks, so that the result does not depend on the order of arrival.

    Args:
        x: Float32[P], changed in place.
        self_weight: P_ii; with the other weights it must sum to 1.
        received: ``{j: (P_ij, x_j)}``.
    """
    total = self_weight + sum(weight for weight, _ in received.values())
    assert abs(total - 1.0) < 1e-6, f"weights of a mix must sum to 1, got {total}"
    mixed = self_weight
    for j in sorted(received):
        weight, vector = received[j]
        if weight:
            mixed += weight
            x.lerp_(vector, weight / mixed)
    return x
