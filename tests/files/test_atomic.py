"""Atomic files: whole or absent, old content kept when writing fails."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from gala.files import atomic
from gala.files.atomic import is_temporary, open_atomic, sync_folder, write_atomic


def test_writes_text_as_utf8_and_bytes_as_they_are(tmp_path: Path) -> None:
    assert write_atomic(tmp_path / "a.json", "ε ≤ 1\n") == tmp_path / "a.json"
    assert (tmp_path / "a.json").read_bytes() == "ε ≤ 1\n".encode()
    write_atomic(tmp_path / "b.bin", b"\x00\r\n\xff")
    assert (tmp_path / "b.bin").read_bytes() == b"\x00\r\n\xff"


def test_makes_missing_folders_and_leaves_no_temporary(tmp_path: Path) -> None:
    write_atomic(tmp_path / "rank_00" / "agent.json", "{}")
    assert os.listdir(tmp_path / "rank_00") == ["agent.json"]


def test_a_failing_block_keeps_the_old_content(tmp_path: Path) -> None:
    path = write_atomic(tmp_path / "meta.json", "old")
    with pytest.raises(ZeroDivisionError), open_atomic(path) as file:
        file.write(b"half of the new")
        file.flush()
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["meta.json"]


def test_the_name_appears_only_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "meta.json"
    with open_atomic(path) as file:
        file.write(b"new")
        file.flush()
        assert not path.exists()
        (unfinished,) = tmp_path.iterdir()
        assert is_temporary(unfinished)
    assert path.read_text() == "new"
    assert not is_temporary(path)


def test_content_is_on_the_disk_before_the_name_and_the_name_before_return(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    real_fsync, real_replace = os.fsync, os.replace

    def fsync(handle: int) -> None:
        folder = os.path.isdir(f"/proc/self/fd/{handle}") or os.fstat(handle).st_mode & 0o040000
        calls.append("fsync folder" if folder else "fsync file")
        real_fsync(handle)

    def replace(source: Path, target: Path) -> None:
        calls.append("replace")
        real_replace(source, target)

    monkeypatch.setattr(atomic.os, "fsync", fsync)
    monkeypatch.setattr(atomic.os, "replace", replace)
    write_atomic(tmp_path / "x", "content")
    assert calls == ["fsync file", "replace", "fsync folder"]


@pytest.mark.slow
def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    path = write_atomic(tmp_path / "x", b"0" * 50_000)
    torn: list[bytes] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            content = path.read_bytes()
            if len(content) != 50_000 or len(set(content)) != 1:
                torn.append(content)

    reader = threading.Thread(target=read)
    reader.start()
    for digit in range(200):
        write_atomic(path, str(digit % 10).encode() * 50_000)
    done.set()
    reader.join()
    assert torn == []


def test_a_folder_that_cannot_be_made_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        write_atomic(tmp_path / "file" / "x", "content")


def test_a_file_system_that_cannot_sync_folders_is_tolerated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fsync(handle: int) -> None:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(atomic.os, "fsync", fsync)
    sync_folder(tmp_path)
    with pytest.raises(OSError):  # but content that cannot be forced to the disk is an error
        write_atomic(tmp_path / "x", "content")
    assert os.listdir(tmp_path) == []
