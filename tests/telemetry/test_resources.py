"""Cores and memory of the process itself."""

import mmap
import time
from pathlib import Path

import pytest

from gala.telemetry import resources
from gala.telemetry.resources import Resources


def test_who_works_takes_a_core_and_who_waits_takes_none(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, clock = [2.0], [100.0]
    monkeypatch.setattr(resources, "_cpu_seconds", lambda: cpu[0])
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    found = Resources()
    cpu[0], clock[0] = 5.0, 102.0
    assert found.take()["system/cores"] == 1.5
    clock[0] = 104.0
    assert found.take()["system/cores"] == 0.0


def test_memory_is_what_is_resident() -> None:
    before = Resources().take()["system/memory_mb"]
    assert before is not None
    with mmap.mmap(-1, 64_000_000) as fresh:  # not from what was freed before
        fresh.write(b"1" * 64_000_000)
        after = Resources().take()["system/memory_mb"]
    assert after is not None and after - before > 50


@pytest.mark.parametrize("content", [None, "", "12", "a b c"])
def test_a_system_that_does_not_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    if content is not None:
        (tmp_path / "statm").write_text(content)
    monkeypatch.setattr(resources, "STATM", tmp_path / "statm")
    assert Resources().take()["system/memory_mb"] is None
