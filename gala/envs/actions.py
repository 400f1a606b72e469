"""What actions the policy chooses, and what the environments get for them.

- Discrete, MultiDiscrete, MultiBinary: as they are; those of several axes have one for the policy.
- Box of floats: between two finite bounds the policy has -1 to 1, which an affine map takes to the
  bounds. What has a bound on one side, or none, stays as it is and is clipped at its bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from gala.envs.masks import logits_of
from gala.errors import UserError

Array = NDArray[Any]

UNBOUNDED = 1e30
"""A bound beyond this is none: old environments write float32's largest number for infinity."""
SHOWN = 3
"""Bounds of that many numbers are shown."""


@dataclass(frozen=True, kw_only=True)
class ActionPlan:
    """What becomes of the actions for one kind of environments.

    Attributes:
        given: the environments' space.
        space: the policy's.
        mapped: Bool[...], numbers of a Box that are mapped from [-1, 1]; None: nothing is.
        logits: values that a mask speaks of; 0: nothing is masked.
        text: the decision, for the opening block.
    """

    given: gymnasium.Space[Any]
    space: gymnasium.Space[Any]
    mapped: NDArray[np.bool_] | None = None
    logits: int
    text: str

    def to_env(self, actions: Array) -> Array:
        """[B, ...] for the environments from those of :attr:`space`; the same array if it can."""
        if self.mapped is not None:
            assert isinstance(self.given, spaces.Box)
            low, high = self.given.low, self.given.high
            wide = actions.astype(np.float64)
            with np.errstate(over="ignore", invalid="ignore"):  # of numbers that are not mapped
                share = 0.5 * (wide + 1.0)
                there = (1.0 - share) * low + share * high
            # rounding must not lead beyond a bound
            actions = np.clip(np.where(self.mapped, there, wide), low, high)
        elif self.space.shape != self.given.shape:
            actions = actions.reshape(len(actions), *(self.given.shape or ()))
        return actions.astype(self.given.dtype, copy=False)


def plan_actions(space: gymnasium.Space[Any]) -> ActionPlan:
    """Decide what becomes of actions.

    Raises:
        UserError: a space that is not supported.
    """
    logits = logits_of(space)
    if isinstance(space, spaces.Discrete):
        return ActionPlan(given=space, space=space, logits=logits, text=f"one of {int(space.n):,}")
    if isinstance(space, spaces.MultiDiscrete) and space.nvec.size:
        text = f"{space.nvec.size} choices of {_few(space.nvec)}"
        flat = space
        if space.nvec.ndim > 1:
            flat = spaces.MultiDiscrete(space.nvec.ravel(), start=np.ravel(space.start))
        return ActionPlan(given=space, space=flat, logits=logits, text=text)
    if isinstance(space, spaces.MultiBinary) and np.prod(space.shape):
        count = int(np.prod(space.shape))
        return ActionPlan(
            given=space, space=spaces.MultiBinary(count), logits=0, text=f"{count} bits"
        )
    if isinstance(space, spaces.Box) and space.low.size:
        return _box(space)
    raise UserError(
        f"action space {space} is not supported",
        field="env.id",
        hint="supported: Discrete, MultiDiscrete, MultiBinary, Box of floats",
    )


def _box(space: spaces.Box) -> ActionPlan:
    if not np.issubdtype(space.dtype, np.floating):
        raise UserError(
            f"action space {space} is not supported: it holds integers",
            field="env.id",
            hint="MultiDiscrete for choices, Box of floats for quantities",
        )
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    finite = (np.abs(low) < UNBOUNDED) & (np.abs(high) < UNBOUNDED)
    count = f"{low.size} number{'s' * (low.size > 1)}"
    if ((low == -1) & (high == 1)).all():
        return ActionPlan(given=space, space=space, logits=0, text=f"{count}, -1..1")
    seen = spaces.Box(
        np.where(finite, -1, space.low).astype(np.float32),
        np.where(finite, 1, space.high).astype(np.float32),
        dtype=np.float32,
    )
    said = []
    if finite.any():
        ranges = [f"{a:g}..{b:g}" for a, b in zip(low[finite], high[finite], strict=True)]
        said.append(f"-1..1 -> {_few(list(dict.fromkeys(ranges)))}")
    if not finite.all():
        some = f"{int((~finite).sum())} of them " if finite.any() else ""
        half = (np.abs(low) < UNBOUNDED) != (np.abs(high) < UNBOUNDED)
        kept = "clipped at the bounds that there are" if half.any() else "unbounded"
        said.append(f"{some}as they are, {kept}")
    mapped = finite if finite.any() else None
    return ActionPlan(
        given=space, space=seen, mapped=mapped, logits=0, text="; ".join([count, *said])
    )


def _few(values: Any) -> str:
    each = [str(value) for value in np.ravel(np.asarray(values))]
    return ", ".join(each[:SHOWN]) + ", ..." * (len(each) > SHOWN)
