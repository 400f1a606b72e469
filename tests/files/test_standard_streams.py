"""Standard output that is full, closed, unread or knows few letters."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

PREPARE = "import sys, os; from gala.files import standard_streams; "


def run(code: str, redirect: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """``python -c CODE`` with a shell's redirections."""
    return subprocess.run(
        ["bash", "-c", f'exec "$0" -c "$1" {redirect}', sys.executable, PREPARE + code],
        capture_output=True, text=True, timeout=60, env=os.environ | environment,
    )  # fmt: skip


@pytest.mark.parametrize(
    "redirect", [">/dev/full", ">&-", ">/dev/full 2>/dev/full", ">&- 2>&- <&-"]
)
def test_forgiven_writes_do_not_fail_nor_the_way_out(redirect: str) -> None:
    code = """standard_streams.prepare(forgiving=True)
print("x" * 100_000, flush=True); print("y"); print("z", file=sys.stderr)
sys.exit(7)"""
    done = run(code, redirect)
    assert done.returncode == 7 and "Traceback" not in done.stderr


def test_the_failure_is_known_until_a_write_succeeds(tmp_path: Path) -> None:
    code = f"""standard_streams.prepare(forgiving=True)
print("lost", flush=True)
print(standard_streams.failure(sys.stdout).strerror, file=sys.stderr)
os.dup2(os.open({str(tmp_path / "log")!r}, os.O_WRONLY | os.O_CREAT), 1)
print("kept", flush=True)
print(standard_streams.failure(sys.stdout), file=sys.stderr)"""
    done = run(code, ">/dev/full")
    assert done.stderr.splitlines() == ["No space left on device", "None"]
    assert (tmp_path / "log").read_text() == "kept\n"


def test_files_do_not_take_the_place_of_closed_descriptors(tmp_path: Path) -> None:
    path = tmp_path / "records"
    code = f"""standard_streams.prepare()
file = open({str(path)!r}, "w"); os.write(1, b"out"); os.write(2, b"err"); print("out")
import subprocess; subprocess.run(["echo", "child"], check=True)"""
    done = run(code, ">&- 2>&- <&-")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert path.read_text() == ""


def test_a_reader_who_does_not_read_holds_nothing_up_when_forgiven() -> None:
    reader, writer = os.pipe()
    code = """standard_streams.prepare(forgiving=True)
for _ in range(100): print("x" * 10_000, flush=True)
print(type(standard_streams.failure(sys.stdout)).__name__, file=sys.stderr)"""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", PREPARE + code],
        stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60,
    )  # fmt: skip
    os.close(writer)
    os.close(reader)
    assert done.stderr == "BlockingIOError\n" and time.monotonic() - began < 30


@pytest.mark.parametrize(
    "environment",
    [
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "ascii:strict"},
    ],
)
def test_letters_that_cannot_be_shown_are_replaced(environment: dict[str, str]) -> None:
    code = (
        r"""standard_streams.prepare(); print("a\u2500\udcffb"); print("\u2500", file=sys.stderr)"""
    )
    done = run(code, **environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, "a??b\n", "\\u2500\n")


def test_once_more_does_no_harm() -> None:
    code = (
        "standard_streams.prepare(); print(1); standard_streams.prepare(forgiving=True); print(2)"
    )
    assert run(code).stdout == "1\n2\n"


def test_complaints_are_copied_to_a_log(tmp_path: Path) -> None:
    """Also those that nobody hears, and the traceback of who dies."""
    code = f"""from pathlib import Path
standard_streams.prepare(); standard_streams.copy_errors(Path({str(tmp_path / "log")!r}))
print("heard", file=sys.stderr); print("no complaint")
os.dup2(os.open("/dev/full", os.O_WRONLY), 2)
print("ünheard", file=sys.stderr)
raise KeyError("dies")"""
    done = run(code, PYTHONIOENCODING="utf-8")
    assert (done.stdout, done.stderr) == ("no complaint\n", "heard\n")
    text = (tmp_path / "log").read_text()
    assert text.startswith("heard\nünheard\nTraceback") and text.endswith("KeyError: 'dies'\n")
