"""TensorBoard event files: one run per agent, below ``tensorboard/`` of the run folder."""

from __future__ import annotations

import io
import itertools
import math
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.text import metadata as text_plugin
from tensorboard.summary.writer.record_writer import RecordWriter
from tensorboard.util.tensor_util import make_tensor_proto

from gala.files.appending import append_whole, open_to_append, require_at

BALL = ("ball/distance", "ball/lower", "ball/bound")
"""A distance and what it must lie between. TensorBoard draws them as a margin, for which all three
must have points at the same steps; ``divergence/epsilon`` may begin late and have gaps."""


_names = itertools.count()


def event_file_name() -> str:
    """A name by which TensorBoard knows an event file; newer ones sort behind older ones."""
    host = socket.gethostname()
    return f"events.out.tfevents.{int(time.time()):010d}.{host}.{os.getpid()}.{next(_names)}"


class TensorBoardSink:
    """Writes one run of TensorBoard; the x axis is the writer's environment steps.

    TensorBoard's own writer has a thread that dies of a full disk, with a traceback.

    Args:
        folder: of the run.
        name: of the event file, which is continued when it is there; None: a new one.

    Raises:
        OSError: from each method, too: the file cannot be written, or has gone from its place.
    """

    def __init__(self, folder: Path, name: str | None = None) -> None:
        self._path = folder / (name or event_file_name())
        self._fd = open_to_append(self._path)
        try:
            if os.fstat(self._fd).st_size == 0:
                self._append(Event(wall_time=time.time(), file_version="brain.Event:2"))
        except BaseException:
            self.close()
            raise

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
        self._append(Event(wall_time=time.time(), step=step, summary=summary))

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    def _append(self, event: Event) -> None:
        require_at(self._fd, self._path)
        record = io.BytesIO()
        RecordWriter(record).write(event.SerializeToString())
        append_whole(self._fd, record.getvalue())


def within(distance: float | None, bound: float | None) -> dict[str, float | None]:
    """The three values of :data:`BALL`; nothing where one of them is not known."""
    if distance is None or bound is None or not math.isfinite(distance + bound):
        return {}
    return dict(zip(BALL, (distance, 0.0, bound), strict=True))
