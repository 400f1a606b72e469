"""TensorBoard event files: one run per agent, below ``tensorboard/`` of the run folder."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.text import metadata as text_plugin
from tensorboard.summary.writer.event_file_writer import EventFileWriter
from tensorboard.util.tensor_util import make_tensor_proto

BALL = ("ball/distance", "ball/lower", "ball/bound")
"""A distance and what it must lie between. TensorBoard draws them as a margin, for which all three
must have points at the same steps; ``divergence/epsilon`` may begin late and have gaps."""


class TensorBoardSink:
    """Writes one run of TensorBoard; the x axis is the writer's environment steps."""

    def __init__(self, folder: Path) -> None:
        self._writer = EventFileWriter(str(folder))

    def record(self, values: Mapping[str, float | None], *, step: int) -> None:
        """One point of each metric that has a finite value, and of the ball where it has a size."""
        distance, bound = values.get("divergence/to_mean"), values.get("divergence/epsilon")
        values = {**within(distance, bound), **values}
        scalars = [
            Summary.Value(tag=name, simple_value=value)
            for name, value in values.items()
            if value is not None and math.isfinite(value)
        ]
        self.add(Summary(value=scalars), step=step)

    def text(self, name: str, markdown: str, *, step: int = 0) -> None:
        """A text in Markdown."""
        value = Summary.Value(
            tag=name,
            metadata=text_plugin.create_summary_metadata(name, ""),
            tensor=make_tensor_proto(markdown),
        )
        self.add(Summary(value=[value]), step=step)

    def image(self, name: str, encoded: bytes, *, width: int, height: int, step: int) -> None:
        """A picture as a PNG or (moving) GIF file; width and height in pixels."""
        image = Summary.Image(
            width=width, height=height, colorspace=3, encoded_image_string=encoded
        )
        self.add(Summary(value=[Summary.Value(tag=name, image=image)]), step=step)

    def add(self, summary: Summary, *, step: int) -> None:
        """Anything that TensorBoard and its plugins know."""
        self._writer.add_event(Event(wall_time=time.time(), step=step, summary=summary))

    def close(self) -> None:
        """Write what is pending."""
        self._writer.close()


def within(distance: float | None, bound: float | None) -> dict[str, float | None]:
    """The three values of :data:`BALL`; nothing where one of them is not known."""
    if distance is None or bound is None or not math.isfinite(distance + bound):
        return {}
    return dict(zip(BALL, (distance, 0.0, bound), strict=True))
