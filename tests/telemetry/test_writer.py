"""Metrics files survive crashes and full disks."""

import json
import math
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from gala.telemetry.writer import MetricsWriter


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_records_and_events_are_stamped(tmp_path: Path) -> None:
    path = tmp_path / "rank_02" / "metrics.jsonl"
    writer = MetricsWriter(path, rank=2, incarnation=1)
    writer.record({"charts/SPS": 12.5, "gossip/mixes": 3}, update=4, step=80)
    writer.event("checkpoint", "update_4.pt", update=4, step=80)
    writer.close()
    record, event = lines(path)
    stamp = {"v": 1, "rank": 2, "incarnation": 1, "update": 4, "step": 80}
    assert stamp.items() <= record.items() and stamp.items() <= event.items()
    assert record["charts/SPS"] == 12.5 and record["gossip/mixes"] == 3
    assert (event["event"], event["message"]) == ("checkpoint", "update_4.pt")
    assert isinstance(record["t"], float)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None])
def test_what_is_not_a_number_is_null(tmp_path: Path, value: float | None) -> None:
    writer = MetricsWriter(tmp_path / "m.jsonl", rank=0)
    writer.record({"x": value}, update=0, step=0)
    writer.close()
    assert lines(tmp_path / "m.jsonl")[0]["x"] is None


def test_a_half_line_of_a_crash_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text('{"a": 1}\n{"b": ')
    writer = MetricsWriter(path, rank=0)
    writer.record({"c": 2}, update=0, step=0)
    writer.close()
    first, broken, last = path.read_text().splitlines()
    assert json.loads(first) == {"a": 1} and broken == '{"b": ' and json.loads(last)["c"] == 2


def test_a_full_disk_costs_records_not_the_run(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    program = f"""
import resource, signal
from pathlib import Path
from gala.telemetry.writer import MetricsWriter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from gala.telemetry.guard import Guard
told = []
writer = Guard("m", lambda: MetricsWriter(Path({str(path)!r}), rank=0), tell=told.append)
record = lambda x: writer.use(lambda file: file.record({{"x": x}}, update=0, step=0), now=True)
record(1)
resource.setrlimit(resource.RLIMIT_FSIZE, (150, {resource.RLIM_INFINITY}))
for _ in range(5):
    record(1)
resource.setrlimit(resource.RLIMIT_FSIZE, ({resource.RLIM_INFINITY}, {resource.RLIM_INFINITY}))
record(7)
print(writer.lost)
print(*told, sep="\\n")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines() == [
        "5",
        "m: File too large (left out until it works again)",
        "m: works again; 5 left out",
    ]
    text = path.read_text().splitlines()
    assert json.loads(text[0])["x"] == 1 and json.loads(text[-1])["x"] == 7
