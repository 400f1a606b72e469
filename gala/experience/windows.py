"""Windows: from the rows of unrolls to transitions over n steps."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gala.experience.batch import Batch


class Transitions(NamedTuple):
    """N steps of a policy, in no order; each over n rewards.

    Attributes:
        obs: [N, ...].
        action: [N, ...], what was done there.
        reward: Float[N], ``r_0 + d_0 r_1 + d_0 d_1 r_2 ...``, up to n of them.
        discount: Float[N], the product of their discounts: 0 where the episode terminated.
        next_obs: [N, ...], the observation after the last of them.
    """

    obs: Tensor
    action: Tensor
    reward: Tensor
    discount: Tensor
    next_obs: Tensor


@dataclass(slots=True)
class _Window:
    """B transitions that begin in one row; ``open`` where rewards are still to come."""

    obs: Tensor
    action: Tensor
    reward: Tensor
    discount: Tensor
    open: Tensor


class Windows:
    """Sums the rewards of n steps, in each of B environments.

    An episode that ends closes the windows that are open: they are shorter. Where it was truncated
    the observation that it ended with follows, and is valued; only in same-step autoreset that one
    is not there, and the transitions that need it are left out. So are rows that autoreset made,
    and all whose rewards are not finite.

    Args:
        n: rewards of a transition, at most.
    """

    def __init__(self, n: int) -> None:
        self._n = n
        self._windows: deque[_Window] = deque()

    def push(self, batch: Batch) -> Iterator[Transitions]:
        """The transitions that the rows of an unroll complete; may be none of a row."""
        for t in range(batch.steps):
            yield from self._push(batch, t)

    def _push(self, batch: Batch, t: int) -> Iterator[Transitions]:
        reward, discount, following = batch.reward[t], batch.discount[t], batch.obs[t + 1]
        for window in self._windows:
            window.reward += window.discount * reward
            window.discount *= discount
        row = batch.obs[t], batch.action[t], reward, discount, batch.valid[t]
        self._windows.append(_Window(*(tensor.clone() for tensor in row)))
        lost = ~reward.isfinite() | batch.final[t]
        for window in tuple(self._windows):
            window.open &= ~lost
            whole = window is self._windows[0] and len(self._windows) == self._n
            done = window.open if whole else window.open & batch.cut[t]
            window.open = window.open & ~done
            if bool(done.any()):
                found = window.obs, window.action, window.reward, window.discount, following
                yield Transitions(*(tensor[done] for tensor in found))
        if len(self._windows) == self._n:
            self._windows.popleft()

    def arrange(self, columns: Tensor, known: Tensor) -> None:
        """The environments of the next rows are others, or in another order.

        Args:
            columns: Int64[B], where each was in the rows before.
            known: Bool[B], False where it was nowhere: nothing is open there.
        """
        for window in self._windows:
            for each in fields(window):
                setattr(window, each.name, getattr(window, each.name).index_select(0, columns))
            window.open &= known

    def clear(self) -> None:
        """Other episodes are about to begin."""
        self._windows.clear()

    def state_dict(self) -> list[dict[str, Any]]:
        """The windows that are open."""
        names = ("obs", "action", "reward", "discount", "open")
        return [{name: getattr(each, name).clone() for name in names} for each in self._windows]

    def load_state_dict(self, state: list[dict[str, Any]]) -> None:
        """Go on from :meth:`state_dict`; windows of another n cannot be gone on with."""
        self.clear()
        if len(state) < self._n:
            self._windows.extend(_Window(**each) for each in state)


def joined(found: list[Transitions]) -> Transitions | None:
    """All of them as one; None where there are none."""
    if not found:
        return None
    return Transitions(*(torch.cat(columns) for columns in zip(*found, strict=True)))
