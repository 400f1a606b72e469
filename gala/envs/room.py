"""Whether there is memory for all environments of an agent, looked at before it is gone.

How much one takes is the user's code's own; it is measured on the first ones, while they are made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, overload

import gymnasium

from gala.config.sections import EnvConfig
from gala.errors import UserError
from gala.files.room import free_memory

LEAST = 256
"""Bytes that any environment takes: its state, its observations, its counters."""

LOOK_EVERY = 64
"""Environments from one look at the memory to the next; the first ones may be large."""

Maker = Callable[[], gymnasium.Env[Any, Any]]


def require_room_of_envs(config: EnvConfig, agents: int = 1) -> None:
    """Refuse numbers of environments that no memory holds, before one is made.

    Args:
        config: of each agent.
        agents: on this host.

    Raises:
        UserError: with the memory that it takes at least, and that there is.
    """
    free = free_memory()
    if free is not None and agents * config.num_envs * LEAST > free:
        raise _refusal(agents * config.num_envs, LEAST, free, "at least ")


class Makers(Sequence[Maker]):
    """The same maker, so many times; memory is looked at in between.

    Args:
        make: makes one environment.
        count: how many a vector will make, in this process or in one each.

    Raises:
        UserError: while they are made: the rest will not fit.
    """

    def __init__(self, make: Maker, count: int) -> None:
        self._make, self._count = make, count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Maker: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Maker]: ...

    def __getitem__(self, index: int | slice) -> Maker | Sequence[Maker]:
        made = range(self._count)[index]
        return self._make if isinstance(made, int) else Makers(self._make, len(made))

    def __iter__(self) -> Iterator[Maker]:
        before = free_memory()
        for made in range(self._count):
            if made and (made < LOOK_EVERY or made % LOOK_EVERY == 0):
                _require_rest(before, made, self._count)
            yield self._make


def _require_rest(before: int | None, made: int, count: int) -> None:
    """Others take memory, too: what little is missing says nothing, half of it does."""
    free = free_memory()
    if before is None or free is None or 2 * free > before:
        return
    each = (before - free) // made
    if each * (count - made) > free:
        raise _refusal(count, each, before)


def _refusal(count: int, each: int, free: int, least: str = "") -> UserError:
    return UserError(
        f"{count:,} environments of {each / 1024:,.1f} KiB need {least}{count * each / 2**30:,.1f} "
        f"GiB of memory, {free / 2**30:.1f} GiB are free",
        field="--env.num-envs",
        hint=f"less than {free // each:,}",
    )
