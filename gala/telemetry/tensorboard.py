"""TensorBoard event files: one run per agent, below ``tensorboard/`` of the run folder."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter


class TensorBoardSink:
    """Writes scalars of one agent; the x axis is that agent's environment steps."""

    def __init__(self, folder: Path) -> None:
        self._writer = EventFileWriter(str(folder))

    def record(self, values: Mapping[str, float | None], *, step: int) -> None:
        """One point of each metric that has a finite value."""
        scalars = [
            Summary.Value(tag=name, simple_value=value)
            for name, value in values.items()
            if value is not None and math.isfinite(value)
        ]
        event = Event(wall_time=time.time(), step=step, summary=Summary(value=scalars))
        self._writer.add_event(event)

    def close(self) -> None:
        """Write what is pending."""
        self._writer.close()
