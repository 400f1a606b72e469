"""The steps of one agent: their lengths, and which way they went."""

from __future__ import annotations

import torch
from torch import Tensor

from gala.device.streams import Stream
from gala.parameters.distances import Distances

WINDOW = 512
"""Updates over which the largest length is kept, once or twice."""


class Updates:
    """Takes the L2 norm of each local update, of the whole vector.

    With preconditioned optimizers the step taken is the "gradient" of the bound, so that L of the
    paper is measured instead of assumed.

    Args:
        vector: the parameters, Float[P].
        stream: of the device that ``vector`` is computed on; None: it is the processor's own.

    Attributes:
        latest: norm of the newest update; not finite where the parameters are not.
    """

    def __init__(self, vector: Tensor, stream: Stream | None = None) -> None:
        self._stream = stream
        self._before = torch.empty_like(vector)
        self._distance = Distances((vector.numel(),))
        self._current = self._previous = 0.0
        self._count = 0
        self.latest = 0.0

    def before(self, vector: Tensor) -> None:
        """Note the parameters before a local update."""
        self._before.copy_(vector)

    def after(self, vector: Tensor) -> None:
        """Take the norm of the update that led to ``vector``."""
        if self._stream is None:
            self.latest = float(self._distance(vector, self._before)[0])
        else:  # this is where the update is waited for, asleep: float() would spin
            self.latest = float(self._stream.download(torch.dist(vector, self._before)))
        self._current = max(self._current, self.latest)
        self._count += 1
        if self._count % WINDOW == 0:
            self._previous, self._current = self._current, 0.0

    def step(self, vector: Tensor) -> Tensor:
        """Float[P], the update that led to ``vector``; call it before a mix."""
        return vector - self._before

    @property
    def supremum(self) -> float:
        """Largest norm of the last 512 to 1,024 updates."""
        return max(self._current, self._previous)
