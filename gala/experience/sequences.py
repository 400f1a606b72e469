"""Store of sequences, drawn by priority (R2D2, Kapturowski et al. 2019).

An unroll of each environment is one sequence, of T steps. It is kept once, with what the network
remembered before it and with the number of the one that it goes on from: the rows of those before
it are what a memory is burned in with. Numbers count sequences from the first one on; sequence
``n`` lies in slot ``n % slots``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gala.device.streams import Stream
from gala.experience.batch import Batch
from gala.experience.replay import UNSAVED
from gala.experience.sum_tree import SumTree
from gala.experience.unroll import Layout

MAX_SHARE = 0.9
"""Of the largest error in a sequence's priority; the mean has the rest (paper, section 2.3)."""
SMALLEST = 1e-6
"""A sequence whose errors are less is drawn now and then all the same."""
NONE = -1
_ROWS = ("action", "reward", "discount", "cut", "valid", "final")

Numbers = NDArray[np.int64]


def bytes_of_sequence(layout: Layout) -> int:
    """Bytes of one sequence, with its links and its share of a tree."""
    slot = _slots(layout, 1).values()
    tensors = sum(tensor.element_size() * tensor.numel() for tensor in slot)
    return tensors + 3 * np.dtype(np.int64).itemsize + 2 * SumTree.bytes_of(1)


def priority_of(error: Tensor, valid: Tensor) -> Tensor:
    """Float[B], ``0.9 max + 0.1 mean`` over the valid rows of Float[T, B] errors, none below 0."""
    error = error.masked_fill(~valid, 0.0)
    mean = error.sum(0) / valid.sum(0).clamp(min=1)
    return MAX_SHARE * error.amax(0) + (1 - MAX_SHARE) * mean


