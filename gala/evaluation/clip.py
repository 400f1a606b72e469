"""A whole game as a short moving picture, for pages that show no video."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_PICTURES = 240
PICTURES_PER_S = 15
MAX_SIZE = 240
"""Pixels along the longer side."""


class Clip:
    """Collects the pictures of a game of unknown length; of a long one only each n-th is kept.

    Args:
        limit: pictures to keep at most.
    """

    def __init__(self, limit: int = MAX_PICTURES) -> None:
        assert limit >= 2
        self._limit, self._every, self._seen = limit, 1, 0
        self.pictures: list[NDArray[np.uint8]] = []

    def add(self, frame: NDArray[np.uint8]) -> None:
        """Take the next picture, UInt8[H, W, 3]."""
        if self._seen % self._every == 0:
            if len(self.pictures) == self._limit:
                del self.pictures[1::2]
                self._every *= 2
            if self._seen % self._every == 0:
                step = -(-max(frame.shape[:2]) // MAX_SIZE)
                self.pictures.append(np.ascontiguousarray(frame[::step, ::step]))
        self._seen += 1

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        height, width = self.pictures[0].shape[:2]
        return width, height

    def gif(self) -> bytes:
        """The pictures as a GIF file that repeats; needs the video extra."""
        import imageio.v2 as imageio

        file = io.BytesIO()
        options: dict[str, Any] = {"duration": 1000 / PICTURES_PER_S, "loop": 0}
        imageio.mimwrite(file, self.pictures, format="GIF", **options)  # type: ignore[arg-type]
        return file.getvalue()
