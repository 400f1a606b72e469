"""The walk back in time from a cut, see :mod:`gala.divergence.certificate`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from gala.telemetry.history import Kind

ROUNDING = 2.0**-22
"""Largest error of letting one message enter in float32, of the norm of the parameters: four
roundings to nearest."""

NEGLIGIBLE = 1e-4
"""The walk ends when all that is left counts for less than this part of the certificate."""

LOOK_EVERY = 8
"""Rounds of the walk between two looks at what is left."""

CHUNK = 1024
"""Records that become numbers of Python at a time."""

BATCH = 2048
"""Parts of the certificate whose lengths are taken at a time."""

Sketches = Mapping[tuple[int, int, float], NDArray[np.float64]]
"""Float64[m] by rank, tick and time."""

Keys = NDArray[np.int64]
Number = TypeVar("Number", int, Keys)

ENTERS = (Kind.MIX, Kind.ADOPT, Kind.PULL)
KINDS = frozenset(Kind)


@dataclass(frozen=True, kw_only=True)
class Incomplete:
    """The records do not tell.

    Attributes:
        reason: what is missing.
        more: whether older records might tell.
    """

    reason: str
    more: bool = False


def keys_of(peers: NDArray[np.integer] | int, records: NDArray[np.void]) -> NDArray[np.int64]:
    """One number for each message: sender, incarnation and version.

    16 bits of an incarnation and 32 of a version are enough: a ring holds far fewer.
    """
    sender = np.asarray(peers, dtype=np.int64) << 48
    incarnations = (records["incarnation"].astype(np.int64) & 0xFFFF) << 32
    return np.asarray(sender | incarnations | (records["number"] & 0xFFFFFFFF), dtype=np.int64)


def earlier(keys: Number, versions: Number) -> Number:
    """Keys of messages so many ``versions`` before others of the same incarnation."""
    return keys & ~0xFFFFFFFF | (keys - versions) & 0xFFFFFFFF


class Log:
    """One agent's records; they are looked at one by one, from the newest.

    Args:
        rank: of the agent.
        records: see :func:`~gala.telemetry.history.read_history`.

    Attributes:
        left: how many are still to be looked at.
        entered: Int64[...], keys of the messages that entered.
        moved: length of all steps and rounding errors.
        scale: Float64[...], push-sum weight at each record; None: parameters are what is mixed.
    """

    def __init__(self, rank: int, records: NDArray[np.void]) -> None:
        kinds = records["kind"]
        enters = np.isin(kinds, ENTERS)
        peers = np.where(enters, records["peer"], rank)
        self._records, self._keys = records, keys_of(peers, records)
        pulls = (kinds == Kind.PULL) & (records["value"] > 0)
        before = earlier(self._keys[pulls], records["value"][pulls].astype(np.int64))
        self.entered = np.concatenate([self._keys[enters], before])
        self._numbers = np.where(kinds == Kind.PUSH, records["peer"], records["number"])
        self.scale = _push_sum_weights(records)
        moves = (kinds == Kind.STEP) | (kinds == Kind.PUBLISH)
        self.moved = float(np.abs(records["value"][moves]).sum())
        self.left = self._base = len(records)
        self._chunk: list[tuple[int, int, int, float]] = []

    def newest(self) -> tuple[int, int, int, float]:
        """Kind, key, number and value of the newest record that was not looked at."""
        if self.left == self._base:
            self._base = max(self._base - CHUNK, 0)
            part = slice(self._base, self.left)
            records = self._records[part]
            columns = (records["kind"], self._keys[part], self._numbers[part], records["value"])
            self._chunk = list(zip(*(column.tolist() for column in columns), strict=True))
        return self._chunk[self.left - self._base - 1]

    def begins_at(self, sketches: Sketches, rank: int, begin: int) -> bool:
        """Whether a sketch with which a window can begin is still to be looked at."""
        records = self._records[: self.left]
        cuts = records[(records["kind"] == Kind.CUT) & (records["number"] <= max(begin, -1))]
        pairs = zip(cuts["number"].tolist(), cuts["value"].tolist(), strict=True)
        return any((rank, tick, t) in sketches for tick, t in pairs)


def _push_sum_weights(records: NDArray[np.void]) -> NDArray[np.float64] | None:
    sets = (records["kind"] == Kind.WEIGHT) | (records["kind"] == Kind.BEGIN)
    if not (records["kind"] == Kind.WEIGHT).any():
        return None
    at = np.maximum.accumulate(np.where(sets, np.arange(len(records)), -1))
    values = np.where(records["kind"] == Kind.BEGIN, 1.0, records["value"])
    return np.where(at >= 0, values[at], np.nan)


class Walk:
    """Goes back from the cut.

    Args:
        logs: of all agents.
        tick: of the cut.
        present: the agents that are cut, and the time of each one's sketch.
        sketches: of the parameters, of this and of earlier ticks.
        begin: tick with which the window begins.
        norms: L2 norm of each agent's parameters.

    Attributes:
        beginning: Float64[n, m], what the window began with, in sketches.
        left: bound on what was not walked.
    """

    def __init__(
        self,
        logs: Mapping[int, Log],
        tick: int,
        present: Mapping[int, float],
        sketches: Sketches,
        begin: int,
        norms: Mapping[int, float],
    ) -> None:
        self._logs, self._sketches, self._begin = logs, sketches, begin
        self._readable = {rank for rank, log in logs.items() if log.left}
        self._push_sum = any(log.scale is not None for log in logs.values())
        largest = max(norms.values(), default=0.0)
        self._rounding = {rank: ROUNDING * norms.get(rank, largest) for rank in logs}
        self._cuts = {rank: (tick, t) for rank, t in present.items()}  # still to be passed
        self._row = {rank: row for row, rank in enumerate(present)}
        rows = len(present)
        self._share = 1.0 / rows
        self._weight = {rank: np.zeros(rows + 1) for rank in logs}  # the last row is the mean's
        self._counts = dict.fromkeys(logs, False)  # whether a weight is not zero
        self._begun: set[int] = set()
        self._under_way: dict[int, NDArray[np.float64]] = {}
        entered = np.concatenate([log.entered for log in logs.values()])
        found, times = np.unique(entered, return_counts=True)
        self._takers: dict[int, int] = dict(zip(found.tolist(), times.tolist(), strict=True))
        self._sums = {rank: np.zeros(rows + 1) for rank in logs}  # weights of push-sum's sums
        self._open = dict.fromkeys(logs, 0)  # pulls whose beginning is still to be passed
        self._opens: Counter[int] = Counter()
        self._parts = _Parts(rows, self._share)
        self.left = 0.0
        begun = [sketch for (_, tick, _), sketch in sketches.items() if tick <= max(begin, -1)]
        self.beginning = np.zeros((rows, len(begun[0]) if begun else 0))
        self._reach = _diameter(begun) + sum(log.moved for log in logs.values())

    @property
    def sums(self) -> _Parts:
        """All parts that were weighed."""
        self._parts.flush()
        return self._parts

    def run(self) -> Incomplete | None:
        """Walk until nothing is left that counts; why not, where it cannot."""
        going, rounds = True, 0
        while going and (
            self._cuts or self._under_way or any((*self._counts.values(), *self._open.values()))
        ):
            if rounds % LOOK_EVERY == 0 and self._negligible():
                return None
            going, rounds = False, rounds + 1
            for rank, log in self._logs.items():
                left = log.left
                if (problem := self._back(rank, log)) is not None:
                    return problem
                going |= log.left < left
        for rank, counts in self._counts.items():
            if counts or self._open[rank]:
                reason = f"the records of agent {rank} do not reach back far enough"
                return Incomplete(reason=reason, more=True)
        for key in self._under_way:
            reason = f"a message of agent {key >> 48} is not in its records"
            return Incomplete(reason=reason, more=key >> 48 in self._readable)
        return None

    def _back(self, rank: int, log: Log) -> Incomplete | None:
        """Walk the records of one agent down to a message that somebody is still to take."""
        weight, counts, takers = self._weight[rank], self._counts, self._takers
        while log.left:
            kind, key, number, value = log.newest()
            if kind == Kind.STEP:
                if counts[rank]:
                    part = weight if log.scale is None else weight * log.scale[log.left - 1]
                    self._parts.add(part, value, step=rank not in self._begun)
            elif kind == Kind.PUBLISH:
                if takers.get(key):
                    return None
                self._published(rank, key, value)
            elif kind == Kind.PUSH:
                if takers.get(key):
                    return None
                self._pushed(rank, key, number, value)
            elif kind == Kind.PULL:
                self._pulled(rank, key, int(value))
            elif kind == Kind.WEIGHT:
                pass  # is in the scale
            elif kind == Kind.MIX or kind == Kind.ADOPT:
                takers[key] -= 1
                if counts[rank]:
                    self._entered(rank, key, value)
            elif kind == Kind.CUT:
                scale = 1.0 if log.scale is None else float(log.scale[log.left - 1])
                if self._cuts.get(rank) == (number, value):
                    self._cut(rank, scale)
                elif counts[rank] and (number <= self._begin or number < 0):
                    self._begins(rank, number, value, scale)
            elif counts[rank]:
                if kind == Kind.BEGIN:
                    return Incomplete(reason=f"agent {rank} began anew without a sketch")
                return Incomplete(reason="a mix is not told by weights")
            elif kind == Kind.BEGIN:
                self._sums[rank][:] = self._open[rank] = 0
            log.left -= 1
        return None

    def _cut(self, rank: int, scale: float) -> None:
        """Row of the cut: from here on the parameters of ``rank`` themselves count.

        Before, they may count already: what was published after the cut of its publisher, others
        may have mixed before theirs.
        """
        del self._cuts[rank]
        column = np.full(len(self._row) + 1, -self._share)
        column[self._row[rank]] += 1.0
        column[-1] = self._share
        if scale != 1.0:
            self._parts.add(column, self._rounding[rank])
        self._weight[rank] += column / scale
        self._counts[rank] = True

    def _published(self, rank: int, key: int, rounding: float) -> None:
        mass = self._under_way.pop(key, None)
        if mass is None:
            return
        if rounding:
            self._parts.add(mass, rounding)
        self._weight[rank] += mass
        self._counts[rank] = True

    def _entered(self, rank: int, key: int, fraction: float) -> None:
        weight = self._weight[rank]
        self._parts.add(weight, self._rounding[rank])
        moved = fraction * weight
        under_way = self._under_way.get(key)
        if under_way is None:
            self._under_way[key] = moved
        else:
            under_way += moved
        weight -= moved
        self._counts[rank] = fraction != 1.0

    def _pulled(self, rank: int, key: int, versions: int) -> None:
        """Sums of version v less those that were seen before entered the mass as they are."""
        ends = [(key, 1)]
        if versions:
            ends.append((earlier(key, versions), -1))
        for end, sign in ends:
            self._takers[end] -= 1
            if self._counts[rank]:
                under_way = self._under_way.setdefault(end, np.zeros_like(self._weight[rank]))
                under_way += sign * self._weight[rank]
                self._opens[end] += sign

    def _pushed(self, rank: int, key: int, receivers: int, share: float) -> None:
        """``sums += share mass``, ``mass *= 1 - receivers share``, backwards."""
        weight, sums = self._weight[rank], self._sums[rank]
        mass = self._under_way.pop(key, None)
        if mass is not None:
            sums += mass
            self._open[rank] += self._opens.pop(key)
            if not self._open[rank]:
                sums[:] = 0.0  # but for rounding it is so
        weight *= 1.0 - receivers * share
        if self._open[rank]:
            weight += share * sums
            self._counts[rank] = True

    def _begins(self, rank: int, tick: int, t: float, scale: float) -> None:
        """What is left of an agent counts for its sketch; where that was lost, for an earlier."""
        sketch = self._sketches.get((rank, tick, t))
        if sketch is not None:
            weight = scale * self._weight[rank]
            self.beginning += np.outer(weight[:-1], sketch)
            if scale != 1.0:
                self._parts.add(weight, self._rounding[rank])
            self._weight[rank][:] = 0.0
            self._counts[rank] = False
            self._begun.add(rank)

    def _negligible(self) -> bool:
        """Whether the rest cannot count: backwards, no row of weights grows in its L1 norm.

        All that is left are averages of sketched parameters and of steps in the records, none
        farther from another than ``reach``; that of no agent goes back beyond what is known.
        """
        if self._cuts or self._push_sum:
            return False
        masses = (*self._under_way.values(), *self._weight.values())
        rest = np.abs(np.stack(masses)).sum(axis=0)
        left = float(np.linalg.norm(rest[:-1])) * self._reach
        if not left <= NEGLIGIBLE * self.sums.total:
            return False
        pending = {rank for rank, counts in self._counts.items() if counts}
        pending |= {key >> 48 for key in self._under_way}
        for rank in pending:
            log = self._logs.get(rank)
            if log is None or not log.begins_at(self._sketches, rank, self._begin):
                return False
        self.left = left
        return True


class _Parts:
    """Sums over the parts of a certificate: their lengths are taken many at a time.

    Args:
        rows: n.
        share: of a step in the mean, ``1 / n``.

    Attributes:
        total: sum of ``||w_s|| ||u_s||``.
        squares: sum of their squares.
        steps: updates since the window began that were weighed.
        misplaced: sum of ``(weight in the mean - 1/n)^2 ||u_s||^2``.
        lengths: sum of ``1/n^2 ||u_s||^2``.
    """

    def __init__(self, rows: int, share: float) -> None:
        self._share = share
        self._weights = np.empty((BATCH, rows + 1))
        self._sizes = np.empty(BATCH)
        self._is_step = np.empty(BATCH, dtype=bool)
        self._count = 0
        self.total = self.squares = self.misplaced = self.lengths = 0.0
        self.steps = 0

    def add(self, weight: NDArray[np.float64], size: float, *, step: bool = False) -> None:
        """Note what entered with Float64[n + 1] ``weight``: a step of the window, or another."""
        at = self._count
        self._weights[at] = weight
        self._sizes[at] = size
        self._is_step[at] = step
        self.steps += step
        self._count = at + 1
        if self._count == BATCH:
            self.flush()

    def flush(self) -> None:
        """Sum what was noted."""
        weights, sizes = self._weights[: self._count], self._sizes[: self._count]
        steps = self._is_step[: self._count]
        rows = weights[:, :-1]
        parts = np.sqrt(np.einsum("ij,ij->i", rows, rows)) * sizes
        self.total += float(parts.sum())
        self.squares += float(parts @ parts)
        norms = sizes[steps]
        wrong = (weights[steps, -1] - self._share) * norms
        self.misplaced += float(wrong @ wrong)
        self.lengths += float(norms @ norms) * self._share**2
        self._count = 0


def _diameter(sketches: list[NDArray[np.float64]]) -> float:
    """No two of them, and no averages of them, are farther apart; infinite where there are none."""
    if not sketches:
        return math.inf
    rows = np.stack(sketches)
    return 2.0 * float(np.linalg.norm(rows - rows.mean(axis=0)))