class SequenceStore:
    """A :class:`~gala.experience.replay.Store` of the newest sequences.

    A batch has ``burn_in`` rows that are not valid before the T of each sequence; they begin with
    what the network remembered there. What an episode began within needs no rows before it: where
    those are lacking, others stand in their place, and the first row that counts is told to begin.
    A sequence whose rows were replaced by newer ones is not drawn any more.

    Args:
        layout: of unrolls.
        capacity: environment steps.
        burn_in: rows; a multiple of T.
        draws: sequences of a batch, with replacement.
        priority_exponent: of the probability to be drawn; 0: all are drawn equally.
        importance_exponent: share of that which the weight in the loss takes back.
        generator: on the CPU, draws them.
    """

    def __init__(
        self,
        layout: Layout,
        *,
        capacity: int,
        burn_in: int,
        draws: int,
        priority_exponent: float,
        importance_exponent: float,
        generator: torch.Generator,
    ) -> None:
        assert burn_in % layout.steps == 0, (burn_in, layout.steps)
        self._layout, self._draws, self._generator = layout, draws, generator
        self._slots, self._before = capacity // layout.steps, burn_in // layout.steps
        self._exponents = priority_exponent, importance_exponent
        self._kept = _slots(layout, self._slots)
        self._previous, self._following = np.full((2, self._slots), NONE, np.int64)
        self._depth = np.zeros(self._slots, np.int64)
        self._tree = SumTree(self._slots)
        self._heads: dict[int, int] = {}  # newest sequence of each stream
        self._count, self._largest = 0, 1.0
        self._drawn: Numbers = np.zeros(0, np.int64)
        self._valid = torch.zeros(0, dtype=torch.bool)
        remembers = ("memory", "begin") if layout.memory is not None else ()
        self.columns = ("obs", *_ROWS, "weight", *remembers)

    @property
    def size(self) -> int:
        """Environment steps of the sequences that there are."""
        return self._layout.steps * min(self._count, self._slots)

    def push(self, unroll: Batch) -> None:
        """See :class:`~gala.experience.replay.Store`."""
        envs = unroll.envs
        assert envs <= self._slots, "an unroll would overwrite itself"
        numbers = self._count + np.arange(envs)
        self._forget(numbers - self._slots)
        slots = numbers % self._slots
        self._write(torch.from_numpy(slots), unroll)
        self._count += envs
        self._link(slots, numbers, unroll.stream)
        self._tree[slots] = np.where(self._ready(slots), self._largest ** self._exponents[0], 0.0)

    def batch(self, stream: Stream) -> Batch:
        """See :class:`~gala.experience.replay.Store`."""
        layout, count = self._layout, self._draws
        burn_in = self._before * layout.steps
        rows = burn_in + layout.steps
        room = {
            name: torch.zeros((len(like), count, *like.shape[1:]), dtype=like.dtype)
            for name, like in ((n, _extended(each[0], burn_in)) for n, each in self._rowwise())
        }
        if layout.memory is not None:
            room["memory"] = torch.zeros(count, *layout.memory)
        unknown = {name: torch.zeros(rows, count) for name in ("value", "next_value")}
        unknown["dist"] = torch.zeros(rows, count, layout.dist)
        room |= unknown | {"weight": torch.ones(count)}
        there: dict[str, Any] = {name: tensor.to(stream.device) for name, tensor in room.items()}
        return Batch(**there, version=np.zeros((rows, count), np.int64), burn_in=burn_in)

    def draw(self, out: Batch) -> bool:
        """See :class:`~gala.experience.replay.Store`."""
        if not self._tree.total > 0:
            return False
        shares = torch.rand(self._draws, generator=self._generator, dtype=torch.float64)
        self._drawn = own = self._tree.find(shares.numpy())
        likely = self._tree[own]
        weight = (likely.min() / likely) ** self._exponents[1]
        assert out.weight is not None
        out.weight.copy_(torch.from_numpy(weight))
        chain = self._chain(own)
        for k, slots in enumerate(chain):
            self._copy(slots, out, k * self._layout.steps)
        out.valid[: out.burn_in] = False
        if out.memory is not None:
            index = torch.from_numpy(chain[0])
            torch.index_select(self._kept["memory"], 0, index, out=out.memory)
        self._valid = out.valid
        return True

    def learned(self, priority: Tensor) -> None:
        """See :class:`~gala.experience.replay.Store`; rows that are not valid do not count."""
        found = priority_of(priority.detach().cpu().abs(), self._valid).double().numpy()
        known = np.isfinite(found)
        leaves, found = self._drawn[known], found[known].clip(min=SMALLEST)
        self._tree[leaves] = found ** self._exponents[0]
        self._largest = max([self._largest, *found.tolist()])

    def metrics(self) -> dict[str, float]:
        """The largest priority that there was."""
        return {"replay/priority_max": self._largest}

    def state_dict(self, *, whole: bool) -> dict[str, Any]:
        """See :class:`~gala.experience.replay.Store`."""
        state: dict[str, Any] = {"draws": self._generator.get_state()}
        if not whole:
            return state
        there = min(self._count, self._slots)
        slots = (self._count - there + np.arange(there)) % self._slots  # the oldest first
        index = torch.from_numpy(slots)
        return state | {
            "kept": {name: each.index_select(0, index) for name, each in self._kept.items()},
            "previous": torch.from_numpy(self._previous[slots]),
            "priority": torch.from_numpy(self._tree[slots]),
            "heads": list(self._heads.items()),
            "count": self._count,
            "largest": self._largest,
        }

    def load_state_dict(self, state: dict[str, Any], *, restored: bool) -> str | None:
        """See :class:`~gala.experience.replay.Store`; of another capacity too."""
        if "draws" in state:
            self._generator.set_state(state["draws"])
        self._heads = {}
        if "kept" not in state:
            return UNSAVED
        kept = state["kept"]
        shapes = {name: each.shape[1:] for name, each in self._kept.items()}
        if {name: each.shape[1:] for name, each in kept.items()} != shapes:
            return "what was saved are sequences of another length"
        there = min(len(kept["reward"]), self._slots)
        self._count, self._largest = state["count"], state["largest"]
        numbers = self._count - there + np.arange(there)
        slots = numbers % self._slots
        for name, mine in self._kept.items():
            mine.index_copy_(0, torch.from_numpy(slots), kept[name][len(kept[name]) - there :])
        previous = state["previous"].numpy()[-there:] if there else np.zeros(0, np.int64)
        previous = np.where(previous >= self._count - there, previous, NONE)
        self._previous[slots] = previous
        self._following[previous[previous >= 0] % self._slots] = numbers[previous >= 0]
        self._measure(slots)
        ready = self._ready(slots)
        self._tree[slots] = np.where(ready, state["priority"].numpy()[-there:], 0.0)
        if restored:
            self._heads = dict(state["heads"])
        return None

    def _write(self, slots: Tensor, unroll: Batch) -> None:
        """Keep sequences; rows whose rewards are not finite are as those without a successor."""
        lost = ~unroll.reward.isfinite()
        given = {name: getattr(unroll, name) for name, _ in self._rowwise()}
        given["reward"] = unroll.reward.masked_fill(lost, 0.0)
        given["final"] = unroll.final | lost
        for name, column in given.items():
            self._kept[name].index_copy_(0, slots, column.transpose(0, 1))
        if unroll.memory is not None:
            self._kept["memory"].index_copy_(0, slots, unroll.memory)

    def _link(self, slots: Numbers, numbers: Numbers, streams: Numbers | None) -> None:
        """Note what sequences go on from, which may be one of the same unroll."""
        before = np.full(len(numbers), NONE)
        of = range(len(numbers)) if streams is None else streams.tolist()
        for column, (stream, number) in enumerate(zip(of, numbers.tolist(), strict=True)):
            before[column] = self._heads.get(stream, NONE)
            self._heads[stream] = number
        self._previous[slots], self._following[slots] = before, NONE
        self._following[before[before >= 0] % self._slots] = numbers[before >= 0]
        self._measure(slots)

    def _rowwise(self) -> list[tuple[str, Tensor]]:
        return [(name, each) for name, each in self._kept.items() if name != "memory"]

    def _chain(self, own: Numbers) -> list[Numbers]:
        """Slots of the sequences that others are burned in with, the first ones first, and theirs.

        Where an episode began since, they are of no matter.
        """
        chain, whole = [own], np.ones(len(own), np.bool_)
        for _ in range(self._before):
            following = chain[0]
            whole = whole & ~self._begins(following) & (self._previous[following] >= 0)
            chain.insert(0, np.where(whole, self._previous[following] % self._slots, following))
        return chain

    def _copy(self, slots: Numbers, out: Batch, row: int) -> None:
        """Copy the rows of sequences; of what has T + 1 rows, the last one is overwritten next."""
        index = torch.from_numpy(slots)
        for name, mine in self._rowwise():
            found = mine.index_select(0, index).transpose(0, 1)
            getattr(out, name)[row : row + len(found)].copy_(found)

    def _begins(self, slots: Numbers) -> NDArray[np.bool_]:
        """Where nothing of before is remembered."""
        if "begin" not in self._kept:
            return np.ones(len(slots), np.bool_)
        found: NDArray[np.bool_] = self._kept["begin"].numpy()[slots, 0]
        return found

    def _ready(self, slots: Numbers) -> NDArray[np.bool_]:
        """Where all that a memory needs to be burned in is there."""
        return self._depth[slots] >= self._before

    def _measure(self, slots: Numbers) -> None:
        """How many sequences before these are there, as far as it is of interest."""
        before, enough, begins = self._previous[slots], self._before, self._begins(slots)
        for _ in range(enough + 1):  # they may go on from one another
            more = np.where(before >= 0, 1 + self._depth[before % self._slots], 0)
            self._depth[slots] = np.where(begins, enough, np.minimum(more, enough))

    def _forget(self, numbers: Numbers) -> None:
        """Sequences are about to be overwritten; those that need them cannot be drawn any more."""
        gone = numbers[numbers >= 0]
        after = self._following[gone % self._slots]
        self._previous[after[after >= 0] % self._slots] = NONE
        for _ in range(self._before):
            after = after[after >= 0]
            slots = after % self._slots
            self._measure(slots)
            self._tree[slots[~self._ready(slots)]] = 0.0
            after = self._following[slots]
        dead = set(gone.tolist())
        self._heads = {stream: n for stream, n in self._heads.items() if n not in dead}


def _slots(layout: Layout, count: int) -> dict[str, Tensor]:
    """Room for ``count`` sequences, by name; sequences come first, then their rows."""
    steps = layout.steps
    shape = count, steps
    room = {
        "obs": torch.zeros((count, steps + 1, *layout.obs), dtype=layout.obs_dtype),
        "action": torch.zeros((*shape, *layout.action), dtype=layout.action_dtype),
        "reward": torch.zeros(shape),
        "discount": torch.zeros(shape),
        "cut": torch.zeros(shape, dtype=torch.bool),
        "valid": torch.zeros(shape, dtype=torch.bool),
        "final": torch.zeros(shape, dtype=torch.bool),
    }
    if layout.memory is not None:
        room["begin"] = torch.zeros((count, steps + 1), dtype=torch.bool)
        room["memory"] = torch.zeros((count, *layout.memory))
    return room


def _extended(rows: Tensor, more: int) -> Tensor:
    """Like [R, ...] with ``more`` rows."""
    return rows.new_empty((len(rows) + more, *rows.shape[1:]))
