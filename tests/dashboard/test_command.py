"""``gala dashboard`` as people start it."""

import socket
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest
from made_run import MadeRun


def gala(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gala", "dashboard", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_it_serves_and_says_where(tmp_path: Path, serve) -> None:
    MadeRun(tmp_path / "a", records=2)
    assert httpx2.get(serve(tmp_path)).status_code == 200


def test_nothing_heavy_is_imported(tmp_path: Path) -> None:
    MadeRun(tmp_path / "a", records=2)
    code = (
        "import sys; from pathlib import Path; from gala.dashboard.server import create_app;"
        "from gala.dashboard import command, frozen;"
        f"frozen.freeze([Path({str(tmp_path / 'a')!r})]);"
        "print([m for m in ('torch', 'gymnasium', 'pydantic', 'matplotlib') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert found.stdout == "[]\n", found.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "nowhere: no such folder"),
        (["."], "holds no run"),
        (["a", "--host", "0.0.0.0"], "--host: 0.0.0.0 can be reached by others"),
        (["a", "--token", "short"], "--token: must have at least 8 characters"),
        (["a", "--port", "x"], "must be a whole number"),
        (["a", "--webhook", "x"], "--webhook: must be an address of http or https"),
        (["a", "--port", "70000"], "--port: must be at most 65535"),
        (["a", "--host", "no.such.host.invalid", "--token", "12345678"], "cannot listen at"),
    ],
)
def test_mistakes_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    (tmp_path / "a").mkdir()
    MadeRun(tmp_path / "a" / "run", records=2)
    monkeypatch.chdir(tmp_path)
    if arguments == ["."]:
        (tmp_path / "empty").mkdir()
        monkeypatch.chdir(tmp_path / "empty")
    found = gala(*arguments)
    assert found.returncode == 2 and found.stdout == ""
    assert said in found.stderr and found.stderr.count("\n") == 1


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    MadeRun(tmp_path / "a", records=2)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        found = gala(str(tmp_path), "--port", str(taken.getsockname()[1]))
    assert found.returncode == 2 and "Address already in use" in found.stderr
