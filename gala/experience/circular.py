"""Circular buffer (IMPACT, Luo et al. 2020, arXiv 1912.00167): batches that are served again.

Which ones is no matter of chance: each is served K times, at ages that are spread evenly over the
buffer, so that an update has batches of all ages and nothing has to be drawn.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gala.device.streams import Direct, Stream
from gala.experience.batch import Batch, copy_batch, like_batch, tensors_of


@dataclass(slots=True)
class _Saved:
    """A batch of a checkpoint: its tensors, and the version of who acted in today's count."""

    tensors: dict[str, Tensor]
    version: NDArray[np.int64]

    def fits(self, slot: Batch) -> bool:
        """Whether it is of the same environments and the same number of steps."""
        shapes = {name: tensor.shape for name, tensor in tensors_of(slot).items()}
        return shapes == {name: tensor.shape for name, tensor in self.tensors.items()}


class CircularBuffer:
    """The newest N batches of a source, each served K times.

    All are handed out in one and the same :class:`Batch`, and keep the version of the parameters
    that acted in them.

    Args:
        size: N, the newest one included.
        replays: K, batches served for each new one.
        stream: where batches lie.
    """

    def __init__(self, size: int, replays: int, stream: Stream | None = None) -> None:
        assert size >= 1 and replays >= 1, (size, replays)
        self._stream = stream or Direct()
        self._ages = [k * size // replays for k in reversed(range(replays))]  # the newest last
        self._older = size - 1
        self._served: Batch | None = None
        self._slots: list[Batch] = []
        self._saved: list[_Saved] = []
        self._kept = 0

    def serve(self, batch: Batch) -> Iterator[Batch]:
        """K batches, the oldest first, the new one ``batch`` last; then that one is kept.

        While the buffer is not full, the oldest one there is stands for those that are missing:
        agents whose gradients are averaged take equally many steps, also where one came late.
        """
        served = self._served or self._allocate(batch)
        there = min(self._kept, self._older)
        for age in (min(age, there) for age in self._ages):
            source = self._slots[self._slot(age)] if age else batch
            served.version[:] = source.version
            self._serve[self._slot(age) if age else -1](source, served)
            yield served
        if self._older:
            slot = self._slot(0)
            self._slots[slot].version[:] = batch.version
            self._keep[slot](batch, self._slots[slot])
            self._kept += 1

    def state_dict(self, revision: int) -> dict[str, Any]:
        """What is kept, the oldest first.

        Args:
            revision: of the parameters; another process counts anew.
        """
        kept = self._saved
        if self._served is not None:
            ages = range(min(self._kept, self._older), 0, -1)
            slots = [self._slots[self._slot(age)] for age in ages]
            kept = [_Saved(tensors_of(slot), slot.version) for slot in slots]
        return {
            "batches": [
                {name: tensor.cpu().clone() for name, tensor in each.tensors.items()}
                for each in kept
            ],
            "lags": [torch.from_numpy(revision - each.version) for each in kept],
        }

    def load_state_dict(self, state: dict[str, Any], revision: int) -> None:
        """Go on from :meth:`state_dict`; batches of other shapes than the next one are left out."""
        pairs = zip(state["batches"], state["lags"], strict=True)
        self._saved = [_Saved(tensors, revision - lag.numpy()) for tensors, lag in pairs]
        self._served, self._slots, self._kept = None, [], 0

    def clear(self) -> None:
        """Keep nothing of what there is."""
        self._saved, self._kept = [], 0

    def _slot(self, age: int) -> int:
        """Where the batch of ``age`` lies, or where age 0 is going to."""
        return (self._kept - age) % self._older

    def _allocate(self, batch: Batch) -> Batch:
        """Tensors like those of ``batch``, with what was loaded in them."""
        self._served = like_batch(batch)
        self._slots = [like_batch(batch) for _ in range(self._older)]
        captured = self._stream.captured
        self._serve = [captured(copy_batch) for _ in range(self._older + 1)]
        self._keep = [captured(_copy_usable) for _ in self._slots]
        for saved in (each for each in self._saved[-self._older :] if each.fits(batch)):
            slot = self._slots[self._slot(0)]
            for name, tensor in tensors_of(slot).items():
                tensor.copy_(saved.tensors[name])
            slot.version[:] = saved.version
            self._kept += 1
        self._saved = []
        return self._served


@torch.no_grad()
def _copy_usable(source: Batch, target: Batch) -> None:
    """Copy; environments that gave what is not finite are not valid any more.

    They were told when the batch was new. Served again they would leave out whole updates, and
    saved they would be a checkpoint that is not finite.
    """
    copy_batch(source, target)
    numbers = [
        t for name, t in tensors_of(target).items() if name != "obs" and t.is_floating_point()
    ]
    for tensor in numbers:
        by_env = tensor if tensor is target.memory else tensor.transpose(0, 1)
        target.valid.logical_and_(by_env.isfinite().flatten(1).all(-1))
        tensor.nan_to_num_(0.0, 0.0, 0.0)
