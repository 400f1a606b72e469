"""``gala watch`` as people call it: in a pipe, in a terminal, on what is no run."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Any

import pytest

from gala import cli

Write = Any


@pytest.fixture
def run(write_run: Write) -> Path:
    record = {"t": time.time(), "charts/SPS": 25.0, "gossip/in/1/state": 1}
    path: Path = write_run("pong", {0: [record], 1: [record]}, total_steps=10**6)
    return path


@pytest.mark.parametrize("command", ["watch", "report"])
def test_no_name_in_a_run_of_others_steers_the_terminal(
    write_run: Write, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    rows = [{"t": time.time(), "event": "\x1b]0;title\x07", "message": "an \x9b2J \x1b[31mid"}]
    record = {"t": time.time(), "charts/SPS": 25.0}
    run = write_run("a\x1b[31m", {0: [record, *rows]}, env_id="Red-\x1b[2J-v0")
    assert cli.main([command, str(run)]) == 0
    told = capsys.readouterr()
    assert "Red-[2J-v0" in told.out
    assert not {"\x1b", "\x07", "\x9b"} & {*told.out, *told.err}


def test_one_frame_in_a_pipe(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["watch", str(run)]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("pong  CartPole-v1, 2 agents, gossip, seed 1")
    assert "\x1b" not in shown and "ring: 0<-1  1<-0" in shown
    assert cli.main(["watch", str(run.parent), "--once"]) == 0  # the only run below
    assert capsys.readouterr().out.startswith("pong  ")


def test_json(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["watch", str(run), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"facts", "steps", "steps_per_s", "over", "agents", "events", "problems"} == set(found)
    agent = found["agents"][0]
    assert agent["hears"] == {"1": ["active", None]} and agent["life"] == 1
    assert not {"incarnation", "in_neighbours"} & set(agent), "names of the output are fixed"


def read_until(terminal: int, words: str, seen: str = "") -> str:
    """Read from a terminal until it has shown ``words``; the test's own timeout is the end."""
    while words not in seen:
        ready, _, _ = select.select([terminal], [], [], 60)
        assert ready, f"no {words!r} in {seen!r}"
        seen += os.read(terminal, 65536).decode(errors="replace")
    return seen


def test_a_terminal_is_kept_up_to_date_until_the_run_is_over(run: Path) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 150, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color"}
    command = [sys.executable, "-m", "gala", "watch", str(run), "--every", "0.1"]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    try:
        read_until(ours, "0/1,000,000 steps")
        for rank in (0, 1):
            line = {"t": time.time(), "rank": rank, "step": 21_000, "charts/SPS": 5.0}
            with open(run / f"rank_{rank:02d}" / "metrics.jsonl", "a") as file:
                file.write(json.dumps(line) + "\n")
        read_until(ours, "42,000/1,000,000 steps")
        (run / "topology.json").unlink()
        read_until(ours, "topology.json cannot be read")
        for rank in (0, 1):
            line = {"t": time.time(), "rank": rank, "event": "done", "message": "done"}
            with open(run / f"rank_{rank:02d}" / "metrics.jsonl", "a") as file:
                file.write(json.dumps(line) + "\n")
        read_until(ours, "over")
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["RUN/nowhere"], "nowhere: no such folder"),
        (["RUN/rank_00"], "rank_00: holds no run"),
        (["RUN/.."], "holds several runs, one is watched (it has other, pong)"),
        (["RUN", "--every", "0"], "--every: must be a number above 0, got '0'"),
        ([], "the following arguments are required: run"),
    ],
)
def test_mistakes(
    arguments: list[str],
    words: str,
    run: Path,
    write_run: Write,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_run("other", {0: [{}]})
    assert cli.main(["watch", *(each.replace("RUN", str(run)) for each in arguments)]) == 2
    captured = capsys.readouterr()
    assert words in captured.err and captured.err.count("\n") == 1 and captured.out == ""


def test_nothing_heavy_is_loaded(run: Path) -> None:
    script = (
        "import sys\nfrom gala import cli\nassert cli.main(sys.argv[1:]) == 0\n"
        "heavy = {'torch', 'gymnasium', 'matplotlib', 'starlette', 'pydantic'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    command = [sys.executable, "-c", script, "watch", str(run), "--once"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
