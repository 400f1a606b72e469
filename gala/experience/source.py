"""Source: where a learner's batches come from."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
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
        task_returns: likewise ``returns``, by number of the task; empty without tasks.
        elsewhere: whether others act, and are looked after by this source.
        faults: what the environments gave for the newest batch that is not finite, in words. It
            stands there as zeros, and the reward of the rows that cannot be learned from is NaN.
        meanwhile: called now and then while :meth:`next` waits for others; what it raises ends
            that.
        restorable: whether :meth:`state_dict` restores the environments exactly.
    """

    steps: int
    faults: tuple[str, ...]
    meanwhile: Callable[[], object]

    @property
    def returns(self) -> deque[float]:
        """See the class."""
        ...

    @property
    def lengths(self) -> deque[int]:
        """See the class."""
        ...

    @property
    def episodes(self) -> int:
        """See the class."""
        ...

    @property
    def return_sum(self) -> float:
        """See the class."""
        ...

    @property
    def task_returns(self) -> Mapping[int, deque[float]]:
        """See the class."""
        ...

    @property
    def elsewhere(self) -> bool:
        """See the class."""
        ...

    @property
    def restorable(self) -> bool:
        """See the class."""
        ...

    def next(self) -> Batch:
        """Act, take an unroll, or sample."""
        ...

    def learned(self, revision: int, priority: Tensor | None = None) -> None:
        """The newest batch was learned from; from now on ``revision`` acts.

        Args:
            revision: of the parameters.
            priority: Float32[T, B], how surprising its rows were; None: nobody asked.
        """
        ...

    def recent(self) -> Tensor:
        """Observations of the newest batch, [N, ...]; reused by the next one."""
        ...

    def metrics(self) -> dict[str, float]:
        """What is worth a record besides, by metric name, since the last call."""
        ...

    def events(self) -> list[tuple[str, str]]:
        """What happened since the last call and people should see: kind and message of each."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Plain data and tensors to go on from."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        ...

    def done(self) -> None:
        """The run is over, and not to be begun again: who acts elsewhere may leave for good."""
        ...

    def close(self) -> None:
        """Release what is held."""
        ...
