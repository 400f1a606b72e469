"""One vector of float32 from what B environments give, in the order of Gymnasium's ``flatten``.

Gymnasium flattens one observation at a time; here all B are written at once into one array.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from gala.errors import UserError

Array = NDArray[Any]
Path = tuple[str | int, ...]
Choices = spaces.Discrete | spaces.MultiDiscrete

SUPPORTED = "supported: Box, Discrete, MultiDiscrete, MultiBinary, and Dict and Tuple of them"


@dataclass(frozen=True, kw_only=True)
class Part:
    """A space that has no parts of its own.

    Attributes:
        path: keys that lead to it from the whole observation; empty: it is the whole.
        space: Box, Discrete, MultiDiscrete or MultiBinary.
        width: numbers of the vector that it fills.
    """

    path: Path
    space: gymnasium.Space[Any]
    width: int

    @property
    def name(self) -> str:
        """Its keys, with dots between them."""
        return ".".join(map(str, self.path))

    def of(self, obs: Any) -> Array:
        """[B, ...], what the environments gave for it."""
        for key in self.path:
            obs = obs[key]
        return np.asarray(obs)


def parts_of(space: gymnasium.Space[Any], path: Path = ()) -> list[Part]:
    """The parts of ``space``, in Gymnasium's order.

    Raises:
        UserError: one of them has no fixed number of numbers.
    """
    if isinstance(space, spaces.Dict | spaces.Tuple):
        inner = space.spaces.items() if isinstance(space, spaces.Dict) else enumerate(space.spaces)
        return [part for key, each in inner for part in parts_of(each, (*path, key))]
    if isinstance(space, spaces.Box | spaces.MultiBinary):
        return [Part(path=path, space=space, width=math.prod(space.shape))]
    if isinstance(space, Choices):
        return [Part(path=path, space=space, width=int(sizes_of(space).sum()))]
    where = f"part {'.'.join(map(str, path))} of the observations, " if path else ""
    hint = f"{SUPPORTED}; a wrapper can leave it out" if path else SUPPORTED
    raise UserError(f"{where}observation space {space} is not supported", field="env.id", hint=hint)


def sizes_of(space: Choices) -> NDArray[np.int64]:
    """Int64[choices], how many values each choice has."""
    return np.asarray(
        space.n if isinstance(space, spaces.Discrete) else space.nvec, np.int64
    ).ravel()


def numbers_of(part: Part, obs: Any) -> NDArray[np.int64]:
    """Int64[B, choices], the values of its choices, from 0 on.

    Raises:
        UserError: a value that the space does not hold: it would be written among others.
    """
    space = part.space
    assert isinstance(space, Choices)
    given = part.of(obs)
    values = given.reshape(len(given), -1).astype(np.int64) - np.asarray(space.start).ravel()
    wrong = (values < 0) | (values >= sizes_of(space))
    if wrong.any():
        shown = given.reshape(len(given), -1)[wrong][0]
        raise UserError(f"the environments gave {shown}, outside of {space}", field="env.id")
    return values


def is_bytes(space: gymnasium.Space[Any]) -> bool:
    """Whether it holds bytes with the bounds 0 and 255, which are divided by 255."""
    if not isinstance(space, spaces.Box) or space.dtype != np.uint8:
        return False
    return bool((space.low == 0).all() and (space.high == 255).all())


class Flatten:
    """Float32[B, width] of all parts, one after the other.

    The result is written over by the next call; it is what was given where that is a vector of
    float32 already.

    Args:
        parts: in order.
    """

    def __init__(self, parts: tuple[Part, ...]) -> None:
        self._parts = parts
        self._width = sum(part.width for part in parts)
        self._alone = len(parts) == 1 and isinstance(parts[0].space, spaces.Box)
        self._alone &= not is_bytes(parts[0].space)
        self._out = np.zeros((0, self._width), np.float32)

    def __call__(self, obs: Any) -> NDArray[np.float32]:
        """[B, width]."""
        if self._alone:
            given = self._parts[0].of(obs)
            return given.reshape(len(given), -1).astype(np.float32, copy=False)
        count = len(self._parts[0].of(obs))
        if len(self._out) != count:
            self._out = np.zeros((count, self._width), np.float32)
        first = 0
        for part in self._parts:
            self._write(part, obs, self._out[:, first : first + part.width])
            first += part.width
        return self._out

    @staticmethod
    def _write(part: Part, obs: Any, out: NDArray[np.float32]) -> None:
        if isinstance(part.space, Choices):
            values = numbers_of(part, obs)
            sizes = sizes_of(part.space)
            out[:] = 0
            out[np.arange(len(out))[:, None], values + (np.cumsum(sizes) - sizes)] = 1
            return
        out[:] = part.of(obs).reshape(len(out), -1)
        if is_bytes(part.space):
            out *= np.float32(1 / 255)
