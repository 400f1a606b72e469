"""Which actions are allowed: ``action_mask`` of a Dict of observations, or of ``info``.

Both are conventions of Gymnasium's world (PettingZoo; Taxi, sb3-contrib). A mask holds one truth
value per logit of the action head: per value of a Discrete, per value of each choice of a
MultiDiscrete, one choice after the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from gala.envs.flattening import Part, parts_of
from gala.errors import UserError

MASK = "action_mask"


def logits_of(actions: gymnasium.Space[Any]) -> int:
    """Truth values of a mask; 0: actions are no choices, and nothing is masked."""
    if isinstance(actions, spaces.Discrete):
        return int(actions.n)
    return int(actions.nvec.sum()) if isinstance(actions, spaces.MultiDiscrete) else 0


class Masks:
    """Reads the masks of B environments.

    Args:
        observations: space of one environment.
        logits: see :func:`logits_of`.

    Attributes:
        logits: as given.
        in_observations: whether they are a field of the observations.
        come: whether there are masks; those of ``info`` show up at the first reset.

    Raises:
        UserError: the field is of another size.
    """

    def __init__(self, observations: gymnasium.Space[Any], logits: int) -> None:
        self.logits = logits
        self._parts: list[Part] = []
        if logits and isinstance(observations, spaces.Dict) and MASK in observations.spaces:
            self._parts = parts_of(observations[MASK], (MASK,))
            self._require(sum(part.width for part in self._parts))
        self.in_observations = self.come = bool(self._parts)

    def of_reset(self, obs: Any, info: Mapping[str, Any]) -> NDArray[np.bool_] | None:
        """Bool[B, K] that belongs to the first observations; None: all actions are allowed."""
        self.come = self.in_observations or bool(self.logits and MASK in info)
        return self._read(obs, info) if self.come else None

    def of_step(self, obs: Any, info: Mapping[str, Any]) -> NDArray[np.bool_] | None:
        """Bool[B, K] that belongs to ``obs``; None: all actions are allowed.

        Raises:
            UserError: the first masks come after the reset.
        """
        if not self.come and self.logits and MASK in info:
            rule = f"info[{MASK!r}] comes with steps, but did not come with the reset"
            raise UserError(rule, field="env.id", hint="give it with both")
        return self._read(obs, info) if self.come else None

    def _read(self, obs: Any, info: Mapping[str, Any]) -> NDArray[np.bool_] | None:
        if self._parts:
            fields = [part.of(obs) for part in self._parts]
            return np.concatenate(
                [each.reshape(len(each), -1).astype(np.bool_) for each in fields], 1
            )
        if MASK not in info:
            return None
        given, present = info[MASK], info.get(f"_{MASK}")
        rows = range(len(given))
        mask = np.ones((len(given), self.logits), np.bool_)
        for row in rows if present is None else np.flatnonzero(present):
            each = _row(given[row])
            self._require(len(each))
            mask[row] = each
        return mask

    def _require(self, size: int) -> None:
        if size != self.logits:
            rule = f"{MASK} has {size} entries, the actions have {self.logits} values"
            raise UserError(rule, field="env.id")


def _row(given: Any) -> NDArray[np.bool_]:
    """Bool[K] of one environment; a tuple holds one array per choice."""
    if isinstance(given, tuple | list) and given and np.ndim(given[0]):
        return np.concatenate([np.ravel(each) for each in given]).astype(np.bool_)
    return np.ravel(np.asarray(given)).astype(np.bool_)
