"""Replay: a source whose batches are drawn from what others gave before (Lin 1992)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol

from torch import Tensor

from gala.config.sections import ReplayConfig
from gala.device.streams import Direct, Stream
from gala.experience.batch import Batch, part_of
from gala.experience.source import Source


class Store(Protocol):
    """Keeps what there was of unrolls, and draws from it.

    Attributes:
        columns: names of what :meth:`draw` writes into its batch.
        size: environment steps that it holds.
    """

    columns: tuple[str, ...]

    @property
    def size(self) -> int:
        """See the class."""
        ...

    def push(self, unroll: Batch) -> None:
        """Keep what is finite of an unroll, on the CPU."""
        ...

    def batch(self, stream: Stream) -> Batch:
        """Room for what is drawn for an update, on the stream's device."""
        ...

    def draw(self, out: Batch) -> bool:
        """Draw a batch of :meth:`batch`; returns whether there was anything to draw."""
        ...

    def learned(self, priority: Tensor) -> None:
        """How surprising the rows of the newest draw were, Float32[T, B] on any device."""
        ...

    def metrics(self) -> dict[str, float]:
        """See :class:`~gala.experience.source.Source`."""
        ...

    def state_dict(self, *, whole: bool) -> dict[str, Any]:
        """Plain data and tensors; ``whole``: with everything that is kept."""
        ...

    def load_state_dict(self, state: dict[str, Any], *, restored: bool) -> str | None:
        """Go on from :meth:`state_dict`.

        Args:
            state: see above.
            restored: the environments go on where they were.

        Returns:
            Why it begins empty; None: it does not.
        """
        ...


class Replay:
    """A :class:`~gala.experience.source.Source` that keeps the unrolls of another one.

    For each of them it hands out one batch, for all optimizer steps of an update. While there is
    too little to learn from, the batch holds no column at all.

    Args:
        source: of unrolls; closed by :meth:`close`.
        store: keeps them.
        config: section of the configuration.
        stream: where batches are going to lie.
    """

    faults: tuple[str, ...] = ()

    def __init__(
        self, source: Source, store: Store, config: ReplayConfig, *, stream: Stream | None = None
    ) -> None:
        self._source, self._store, self._config = source, store, config
        self._stream = stream or Direct()
        self._drawn = store.batch(Direct())
        self._there = store.batch(self._stream) if self._stream.records else self._drawn
        self._none = part_of(self._there, slice(0, 0))
        self._spoilt = 0
        self._events: list[tuple[str, str]] = []

    def next(self) -> Batch:
        """Let the other source act once, and draw."""
        self._store.push(_on_the_cpu(self._source.next()))
        self._note(self._source.faults)
        if self._store.size < self._config.warm_up or not self._store.draw(self._drawn):
            return self._none
        for name in self._store.columns:
            self._stream.upload(getattr(self._drawn, name), getattr(self._there, name))
        return self._there

    def _note(self, faults: tuple[str, ...]) -> None:
        """What is not finite was not kept; say so at 1, 2, 4, 8 ... updates."""
        if not faults:
            return
        self._spoilt += 1
        if self._spoilt & (self._spoilt - 1) == 0:
            count = f"; {self._spoilt} unrolls so far" if self._spoilt > 1 else ""
            self._events.append(("skipped", f"{', '.join(faults)}: not kept{count}"))

    @property
    def steps(self) -> int:
        """Environment steps so far, as the other source counts them; so the following."""
        return self._source.steps

    @steps.setter
    def steps(self, steps: int) -> None:
        self._source.steps = steps

    @property
    def meanwhile(self) -> Callable[[], object]:
        """See :class:`~gala.experience.source.Source`."""
        return self._source.meanwhile

    @meanwhile.setter
    def meanwhile(self, call: Callable[[], object]) -> None:
        self._source.meanwhile = call

    @property
    def returns(self) -> deque[float]:
        """See :class:`~gala.experience.source.Source`."""
        return self._source.returns

    @property
    def lengths(self) -> deque[int]:
        """See :class:`~gala.experience.source.Source`."""
        return self._source.lengths

    @property
    def episodes(self) -> int:
        """See :class:`~gala.experience.source.Source`."""
        return self._source.episodes

    @property
    def return_sum(self) -> float:
        """See :class:`~gala.experience.source.Source`."""
        return self._source.return_sum

    @property
    def task_returns(self) -> Mapping[int, deque[float]]:
        """See :class:`~gala.experience.source.Source`."""
        return self._source.task_returns

    @property
    def elsewhere(self) -> bool:
        """See :class:`~gala.experience.source.Source`."""
        return self._source.elsewhere

    @property
    def restorable(self) -> bool:
        """See :class:`~gala.experience.source.Source`."""
        return self._source.restorable

    def learned(self, revision: int, priority: Tensor | None = None) -> None:
        """See :class:`~gala.experience.source.Source`."""
        self._source.learned(revision)
        if priority is not None:
            self._store.learned(priority)

    def recent(self) -> Tensor:
        """Observations of the newest unroll, not of what was drawn."""
        return self._source.recent()

    def metrics(self) -> dict[str, float]:
        """How many transitions there are, and what the store tells."""
        there = {"replay/transitions": float(self._store.size)}
        return there | self._store.metrics() | self._source.metrics()

    def events(self) -> list[tuple[str, str]]:
        """See :class:`~gala.experience.source.Source`."""
        told, self._events = self._events, []
        return told + self._source.events()

    def state_dict(self) -> dict[str, Any]:
        """Those of the other source, and with ``replay.save`` all that is kept."""
        replay = self._store.state_dict(whole=self._config.save)
        return self._source.state_dict() | {"replay": replay}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`; where nothing was saved, without anything."""
        self._source.load_state_dict({k: v for k, v in state.items() if k != "replay"})
        saved = state.get("replay", {})
        empty = self._store.load_state_dict(saved, restored=self.restorable)
        if empty is not None:
            self._events.append(("replay", f"begins empty, {empty}"))

    def done(self) -> None:
        """See :class:`~gala.experience.source.Source`."""
        self._source.done()

    def close(self) -> None:
        """Close the other source."""
        self._source.close()


UNSAVED = "--replay.save was not asked for before"
"""Why a store begins empty, mostly."""


def _on_the_cpu(unroll: Batch) -> Batch:
    """What stores read of it."""
    if unroll.obs.device.type == "cpu":
        return unroll
    names = ("obs", "action", "reward", "discount", "cut", "valid", "final", "memory", "begin")
    there = {name: getattr(unroll, name) for name in names}
    return replace(unroll, **{n: each.cpu() for n, each in there.items() if each is not None})
