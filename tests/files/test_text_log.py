"""Logs are written where they can be, and read from their end."""

import os
from pathlib import Path

import pytest

from gala.files import text_log
from gala.files.text_log import append, tail


def test_the_end_begins_with_a_whole_line(tmp_path: Path) -> None:
    log = tmp_path / "log"
    for k in range(100):
        append(log, f"line {k}\n".encode())
    assert (tail(log, 10_000) or "").splitlines() == [f"line {k}" for k in range(100)]
    assert (tail(log, 20) or "").splitlines() == ["line 98", "line 99"]
    append(log, b"x" * 50)
    assert tail(log, 20) == "x" * 20


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    append(tmp_path / "log", b"\xff\n")
    assert tail(tmp_path / "log", 10) == "�\n"


def test_where_nothing_can_be_written_nothing_is(tmp_path: Path) -> None:
    append(tmp_path / "no" / "log", b"lost\n")
    assert tail(tmp_path / "no" / "log", 10) is None and tail(tmp_path, 10) is None


def test_nobody_is_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "log")  # opened as a file is, it would wait for who writes
    assert tail(tmp_path / "log", 10) is None


def test_a_log_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_log, "LARGEST", 10)
    for _ in range(5):
        append(tmp_path / "log", b"12345678\n")
    assert (tmp_path / "log").stat().st_size == 18
