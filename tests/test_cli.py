"""The command line: dispatch, help, and mistakes in one line."""

import subprocess
import sys

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
