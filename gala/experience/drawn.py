"""What a replay has drawn for an update, part by part, and how surprising it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from gala.device.streams import Direct, Stream
from gala.experience.batch import Batch, copy_batch, like_batch, part_of


class Drawn:
    """Serves the columns of a batch, some for each optimizer step.

    A device reads all parts in one and the same :class:`~gala.experience.batch.Batch`.

    Args:
        columns: of a part.
        stream: where batches lie.
    """

    def __init__(self, columns: int, stream: Stream | None = None) -> None:
        self._columns, self._stream = columns, stream or Direct()
        self._batch: Batch | None = None

    def parts(self, batch: Batch) -> Iterator[Callable[[Tensor], object]]:
        """Serve each part in turn as :attr:`part`.

        Args:
            batch: always the same one, but for empty ones.

        Returns:
            For each, what keeps the priorities Float[T x N] of its rows.
        """
        if batch.envs and batch is not self._batch:
            self._prepare(batch)
        for copy, served, part, keep in self._parts if batch.envs else ():
            if served is not part:
                copy(part, served)
            self.part = served
            yield keep

    def _prepare(self, batch: Batch) -> None:
        """Parts, and what is done with them, recorded one by one."""
        captured, columns = self._stream.captured, self._columns
        self._batch, self.priority = batch, torch.zeros_like(batch.reward)
        views = [part_of(batch, slice(k, k + columns)) for k in range(0, batch.envs, columns)]
        served = like_batch(views[0]) if self._stream.records else None
        kept = torch.split(self.priority, columns, 1)
        self._parts = [
            (captured(copy_batch), served or view, view, captured(_keeper(mine)))
            for view, mine in zip(views, kept, strict=True)
        ]


def _keeper(target: Tensor) -> Callable[[Tensor], object]:
    return lambda found: target.copy_(found.view(target.shape))
