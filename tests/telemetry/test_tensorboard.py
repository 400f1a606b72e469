"""TensorBoard reads back what was written."""

from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from gala.telemetry.tensorboard import TensorBoardSink


def test_scalars(tmp_path: Path) -> None:
    sink = TensorBoardSink(tmp_path)
    sink.record({"charts/SPS": 10.0, "losses/entropy": None, "x": float("nan")}, step=80)
    sink.record({"charts/SPS": 12.0}, step=160)
    sink.close()
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert events.Tags()["scalars"] == ["charts/SPS"]
    assert [(e.step, e.value) for e in events.Scalars("charts/SPS")] == [(80, 10.0), (160, 12.0)]
