"""Whether a Box holds pictures, and which of its axes are channels, height and width.

A picture has two sides and, beside them, channels; the sides are neighbours, so that the channels
come first or last. A fourth axis in front holds stacked frames, whose channels are put one after
the other. Equal sides tell where the channels are (84x84x6, 8x8x111); else an axis that is at most
half of both others is the channels (210x160x3). What neither tells is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from gymnasium import spaces

from gala.errors import UserError

SMALLEST = 3
"""Pixels of a side: one filter of small-cnn."""
PLAIN = 36
"""Pixels of a side from which a matrix, or numbers without bounds, are taken for a picture."""
WIDEST = 65_535
"""Range of bounds up to which they are taken for the range of a pixel."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """How pictures lie in memory, and what their pixels become.

    Attributes:
        axes: of one picture as it is given: those of the channels (stack, colours), height, width.
        shape: channels, height and width, as networks see it.
        place: where the channels were found, for the opening block.
    """

    axes: tuple[int, ...]
    shape: tuple[int, int, int]
    place: str


def picture_of(space: spaces.Box, channels: str) -> Picture | None:
    """How ``space`` holds pictures; None: it holds vectors.

    Args:
        space: of one observation.
        channels: ``env.channels``: auto, first, last, or none for vectors whatever it looks like.

    Raises:
        UserError: the axis of the channels cannot be told, or there is none to be named.
    """
    shape, count = space.shape, len(space.shape)
    if channels == "none":
        return None
    if channels != "auto":
        if count not in (2, 3, 4):
            rule = f"observations of shape {times(shape)} are no pictures"
            raise UserError(rule, field="env.channels", hint="auto, or none")
        return _picture(shape, channels)
    if count < 2 or np.prod(shape) == 0:
        return None
    plain = has_range(space)
    if count == 2:
        return _picture(shape, "last") if plain and min(shape) >= PLAIN else None
    place = _told(shape)
    if plain:
        if sum(n >= SMALLEST for n in shape[-3:]) < 2:
            return None
    elif place is None or min(_picture(shape, place).shape[1:]) < PLAIN:
        if min(shape[-3:]) < PLAIN:
            return None  # numbers of features, rather
        place = None
    if place is None:
        rule = f"which axis of observations of shape {times(shape)} holds the channels?"
        if count > 4:
            rule = f"pictures have 2 to 4 axes, observations have {count} ({times(shape)})"
        say = "none: flatten them" if count > 4 else "say first, last, or none: flatten them"
        raise UserError(rule, field="env.channels", hint=say)
    picture = _picture(shape, place)
    return picture if min(picture.shape[1:]) >= SMALLEST else None


def has_range(space: spaces.Box) -> bool:
    """Whether all numbers have the same finite bounds, as pixels do; bytes and booleans always."""
    if space.dtype in (np.bool_, np.uint8):
        return True
    low, high = float(space.low.min()), float(space.high.max())
    same = bool((space.low == low).all() and (space.high == high).all())
    return same and 0 < high - low <= WIDEST


def _told(shape: tuple[int, ...]) -> str | None:
    """``first``, ``last``, or None where the shape does not tell."""
    if len(shape) > 4:
        return None
    first, middle, last = shape[-3:]
    place = None
    if (first == middle) != (middle == last):
        place = "last" if first == middle else "first"
    elif 2 * last <= min(first, middle):
        place = "last"
    elif 2 * first <= min(middle, last):
        place = "first"
    if place is not None and len(shape) == 4:
        sides = _picture(shape, place).shape[1:]
        return place if shape[0] < min(sides) else None  # else a side stands where frames should
    return place


def _picture(shape: tuple[int, ...], place: str) -> Picture:
    count = len(shape)
    if count == 2:
        height, width = shape
        return Picture(axes=(0, 1), shape=(1, height, width), place="no channels")
    stack = tuple(range(count - 3))
    rest = (count - 3, count - 2, count - 1)
    axes = (*stack, *(rest if place == "first" else (rest[2], rest[0], rest[1])))
    *many, height, width = (shape[axis] for axis in axes)
    where = f"channels {place}" + (f", {shape[0]} frames" if stack else "")
    return Picture(axes=axes, shape=(int(np.prod(many)), height, width), place=where)


def times(shape: tuple[int, ...]) -> str:
    """A shape in words: ``84x84x3``; ``1`` for that of one number."""
    return "x".join(map(str, shape)) or "1"
