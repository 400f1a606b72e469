"""Store of transitions, each drawn with equal probability."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gala.device.streams import Stream
from gala.experience.batch import Batch
from gala.experience.replay import UNSAVED
from gala.experience.ring import Ring
from gala.experience.unroll import Layout
from gala.experience.windows import Transitions, Windows, joined


class TransitionStore:
    """A :class:`~gala.experience.replay.Store` of the newest transitions.

    Its batches have one row, T = 1, and as many columns as are drawn, with replacement. The two
    rows of ``obs`` are where transitions begin and what they led to; nothing is known of values
    and of distributions.

    Args:
        layout: of unrolls.
        capacity: transitions.
        n_step: rewards of each, at most.
        draws: transitions of a batch.
        generator: on the CPU, draws them.
    """

    columns: tuple[str, ...] = ("obs", "action", "reward", "discount")

    def __init__(
        self,
        layout: Layout,
        *,
        capacity: int,
        n_step: int,
        draws: int,
        generator: torch.Generator,
    ) -> None:
        self._layout, self._draws, self._generator = layout, draws, generator
        self._ring, self._windows = Ring(layout, capacity), Windows(n_step)
        self._streams: dict[int, int] = {}

    @property
    def size(self) -> int:
        """Transitions that there are."""
        return self._ring.size

    def push(self, unroll: Batch) -> None:
        """See :class:`~gala.experience.replay.Store`."""
        if unroll.stream is not None:
            self._arrange(unroll.stream)
        if found := joined(list(self._windows.push(unroll))):
            self._ring.append(found)

    def _arrange(self, streams: NDArray[np.int64]) -> None:
        """Let the windows that are open stay with their environments."""
        before = [self._streams.pop(stream, -1) for stream in streams.tolist()]
        columns = torch.tensor(before)
        self._windows.arrange(columns.clamp(min=0), columns >= 0)
        self._streams = {stream: column for column, stream in enumerate(streams.tolist())}

    def batch(self, stream: Stream) -> Batch:
        """See :class:`~gala.experience.replay.Store`."""
        layout, device, shape = self._layout, stream.device, (1, self._draws)
        obs = torch.zeros((2, self._draws, *layout.obs), dtype=layout.obs_dtype, device=device)
        action = torch.zeros((*shape, *layout.action), dtype=layout.action_dtype, device=device)
        zeros = torch.zeros(shape, device=device)
        flags = torch.zeros(shape, dtype=torch.bool, device=device)
        return Batch(
            obs=obs,
            action=action,
            reward=zeros.clone(),
            discount=zeros.clone(),
            cut=~flags,
            valid=~flags,
            final=flags,
            dist=torch.zeros((*shape, layout.dist), device=device),
            value=zeros,
            next_value=zeros,
            version=np.zeros(shape, np.int64),
        )

    def draw(self, out: Batch) -> bool:
        """See :class:`~gala.experience.replay.Store`."""
        if not self._ring.size:
            return False
        ages = torch.randint(self._ring.size, (self._draws,), generator=self._generator)
        self._ring.take(ages, transitions(out))
        return True

    def learned(self, priority: Tensor) -> None:
        """All are drawn equally."""

    def metrics(self) -> dict[str, float]:
        """Nothing besides."""
        return {}

    def state_dict(self, *, whole: bool) -> dict[str, Any]:
        """See :class:`~gala.experience.replay.Store`."""
        state: dict[str, Any] = {"draws": self._generator.get_state()}
        if whole:
            state |= {"ring": self._ring.state_dict(), "windows": self._windows.state_dict()}
        return state

    def load_state_dict(self, state: dict[str, Any], *, restored: bool) -> str | None:
        """See :class:`~gala.experience.replay.Store`."""
        if "draws" in state:
            self._generator.set_state(state["draws"])
        self._windows.clear()
        if "ring" not in state:
            return UNSAVED
        self._ring.load_state_dict(state["ring"])
        if restored:
            self._windows.load_state_dict(state["windows"])
        return None


def transitions(batch: Batch, rows: slice = slice(None)) -> Transitions:
    """The transitions, or some of them, of a batch of one row: views."""
    return Transitions(
        obs=batch.obs[0, rows],
        action=batch.action[0, rows],
        reward=batch.reward[0, rows],
        discount=batch.discount[0, rows],
        next_obs=batch.obs[1, rows],
    )
