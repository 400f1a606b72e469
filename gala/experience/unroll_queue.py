"""Unroll queue: a learner's batches from unrolls that actors elsewhere have filled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from gala.device.streams import Direct, Stream
from gala.experience.batch import Batch
from gala.experience.tally import Tally
from gala.experience.unroll import Layout, Unroll

NONE = -1


class Feeder(Protocol):
    """Whoever has the unrolls."""

    def take(self, meanwhile: Callable[[], object]) -> Unroll:
        """The oldest unroll that is full; waits for one. Nobody writes to it before its release.

        Args:
            meanwhile: called now and then while it waits; what it raises ends that.
        """
        ...

    def release(self, unroll: Unroll) -> None:
        """An unroll that was taken was copied out: it may be filled anew."""
        ...

    def learned(self, revision: int) -> None:
        """From now on the parameters of ``revision`` act."""
        ...

    def metrics(self) -> dict[str, float]:
        """See :class:`~gala.experience.source.Source`."""
        ...

    def events(self) -> list[tuple[str, str]]:
        """See :class:`~gala.experience.source.Source`."""
        ...

    def done(self) -> None:
        """See :class:`~gala.experience.source.Source`."""
        ...

    def close(self) -> None:
        """Release what is held."""
        ...


class UnrollQueue(Tally):
    """A :class:`~gala.experience.source.Source` that puts B environments together from unrolls.

    A batch holds the unrolls that were full first, whoever filled them.

    Args:
        feeder: has the unrolls; closed by :meth:`close`.
        layout: of their arrays.
        envs: B.
        each: environments of one unroll; divides B.
        max_lag: pass over unrolls that are older, in changes of the parameters; None: take all.
        stream: where the batch is going to lie.
        tasks: numbers of the agent's tasks, which its actors have by turns; none: there are none.

    Attributes:
        layout: as given.
    """

    elsewhere = True
    restorable = False

    def __init__(
        self,
        feeder: Feeder,
        layout: Layout,
        *,
        envs: int,
        each: int,
        max_lag: int | None = None,
        stream: Stream | None = None,
        tasks: Sequence[int] = (),
    ) -> None:
        super().__init__(tasks)
        self._tasks = tasks
        assert envs % each == 0, (envs, each)
        self._feeder, self._each, self._max_lag = feeder, each, max_lag
        self.layout = layout
        self._stream = stream or Direct()
        self._memory = torch.zeros(layout.size(envs), dtype=torch.uint8)
        self._filled = layout.batch(self._memory, envs)
        self._there = self._stream.mirror(self._memory)
        self._batch = layout.batch(self._there, envs)
        self._filled.version = self._batch.version
        self._batch.stream = np.zeros(envs, np.int64)
        self._newest: dict[int, tuple[int, int]] = {}
        self._streams = 0
        self._revision = self._dropped = 0
        self.faults: tuple[str, ...] = ()
        self.meanwhile: Callable[[], object] = lambda: None

    def next(self) -> Batch:
        """The next B environments' worth of unrolls."""
        batch, faults = self._batch, []
        for begin in range(0, batch.envs, self._each):
            unroll = self._fresh()
            where = slice(begin, begin + self._each)
            unroll.copy_to(self._filled, where)
            assert batch.stream is not None
            batch.stream[where] = self._stream_of(unroll) + np.arange(self._each)
            faults += [f"{fault} (actor {unroll.actor})" for fault in unroll.faults]
            self._feeder.release(unroll)
        self.faults = tuple(faults)
        self._stream.upload(self._memory, self._there)
        self.steps += batch.steps * batch.envs
        return batch

    def _fresh(self) -> Unroll:
        """The next unroll that is not too old. While the parameters stay, new ones are not."""
        while True:
            unroll = self._feeder.take(self.meanwhile)
            task = self._tasks[unroll.actor % len(self._tasks)] if self._tasks else None
            for ret, length in unroll.games:
                self.finished(ret, length, task)
            if self._max_lag is None or self._revision - unroll.oldest <= self._max_lag:
                return unroll
            self._dropped += 1
            self._feeder.release(unroll)

    def _stream_of(self, unroll: Unroll) -> int:
        """Number of the first environment: the same as before where its actor has gone on."""
        number, stream = self._newest.get(unroll.actor, (NONE, NONE))
        if stream == NONE or unroll.number != number + 1:  # one was left out, or it began anew
            stream, self._streams = self._streams, self._streams + self._each
        self._newest[unroll.actor] = unroll.number, stream
        return stream

    def learned(self, revision: int, priority: Tensor | None = None) -> None:
        """See :class:`~gala.experience.source.Source`."""
        self._revision = revision
        self._feeder.learned(revision)

    def recent(self) -> Tensor:
        """Observations of the newest batch, [T * B, ...]; reused by the next one."""
        return self._batch.obs[:-1].flatten(0, 1)

    def metrics(self) -> dict[str, float]:
        """See :class:`~gala.experience.source.Source`."""
        return {"actors/dropped": float(self._dropped)} | self._feeder.metrics()

    def events(self) -> list[tuple[str, str]]:
        """See :class:`~gala.experience.source.Source`."""
        return self._feeder.events()

    def state_dict(self) -> dict[str, Any]:
        """Plain data; the environments begin new episodes."""
        return self.counts()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`, or from what a collector left."""
        self.count_from(state)

    def done(self) -> None:
        """See :class:`~gala.experience.source.Source`."""
        self._feeder.done()

    def close(self) -> None:
        """End the actors."""
        self._feeder.close()
