"""Screening: what the environments give is looked at here, before anybody acts or learns by it.

A reward or an observation that is not finite would spoil the returns of its episode, the moments of
its kind, the next action and the gradient, and nobody could say any more where it came from. So it
is replaced by zeros where it comes in, its environment is named, and the reward of the rows that
cannot be learned from is made NaN in the end: whatever is computed from such a row has no
gradient that a learner would follow.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gala.envs.step import Array

SHOWN = 3
"""Faults that are told by name."""


class Screening:
    """Looks at what B environments give in T steps.

    Args:
        steps: T.
        envs: B.
    """

    def __init__(self, steps: int, envs: int) -> None:
        self._rows = torch.zeros(steps, envs, dtype=torch.bool)
        self._found: dict[str, None] = {}
        self._later: list[tuple[str, int]] = []  # belong to the first row of the next batch
        self._zeros: dict[tuple[int, str], Array] = {}

    def begin(self) -> None:
        """A new batch; the observations that it begins with were screened before."""
        self._rows.zero_()
        self._found.clear()
        for text, env in self._later:
            self._note(text, 0, env)
        self._later.clear()

    def finish(self, reward: Tensor) -> tuple[str, ...]:
        """Spoil the rewards, Float[T, B], of rows that cannot be learned from.

        Returns:
            What was wrong, in words: ``reward of environment 3 is nan``.
        """
        if not self._found:
            return ()
        reward.masked_fill_(self._rows, float("nan"))
        texts, more = list(self._found)[:SHOWN], len(self._found) - SHOWN
        return (*texts, f"and {more} more") if more > 0 else tuple(texts)

    def rewards(
        self, given: NDArray[np.float32], valid: NDArray[np.bool_], t: int, where: slice
    ) -> NDArray[np.float32]:
        """Those of row t, in the columns ``where``; zeros where they are not finite.

        Rows that are no step do not count.
        """
        if self._finite(given):
            return given
        for i in np.flatnonzero(~np.isfinite(given) & valid):
            env = where.start + int(i)
            self._note(f"reward of environment {env} is {given[i]}", t, env)
        return np.where(np.isfinite(given), given, np.float32(0.0))

    def observations(self, given: Array, t: int, where: slice) -> Array:
        """Those that row t, -1 for the very first, led to; zeros where they are not finite.

        Neither the step that led there nor the one that starts there can be learned from.
        """
        if given.dtype.kind != "f" or self._finite(given):
            return given
        for i, value in _faults(given):
            env = where.start + i
            text = f"observation of environment {env} holds {value}"
            if t >= 0:
                self._note(text, t, env)
            if t + 1 < len(self._rows) and t >= 0:
                self._note(text, t + 1, env)
            else:
                self._later.append((text, env))
        return np.where(np.isfinite(given), given, np.zeros((), given.dtype))

    def finals(self, given: Array, truncated: NDArray[np.bool_], t: int, where: slice) -> Array:
        """Observations that episodes ended with in row t; only truncated ones are looked at."""
        if given.dtype.kind != "f" or self._finite(given):
            return given
        for i, value in _faults(given):
            if truncated[i]:
                env = where.start + i
                self._note(f"final observation of environment {env} holds {value}", t, env)
        return np.where(np.isfinite(given), given, np.zeros((), given.dtype))

    def _note(self, text: str, t: int, env: int) -> None:
        self._found[text] = None
        self._rows[t, env] = True

    def _finite(self, given: Array) -> bool:
        """Whether all numbers are finite: 0 times another one is no 0.

        A product of vectors is a quarter of the cost of looking at each number of a small array.
        """
        key = given.size, given.dtype.char
        zeros = self._zeros.get(key)
        if zeros is None:
            zeros = self._zeros[key] = np.zeros(given.size, given.dtype)
        return bool(np.vdot(given, zeros) == 0.0)


def _faults(given: Array) -> list[tuple[int, float]]:
    """Row and first value that is not finite, of each row of [B, ...] that has one."""
    rows = given.reshape(len(given), -1)
    bad = ~np.isfinite(rows)
    return [(int(i), float(rows[i][bad[i]][0])) for i in np.flatnonzero(bad.any(1))]
