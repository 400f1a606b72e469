"""Completion: what a shell is told is what the commands accept."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from gala import cli
from gala.config.arguments import Parser, parser_of
from gala.config.completion import SHELLS
from gala.files import commands


def test_a_command_shows_its_parser_and_does_nothing() -> None:
    done: list[Sequence[str]] = []

    def command(arguments: Sequence[str]) -> int:
        parser = Parser(prog="gala thing")
        parser.add_argument("--size", choices=["a", "b"])
        done.append(parser.parse_args(arguments).size)
        return 0

    parser = parser_of(command, ["--nonsense"])
    assert parser.prog == "gala thing" and done == []
    assert parser.parse_args(["--size", "a"]).size == "a"  # as ever afterwards
    command(["--size", "b"])
    assert done == ["b"]
    with pytest.raises(TypeError, match="parses nothing"):
        parser_of(lambda arguments: 0)


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("shtab")
    path = tmp_path_factory.mktemp("bash") / "gala.bash"
    done = subprocess.run(
        [sys.executable, "-m", "gala", "--print-completion", "bash"],
        capture_output=True,
        text=True,
        timeout=110,
        check=True,
    )
    path.write_text(done.stdout)
    return path


COUPLINGS = ["gossip", "allreduce", "shared", "distil", "repel", "none"]


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["rep"], ["report"]),
        (["report", "--comp"], ["--compare"]),
        (["train", "cartp"], ["cartpole", "cartpole-tasks"]),
        (["train", "--a2c.gae"], ["--a2c.gae-lambda"]),
        (["train", "--standb"], ["--standby"]),
        (["train", "--coupling", ""], COUPLINGS),
        (["tune", "--ppo.n-st"], ["--ppo.n-step"]),
        (["tune", "--tri"], ["--trials"]),
        (["launch", "--siz"], ["--size"]),
        (["distil", "--fea"], ["--features"]),
        (["distil", "--network.hid"], ["--network.hidden"]),
        (["keys", ""], ["new", "secret"]),
    ],
)
def test_bash_offers_what_there_is(script: Path, words: list[str], offered: list[str]) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash")
    asked = (
        'source "$1"; shift; COMP_WORDS=(gala "$@"); COMP_CWORD=$#; _shtab_gala; '
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    command = [bash, "-c", asked, "bash", str(script), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == offered


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_knows_every_command(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("shtab")
    assert cli.main([f"--print-completion={shell}"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in cli.COMMANDS) and "network.memory" in shown


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["basch"], "--print-completion: no shell is named 'basch' (did you mean 'bash'?)"),
        ([], "--print-completion: no shell is named '' (known: bash, zsh, tcsh, fish)"),
    ],
)
def test_mistakes(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--print-completion", *arguments]) == 2
    assert capsys.readouterr().err == f"gala: error: {words}\n"


def test_a_missing_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert cli.main(["--print-completion", "bash"]) == 2
    message = f"gala: error: completion needs shtab ({commands.install('completion')})\n"
    assert capsys.readouterr().err == message
