"""The file of sketches: fixed records that a crash cannot spoil."""

from pathlib import Path

import numpy as np
import pytest

from gala.telemetry.sketches import HEADER, SketchWriter, read_sketches, record_dtype


def fields(tick: int, size: int = 16) -> dict[str, object]:
    return {
        "t": 1.5, "tick": tick, "update": 2 * tick, "step": 3, "incarnation": 0, "norm": 4.0,
        "update_norm": 5.0, "mix_every": 6, "delay": 7,
        "sketch": np.arange(size, dtype=np.float32),
    }  # fmt: skip


def write(path: Path, ticks: range, size: int = 16) -> None:
    writer = SketchWriter(path, size)
    for tick in ticks:
        writer.append(**fields(tick, size))
    writer.close()


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "sketches.bin"
    write(path, range(5))
    found = read_sketches(path)
    assert found["tick"].tolist() == [0, 1, 2, 3, 4]
    assert found[3]["update"] == 6 and found[3]["norm"] == 4.0
    assert found[0]["sketch"].tolist() == list(range(16))
    assert read_sketches(path, last=2)["tick"].tolist() == [3, 4]
    assert path.stat().st_size == HEADER.size + 5 * record_dtype(16).itemsize


def test_a_file_is_continued(tmp_path: Path) -> None:
    path = tmp_path / "sketches.bin"
    write(path, range(2))
    write(path, range(2, 4))
    assert read_sketches(path)["tick"].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("cut", [1, 30, 100])
def test_a_half_record_is_ignored_and_then_overwritten(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "sketches.bin"
    write(path, range(3))
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size - cut)
    assert read_sketches(path)["tick"].tolist() == [0, 1]
    write(path, range(7, 8))
    assert read_sketches(path)["tick"].tolist() == [0, 1, 7]


def test_another_size_starts_anew(tmp_path: Path) -> None:
    path = tmp_path / "sketches.bin"
    write(path, range(3))
    write(path, range(1), size=32)
    assert read_sketches(path)["sketch"].shape == (1, 32)


@pytest.mark.parametrize("content", [b"", b"GALA", b"x" * 500])
def test_what_is_no_sketch_file_is_empty(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "sketches.bin"
    path.write_bytes(content)
    assert len(read_sketches(path)) == 0
    assert len(read_sketches(tmp_path / "missing")) == 0


def test_every_field_is_needed(tmp_path: Path) -> None:
    writer = SketchWriter(tmp_path / "s", 16)
    with pytest.raises(AssertionError):
        writer.append(t=1.0)
    writer.close()
