"""Ring: the newest transitions, in memory that is taken once."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from gala.errors import UserError
from gala.experience.unroll import Layout
from gala.experience.windows import Transitions
from gala.files.room import free_memory


def bytes_of(layout: Layout) -> int:
    """Bytes of one transition: two observations, an action, reward and discount."""
    obs = layout.obs_dtype.itemsize * math.prod(layout.obs)
    return 2 * obs + layout.action_dtype.itemsize * math.prod(layout.action) + 8


def require_room(
    each: int, count: int, agents: int, *, kind: str = "transitions", steps: int = 1
) -> None:
    """Refuse replays that do not fit into the memory of a host, before anything is trained.

    Args:
        each: bytes of what is kept.
        count: how many of it, of each agent.
        agents: on this host.
        kind: what it is, in words.
        steps: of an environment, in each.

    Raises:
        UserError: with the capacity that would fit.
    """
    free = free_memory()
    needed = agents * count * each
    if free is None or needed <= free:
        return
    whose = f"{agents} agents x {count:,}" if agents > 1 else f"{count:,}"
    raise UserError(
        f"{whose} {kind} of {each:,} bytes need {needed / 2**30:.1f} GiB of memory, "
        f"{free / 2**30:.1f} GiB are free",
        field="--replay.capacity",
        hint=str(max(free // (agents * each), 1) * steps),
    )


class Ring:
    """Keeps the newest transitions.

    They are asked for by age, so that where in memory they lie makes no difference.

    Args:
        layout: of the unrolls that they come from.
        capacity: how many.

    Attributes:
        size: how many there are.
    """

    def __init__(self, layout: Layout, capacity: int) -> None:
        self._capacity, self._next = capacity, 0
        self.size = 0
        obs = (capacity, *layout.obs)
        self._columns = Transitions(
            obs=torch.zeros(obs, dtype=layout.obs_dtype),
            action=torch.zeros((capacity, *layout.action), dtype=layout.action_dtype),
            reward=torch.zeros(capacity),
            discount=torch.zeros(capacity),
            next_obs=torch.zeros(obs, dtype=layout.obs_dtype),
        )

    def append(self, found: Transitions) -> None:
        """Keep N more; of more than fit, the last ones."""
        found = Transitions(*(column[-self._capacity :] for column in found))
        count = len(found.reward)
        slots = (self._next + torch.arange(count)) % self._capacity
        for mine, column in zip(self._columns, found, strict=True):
            mine.index_copy_(0, slots, column)
        self._next = (self._next + count) % self._capacity
        self.size = min(self.size + count, self._capacity)

    def take(self, ages: Tensor, out: Transitions) -> None:
        """Copy the transitions of Int64[N] ages, 0 for the newest, into ``out``."""
        slots = (self._next - 1 - ages) % self._capacity
        for mine, column in zip(self._columns, out, strict=True):
            torch.index_select(mine, 0, slots, out=column)

    def state_dict(self) -> dict[str, Any]:
        """All there are, the oldest first."""
        slots = (self._next - self.size + torch.arange(self.size)) % self._capacity
        columns = self._columns._asdict().items()
        return {name: column.index_select(0, slots) for name, column in columns}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`; of another capacity too."""
        self.size = self._next = 0
        self.append(Transitions(**state))
