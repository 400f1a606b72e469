"""Source: where a learner's batches come from."""

from __future__ import annotations

from collections import deque
from typing import Any, Protocol

from torch import Tensor

from gala.experience.batch import Batch


class Source(Protocol):
    """Hands out batches, and knows what became of the episodes they are cut from.

    Attributes:
        steps: environment steps that were handed out so far.
        returns: raw returns of the newest finished games, at most 100.
        lengths: their lengths in steps.
        episodes: finished games so far.
        return_sum: of their raw returns.
        restorable: whether :meth:`state_dict` restores the environments exactly.
    """

    steps: int
    returns: deque[float]
    lengths: deque[int]
    episodes: int
    return_sum: float

    @property
    def restorable(self) -> bool:
        """See the class."""
        ...

    def next(self) -> Batch:
        """Act, take an unroll, or sample."""
        ...

    def learned(self, revision: int) -> None:
        """The newest batch was learned from; from now on ``revision`` acts."""
        ...

    def recent(self) -> Tensor:
        """Observations of the newest batch, [N, ...]; reused by the next one."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Plain data and tensors to go on from."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        ...

    def close(self) -> None:
        """Release what is held."""
        ...
