"""The command line: dispatch, help, and mistakes in one line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gala import __version__, cli
from gala.train import take_agents


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert cli.main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    return captured.err


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 0 == cli.main(["--help"])
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown for name in cli.COMMANDS)


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_tells_its_options(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        assert cli.main([name, "--help"]) == 0
    except SystemExit as left:  # argparse's own way
        assert left.code == 0
    shown = capsys.readouterr().out
    assert "usage" in shown.lower() and f"gala {name}" in shown


OWN = """
from dataclasses import dataclass
from gala.learning.a2c import A2C
from gala.learning.a2c_config import A2CConfig

@dataclass(frozen=True, kw_only=True)
class Boosted(A2CConfig):
    boost: float = 2.0

class Mine(A2C):
    Config = Boosted
"""


def test_help_tells_the_options_of_an_own_algorithm_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "helped.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["train", "cartpole", "--help", "--algorithm", "helped:Mine"]) == 0
    assert "--mine.boost FLOAT" in capsys.readouterr().out
    assert cli.main(["train", "--algorithm=nope", "-h"]) == 2
    assert "no algorithm is named 'nope'" in capsys.readouterr().err


def test_help_needs_no_torch() -> None:
    for words in ([], ["--help"], *([name, "--oops"] for name in ("eval", "bench", "topology"))):
        script = f"import sys; from gala import cli; cli.main({words}); "
        script += "assert not {'torch', 'gymnasium', 'matplotlib'} & set(sys.modules)"
        subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, timeout=60)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"gala {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["trian"], "no command is named 'trian' (did you mean 'train'?)"),
        (["eval"], "the following arguments are required: run (see gala eval --help)"),
        (["eval", "/nowhere"], "/nowhere: no such run folder"),
        (["eval", "x", "--episodes", "many"], "argument --episodes"),
        (
            ["simulate", "--agents", "4", "--loss", "1"],
            "--loss: must be a number of at least 0 and",
        ),
        (
            ["simulate", "--agents", "4", "--seed", "-1"],
            "--seed: must be a whole number from 0, got '-1'",
        ),
        (["simulate", "--agents", "4", "--churn", "nan"], "--churn: must be a number of at least"),
        (["watch", "x", "--every", "0"], "--every: must be a number above 0, got '0'"),
        (["report", "x", "--threshold", "much"], "--threshold: must be a number, got 'much'"),
        (["dashboard", "--port", "x"], "--port: must be a whole number from 0, got 'x'"),
        (["topology", "compare"], "required: files (see gala topology compare --help)"),
        (
            ["launch", "--rank", "2", "--size", "2", "--store", "x"],
            "--rank: must be below --size 2",
        ),
        (["topology", "rign", "--agents", "4"], "rign"),
        (
            ["topology", "ring", "--agents", "0"],
            "argument --agents: must be a whole number of at least 1, got '0'",
        ),
        (["train", "pong", "--agents"], "--agents: needs a value"),
        (["train", "png"], "png"),
    ],
)
def test_mistakes(capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    assert words in complaint(capsys, *arguments)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["pong"], (["pong"], None)),
        (["pong", "--agents", "4", "--seed", "1"], (["pong", "--seed", "1"], 4)),
        (["--agents=3", "pong"], (["pong"], 3)),
    ],
)
def test_the_number_of_agents_is_taken_off(
    given: list[str], expected: tuple[list[str], int]
) -> None:
    assert take_agents(given) == expected


def test_a_reader_that_leaves_is_no_error() -> None:
    command = f"{sys.executable} -m gala topology ring --agents 64 --json | head -c 1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, timeout=60
    )
    assert "Traceback" not in done.stderr


def shell(line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A line of bash in which ``gala`` is this one."""
    script = f'gala() {{ "{sys.executable}" -m gala "$@"; }}; set -o pipefail; {line}'
    return subprocess.run(
        ["bash", "-c", script],
        capture_output=True, text=True, timeout=100, env=os.environ | environment,
    )  # fmt: skip


COMMANDS = [
    "gala --help",
    "gala topology --help",
    "gala topology ring --agents 3000",
    "gala topology ring --agents 64 --json",
    "gala simulate --topology ring --agents 4 --updates 20",
    "gala algorithms",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_reader_that_leaves_ends_a_command_quietly(command: str) -> None:
    done = shell(f"{command} | head -c 1 > /dev/null")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("command", COMMANDS[:4])
def test_a_full_device_is_told_in_one_line(command: str) -> None:
    done = shell(f"{command} > /dev/full")
    assert done.returncode == 74
    assert done.stderr == "gala: error: standard output: No space left on device\n"


@pytest.mark.parametrize("redirect", [">&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_descriptors_are_no_error(redirect: str) -> None:
    done = shell(f"gala topology ring --agents 8 {redirect}")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("redirect", ["2>&-", "2>/dev/full"])
def test_a_complaint_that_nobody_hears_is_the_same_exit_code(redirect: str) -> None:
    assert shell(f"gala trian {redirect}").returncode == 2


@pytest.mark.parametrize("command", COMMANDS[1:])
def test_terminals_of_few_letters(command: str) -> None:
    ascii_only = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}
    for environment in (ascii_only, {"PYTHONIOENCODING": "ascii:strict"}):
        done = shell(command, **environment)
        assert done.returncode == 0 and done.stdout.isascii() and done.stderr == ""


def test_a_broken_pipe_of_something_else_is_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    def lose_an_environment(arguments: object) -> int:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr("gala.learning.command.main", lose_an_environment)
    with pytest.raises(BrokenPipeError):
        cli.main(["algorithms"])


@pytest.mark.parametrize("command", ["doctor", "eval", "watch", "dashboard", "report", "export"])
def test_names_that_no_folder_can_have(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([command, "x" * 300]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("gala: error: ") and line.endswith("File name too long")


def test_a_run_folder_with_a_name_that_none_can_have(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "--total-steps", "100", "--run-dir", "x" * 300]) == 2
    assert capsys.readouterr().err.endswith("cannot be written: File name too long\n")
