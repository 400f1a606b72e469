"""Files that are none, or too much, are one line at once; nobody waits for them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sized
from pathlib import Path

import pytest

from gala.cli import main
from gala.errors import UserError
from gala.files.bounded import read_bounded
from gala.telemetry.history import read_history
from gala.telemetry.reader import Tail
from gala.telemetry.sketches import read_sketches

KINDS: dict[str, Callable[[Path], object]] = {
    "is no regular file": os.mkfifo,
    "is a folder": Path.mkdir,
    "no such file": lambda path: None,
    "the limit is 1 MiB": lambda path: path.write_bytes(b"x" * (2**20 + 1)),
}


def within(seconds: float, call: Callable[[], object]) -> None:
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), "it waits"


@pytest.mark.parametrize("rule", KINDS)
def test_what_is_no_file_or_too_much(tmp_path: Path, rule: str) -> None:
    path = tmp_path / "file"
    KINDS[rule](path)
    said: list[str] = []

    def read() -> None:
        try:
            read_bounded(path, 2**20)
        except UserError as error:
            said.append(str(error))

    within(20, read)
    assert len(said) == 1 and rule in said[0] and str(path) in said[0] and "\n" not in said[0]


def test_devices_have_no_end() -> None:
    for device in ("/dev/zero", "/dev/tty", "/dev/null"):
        with pytest.raises(UserError):
            read_bounded(device, 100)


def test_a_file_of_the_limit_is_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100)
    assert read_bounded(path, 100) == b"x" * 100
    with pytest.raises(UserError, match="the limit"):
        read_bounded(path, 99)
    with pytest.raises(UserError, match="cannot be read"):
        read_bounded("a\0b", 99)


@pytest.mark.parametrize("name", ["fifo", "fifo.yaml", "folder.yaml", "/dev/zero", "/dev/null"])
@pytest.mark.parametrize(
    "command",
    [["topology", "{}"], ["train", "{}"], ["train", "--topology", "{}"],
     ["train", "--resume", "{}"], ["simulate", "{}", "--agents", "4"], ["report", "{}"],
     ["eval", "{}"]],
)  # fmt: skip
def test_commands_say_so_in_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: list[str],
    name: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("fifo"), os.mkfifo("fifo.yaml"), os.mkdir("folder.yaml")
    codes: list[object] = []

    def run() -> None:
        try:
            codes.append(main([word.format(name) for word in command]))
        except SystemExit as end:
            codes.append(end.code)

    within(30, run)
    assert codes == [2], capsys.readouterr()
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert "Traceback" not in last and name in last


def test_a_run_folder_with_a_pipe_in_place_of_its_files(tmp_path: Path) -> None:
    from gala.run.folder import RunFolder
    from gala.telemetry.reader import read_json

    os.mkfifo(tmp_path / "meta.json")
    within(20, lambda: read_json(tmp_path / "meta.json"))
    with pytest.raises(UserError, match="no readable meta"):
        RunFolder(tmp_path).read_meta()


@pytest.mark.parametrize("empty", [read_sketches, read_history, lambda path: Tail(path).read()])
def test_records_with_a_pipe_in_their_place_are_none(
    tmp_path: Path, empty: Callable[[Path], Sized]
) -> None:
    os.mkfifo(tmp_path / "records")
    found: list[int] = []
    within(20, lambda: found.append(len(empty(tmp_path / "records"))))
    assert found == [0]
