"""``gala doctor`` as people and programs call it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gala import cli
from gala.doctor import command
from gala.doctor.clock import compare_clocks


def test_a_line_each_and_a_sum(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["doctor"]) == 0
    *lines, total = capsys.readouterr().out.splitlines()
    assert len(lines) == 7 and all(x.split()[0] in ("ok", "warning") for x in lines)
    assert "one host" in lines[-1] and total.endswith("0 wrong")


def test_something_wrong_is_exit_code_1_and_one_object(
    capsys: pytest.CaptureFixture[str], write_run: Any
) -> None:
    run = write_run("run", {0: [{}], 1: [{}]})
    (run / "config.yaml").unlink()
    assert cli.main(["doctor", str(run), "--json"]) == command.EXIT_WRONG == 1
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] is False and found["counts"]["wrong"] >= 1
    (wrong,) = [each for each in found["checks"] if each["name"] == "config.yaml"]
    assert wrong.keys() == {"name", "state", "message", "advice"} and wrong["state"] == "wrong"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere: no such run folder"),
        (["."], "holds no run"),
        (["a", "b"], "unrecognized arguments: b"),
        (["--store", "tcp://h:1"], "--rank: is needed to compare clocks"),
        (["--size", "2"], "--store: is needed"),
        (["--store", "h", "--rank", "0", "--size", "2"], "'h' is no store"),
        (["--store", "file:///x", "--rank", "0", "--size", "2"], "over tcp:// only"),
        (["--store", "tcp://h:1", "--rank", "2", "--size", "2"], "--rank: must be below"),
        (["--store", "tcp://h:1", "--rank", "0", "--size", "1"], "--size: must be at least 2"),
    ],
)
def test_bad_input_is_a_line_and_exit_code_2(
    arguments: list[str], message: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert cli.main(["doctor", *arguments]) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and message in shown.err and shown.err.count("\n") == 1


SKEWED = """
import sys, time
real, ahead = time.time, float(sys.argv[2])
time.time = lambda: real() + ahead
from gala.doctor.clock import compare_clocks
print(compare_clocks(sys.argv[1], 1, 2))
"""


@pytest.mark.parametrize(("ahead", "state"), [(0.0, "ok"), (20.0, "warning"), (-20.0, "warning")])
def test_clocks_of_two_processes(ahead: float, state: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    other = subprocess.Popen(
        [sys.executable, "-c", SKEWED, address, str(ahead)], stdout=subprocess.PIPE, text=True
    )
    found = compare_clocks(address, 0, 2)
    told, _ = other.communicate(timeout=60)
    assert found.state == state and other.returncode == 0
    if ahead:
        word = "ahead of" if ahead > 0 else "behind"
        assert f"{word} rank 0" in found.message and f"this host is 20000 ms {word}" in told
        assert "NTP" in found.advice
    else:
        assert "+- 0 ms" in found.message or "ms" in found.message


def test_a_host_that_does_not_come_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    found = compare_clocks(address, 0, 2, wait_s=0.2)
    assert found.state == "wrong" and "at the same time" in found.advice
