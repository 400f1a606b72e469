"""What becomes of observations, decided in this one place from space, bounds and dtype.

- *picture*: channels x height x width. Booleans, and integers within 0..255, are bytes, whose space
  says in ``high`` what stands for 1; other pixels are float32, their finite bounds 0 and 1.
- *vector*: one axis of float32. A Box is flattened and otherwise stays as it is (bytes with bounds
  0..255 are divided by 255), so does MultiBinary; each choice of Discrete and MultiDiscrete is
  one-hot; Dict and Tuple are their parts, one after the other, in the order of Gymnasium's
  ``flatten``.
- *index*: the number of a state, from 0 on, where there are too many for one-hot.

Where actions are choices, a field ``action_mask`` of a Dict is a mask and not observed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from gala.envs.flattening import Choices, Flatten, Part, is_bytes, numbers_of, parts_of, sizes_of
from gala.envs.masks import MASK
from gala.envs.pictures import Picture, has_range, picture_of, times
from gala.errors import UserError

Array = NDArray[Any]
Convert = Callable[[Any], Array]

ONE_HOT = 4096
"""Values up to which a choice is one-hot, numbers up to which a picture is a part of a vector."""
STATES = 1_000_000
"""States up to which one is looked up by its number: each has a row of parameters."""
LARGE = 100.0
"""Bounds of vectors from which the opening block speaks of normalisation."""


@dataclass(frozen=True, kw_only=True)
class ObservationPlan:
    """What becomes of the observations of one kind of environments.

    Attributes:
        kind: picture, vector or index, see the module.
        space: what the network sees of one environment.
        parts: where it comes from; more than one only in vectors.
        picture: how a picture lies in memory.
        bounds: of given pixels, which become 0 and 1 in float32; None: they stay as they are.
        added: channels of zeros behind those of a picture.
        text: the decision, for the opening block.
    """

    kind: Literal["picture", "vector", "index"]
    space: gymnasium.Space[Any]
    parts: tuple[Part, ...]
    picture: Picture | None = None
    bounds: tuple[float, float] | None = None
    added: int = 0
    text: str

    def converter(self) -> Convert:
        """From what B environments give to [B, ...] of :attr:`space`, valid until the next call.

        Vectors of float32 and bytes are not copied (stacked colour frames are, once).
        """
        part = self.parts[0]
        if self.kind == "index":
            return lambda obs: numbers_of(part, obs)[:, 0]
        if self.picture is None:
            return Flatten(self.parts)
        return self._padded if self.added else self._pixels

    def _padded(self, obs: Any) -> Array:
        seen = self._pixels(obs)
        whole = np.zeros((len(seen), *(self.space.shape or ())), seen.dtype)
        whole[:, : -self.added] = seen
        return whole

    def _pixels(self, obs: Any) -> Array:
        assert self.picture is not None
        given = self.parts[0].of(obs)
        order = (0, *(axis + 1 for axis in self.picture.axes))
        x = given.transpose(order).reshape(len(given), *self.picture.shape)
        if self.bounds is not None:
            low, high = self.bounds
            return ((x - np.float32(low)) * np.float32(1 / (high - low))).astype(np.float32)
        assert self.space.dtype is not None
        return x.astype(self.space.dtype, copy=False)


def plan_observations(
    space: gymnasium.Space[Any],
    *,
    channels: str = "auto",
    masked: bool = False,
    pad: int | None = None,
) -> ObservationPlan:
    """Decide what becomes of observations.

    Args:
        space: of one environment.
        channels: the user's word on them, see :func:`~gala.envs.pictures.picture_of`.
        masked: whether a field ``action_mask`` is a mask.
        pad: channels that a picture is to have, ``env.pad_channels``; None: its own.

    Raises:
        UserError: a space that is not supported, or that can be read in more than one way.
    """
    parts = tuple(part for part in parts_of(space) if not (masked and part.path[:1] == (MASK,)))
    if not sum(part.width for part in parts):
        raise UserError(f"observation space {space} holds no numbers", field="env.id")
    alone = parts[0].space if len(parts) == 1 else None
    if isinstance(alone, spaces.Box):
        picture = picture_of(alone, channels)
        if picture is not None:
            return _pixels(parts[0], alone, picture, pad)
    if pad is not None:
        rule = f"observations of {space} are no picture, and have no channels"
        raise UserError(rule, field="env.pad_channels", hint="null")
    if isinstance(alone, spaces.Box):
        return _vector(parts)
    if channels in ("first", "last"):
        rule = f"observation space {space} is not one picture"
        raise UserError(rule, field="env.channels", hint="auto")
    if isinstance(alone, spaces.Discrete) and alone.n > ONE_HOT:
        return _index(parts[0], int(alone.n))
    for part in parts:
        _require_narrow(part, channels)
    return _vector(parts)


def _pixels(part: Part, space: spaces.Box, picture: Picture, pad: int | None) -> ObservationPlan:
    count, *sides = picture.shape
    added = 0 if pad is None else pad - count
    if added < 0:
        rule = f"must be at least the {count} channels that there are, got {pad}"
        raise UserError(rule, field="env.pad_channels", hint=str(count))
    shape = (count + added, *sides)
    low, high = float(space.low.min()), float(space.high.max())
    whole = has_range(space) and space.dtype.kind in "bui" and low >= 0 and high <= 255
    bounds = None
    seen: spaces.Box
    if whole:
        high = max(high, 1.0)
        seen = spaces.Box(0, int(high), shape, np.uint8)
        scale = f"0..{high:g} -> 0..1"
    elif has_range(space):
        seen = spaces.Box(0.0, 1.0, shape, np.float32)
        bounds = (low, high) if (low, high) != (0.0, 1.0) else None
        scale = f"{low:g}..{high:g} -> 0..1"
    else:
        seen = spaces.Box(-np.inf, np.inf, shape, np.float32)
        scale = "no common bounds: as they are"
    text = (
        f"{_kind(space)}, {picture.place}: {count} channel{'s' * (count > 1)} of "
        f"{times(tuple(sides))}, {scale}" + f", and {added} of zeros" * (added > 0)
    )
    return ObservationPlan(
        kind="picture",
        space=seen,
        parts=(part,),
        picture=picture,
        bounds=bounds,
        added=added,
        text=text,
    )


def _vector(parts: tuple[Part, ...]) -> ObservationPlan:
    width = sum(part.width for part in parts)
    unit = all(not isinstance(part.space, spaces.Box) or is_bytes(part.space) for part in parts)
    low, high = (0.0, 1.0) if unit else (-np.inf, np.inf)
    if len(parts) == 1:
        text = f"{_kind(parts[0].space)} -> {width} numbers{_scale(parts[0].space)}"
    else:
        named = "; ".join(f"{p.name} {p.width} ({_kind(p.space)}{_scale(p.space)})" for p in parts)
        text = f"{len(parts)} parts -> {width} numbers: {named}"
    seen = spaces.Box(low, high, (width,), np.float32)
    return ObservationPlan(kind="vector", space=seen, parts=parts, text=text)


def _index(part: Part, states: int) -> ObservationPlan:
    if states > STATES:
        raise UserError(
            f"{states:,} states are too many to learn each by itself",
            field="env.id",
            hint=f"at most {STATES:,}; a wrapper can describe a state by a few numbers",
        )
    text = f"one of {states:,} states, by its number"
    return ObservationPlan(kind="index", space=spaces.Discrete(states), parts=(part,), text=text)


def _require_narrow(part: Part, channels: str) -> None:
    """A part of a vector beside others is no picture, and no choice of very many."""
    space = part.space
    if isinstance(space, Choices) and sizes_of(space).max() > ONE_HOT:
        rule = (
            f"{part.name or space}: a choice of {sizes_of(space).max():,} is too wide for one-hot"
        )
        raise UserError(rule, field="env.id", hint=f"at most {ONE_HOT:,}")
    large = isinstance(space, spaces.Box) and len(space.shape) > 1 and part.width > ONE_HOT
    if large and channels != "none":
        assert space.shape is not None
        raise UserError(
            f"observations hold a picture ({part.name}, {times(space.shape)}) and other parts",
            field="env.id",
            hint="keep one with a wrapper such as gymnasium.wrappers.FilterObservation, or "
            "flatten all: --env.channels none",
        )


def _kind(space: gymnasium.Space[Any]) -> str:
    """A space in few words: ``84x84x3 bytes``."""
    if isinstance(space, spaces.Discrete):
        return f"one of {int(space.n):,}, one-hot"
    if isinstance(space, spaces.MultiDiscrete):
        return f"{sizes_of(space).size} choices, one-hot"
    if isinstance(space, spaces.MultiBinary):
        return f"{times(space.shape)} bits"
    assert space.shape is not None
    names = {"uint8": "bytes", "bool": "booleans"}
    return f"{times(space.shape)} {names.get(str(space.dtype), str(space.dtype))}"


def _scale(space: gymnasium.Space[Any]) -> str:
    if is_bytes(space):
        return ", 0..255 -> 0..1"
    if not isinstance(space, spaces.Box) or not space.low.size:
        return ""
    bounds = np.abs([float(space.low.min()), float(space.high.max())]).max()
    return f", up to {bounds:g} as they are" if LARGE < bounds < np.inf else ""
