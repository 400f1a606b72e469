"""The ring of what happened: order, wrapping, restarts, damage, and no room on the disk."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from gala.telemetry.history import HEADER_BYTES, RECORD, History, Kind, begin_tick, read_history


@dataclass(frozen=True)
class Heard:
    incarnation: int
    version: int


def test_everything_is_read_back_in_order(tmp_path: Path) -> None:
    history = History(tmp_path / "h", incarnation=3, launch=2**63 - 1)
    history.step(7, 0.5)
    history.published(3_000_007, 0.25)
    history.mixed({2: 0.25, 1: 0.25}, {1: Heard(0, 11), 2: Heard(5, 12), 9: Heard(0, 0)})
    history.mixed(None, {})
    history.adopted(4, 1, 13)
    history.cut(begin_tick(3), 1e9 + 1 / 3)
    history.pushed(14, 2, 0.25, 0.5)
    history.pulled(6, Heard(1, 15), 3)
    assert read_history(tmp_path / "h").tolist() == [
        (Kind.BEGIN, 0, 3, 2**63 - 1, 0.0, 0),
        (Kind.STEP, 0, 3, 7, 0.5, 1),
        (Kind.PUBLISH, 0, 3, 3_000_007, 0.25, 2),
        # self keeps a half: a third of the way to the first, a quarter to the second
        (Kind.MIX, 1, 0, 11, pytest.approx(1 / 3), 3),
        (Kind.MIX, 2, 5, 12, 0.25, 4),
        (Kind.OPAQUE, 0, 3, 0, 0.0, 5),
        (Kind.ADOPT, 4, 1, 13, 1.0, 6),
        (Kind.CUT, 0, 3, -4, 1e9 + 1 / 3, 7),
        (Kind.PUSH, 2, 3, 14, 0.25, 8),
        (Kind.WEIGHT, 0, 3, 0, 0.5, 9),
        (Kind.PULL, 6, 1, 15, 3.0, 10),
    ]
    history.close()


@pytest.mark.parametrize("last", [1, 5, 16, 1000])
def test_a_ring_keeps_the_newest(tmp_path: Path, last: int) -> None:
    history = History(tmp_path / "h", incarnation=0, capacity=16)
    for update in range(100):
        history.step(update, float(update))
    found = read_history(tmp_path / "h", last)
    # the oldest one may be the one that is written now
    assert found["number"].tolist() == list(range(100 - min(last, 15), 100))
    assert os.path.getsize(tmp_path / "h") == HEADER_BYTES + 16 * RECORD.size
    history.close()


def test_the_next_incarnation_goes_on(tmp_path: Path) -> None:
    for incarnation in range(3):
        history = History(tmp_path / "h", incarnation=incarnation, capacity=8)
        history.step(incarnation, 1.0)
        history.close()
    found = read_history(tmp_path / "h")
    assert found["incarnation"].tolist() == [0, 0, 1, 1, 2, 2]


def test_another_launch_begins_anew(tmp_path: Path) -> None:
    """Its incarnations and versions are those of the one before."""
    for launch, incarnation in ((1, 0), (1, 1), (2, 0), (2, 1)):
        history = History(tmp_path / "h", incarnation=incarnation, launch=launch)
        history.step(10 * launch + incarnation, 1.0)
        history.close()
    found = read_history(tmp_path / "h")
    assert found["number"].tolist() == [2, 20, 2, 21]
    assert read_history(tmp_path / "h", 1)["number"].tolist() == [21]


def test_half_of_a_record_is_left_out(tmp_path: Path) -> None:
    """Its index, which is written last, is still that of the one before."""
    history = History(tmp_path / "h", incarnation=0, capacity=8)
    for update in range(1, 10):
        history.step(update, 1.0)
    data = bytearray((tmp_path / "h").read_bytes())
    at = HEADER_BYTES + 2 * RECORD.size
    data[at : at + 24] = RECORD.pack(Kind.MIX, 3, 0, 99, 0.5, 10)[:24]
    (tmp_path / "h").write_bytes(data)
    assert read_history(tmp_path / "h")["number"].tolist() == [3, 4, 5, 6, 7, 8, 9]
    history.close()


def test_a_record_that_is_overwritten_while_it_is_read_is_left_out(tmp_path: Path) -> None:
    history = History(tmp_path / "h", incarnation=0, capacity=8)
    for update in range(1, 8):
        history.step(update, 1.0)
    data = bytearray((tmp_path / "h").read_bytes())
    RECORD.pack_into(data, HEADER_BYTES + 2 * RECORD.size, Kind.STEP, 0, 0, 10, 1.0, 10)
    (tmp_path / "h").write_bytes(data)
    assert read_history(tmp_path / "h")["number"].tolist() == [3, 4, 5, 6, 7]
    history.close()


@pytest.mark.parametrize("content", [b"", b"GALAHIS1", b"x" * 100, os.urandom(4096)])
def test_what_is_no_history_is_empty_and_begun_anew(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "h").write_bytes(content)
    assert len(read_history(tmp_path / "h")) == 0
    history = History(tmp_path / "h", incarnation=0, capacity=8)
    assert len(read_history(tmp_path / "h")) == 1
    history.close()
    assert len(read_history(tmp_path / "missing")) == 0 and len(read_history(tmp_path)) == 0


def test_no_room_is_told_before_anything_is_written(tmp_path: Path) -> None:
    """A page that cannot be backed would end the process with SIGBUS later."""
    program = (
        "import sys; from gala.telemetry.history import History\n"
        "try: History(sys.argv[1], incarnation=0)\nexcept OSError: print('told')"
    )
    limit = 65536
    found = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "h"],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.stdout == "told\n", found.stderr


def test_numbers_are_kept_whole(tmp_path: Path) -> None:
    history = History(tmp_path / "h", incarnation=2**32 - 1)
    history.step(2**62, 1e-300)
    found = read_history(tmp_path / "h")[-1]
    assert found["number"] == 2**62 and found["value"] == 1e-300
    assert found["incarnation"] == 2**32 - 1 and found.dtype == np.dtype(found.dtype)
    history.close()
