"""Printed commands run as they stand: from this folder, in this environment."""

from __future__ import annotations

import importlib.metadata
import os
import shlex
import subprocess
import sys
from email.message import Message
from pathlib import Path
from types import SimpleNamespace

import pytest

from gala import cli
from gala.errors import EXIT_BAD_INPUT
from gala.files import commands


def made_environment(folder: Path) -> Path:
    """A virtual environment, as far as names go; returns its interpreter."""
    programs = folder / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name in ("python", "gala"):
        (programs / name).write_text("#!/bin/sh\necho ran\n")
        (programs / name).chmod(0o755)
    return programs / "python"


def test_not_activated_it_is_named_by_where_it_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(made_environment(tmp_path)))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert commands.gala("eval", Path("runs/a b")) == ".venv/bin/gala eval 'runs/a b'"
    assert commands.gala("watch", Path("-x"), "--once") == ".venv/bin/gala watch ./-x --once"
    assert commands.pip_install("x[y]") == ".venv/bin/python -m pip install 'x[y]'"
    done = subprocess.run(commands.gala("eval"), shell=True, capture_output=True, text=True)
    assert done.stdout == "ran\n"
    monkeypatch.chdir("/")
    assert commands.gala() == str(tmp_path / ".venv" / "bin" / "gala")


def test_activated_it_is_gala_and_another_gala_on_the_path_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, other = made_environment(tmp_path / "mine"), made_environment(tmp_path / "other")
    monkeypatch.chdir(tmp_path / "mine")
    monkeypatch.setattr(sys, "executable", str(mine))
    monkeypatch.setenv("PATH", f"{mine.parent}:{os.environ['PATH']}")
    assert commands.gala("train") == "gala train"
    assert commands.pip_install("x").startswith("python -m pip")
    monkeypatch.setenv("PATH", f"{other.parent}:{os.environ['PATH']}")
    assert commands.gala("train") == ".venv/bin/gala train"


def test_an_extra_is_installed_into_this_checkout(repository: Path = Path(__file__)) -> None:
    words = shlex.split(commands.install("video"))
    assert words[1:4] == ["-m", "pip", "install"] and words[-1].endswith("[video]")
    folder = Path(words[-1].removesuffix("[video]"))
    assert words[4] == "-e" and (folder / "setup.cfg").is_file()
    assert "name = gala-rl\n" in (folder / "setup.cfg").read_text()


def other_package(summary: str) -> SimpleNamespace:
    facts = Message()
    facts["Name"], facts["Version"], facts["Summary"] = "gala", "1.9.1", summary
    return SimpleNamespace(metadata=facts)


def test_another_package_of_the_same_import_name_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stars = other_package("Galactic Dynamics in Python")
    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: stars)
    assert cli.main(["topology", "ring", "--agents", "4"]) == EXIT_BAD_INPUT
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "gala 1.9.1" in error and "pip uninstall gala" in error
    ours = other_package("Gossip-based actor-learner reinforcement learning")
    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: ours)
    commands.require_own_package()


@pytest.mark.parametrize("name", ["a\x1b[31m b", "it's\none \\ \x07", "plain name"])
def test_names_with_steering_letters_can_be_copied(name: str) -> None:
    line = commands.gala(Path(name))
    assert "\x1b" not in line and "\n" not in line and "\x07" not in line
    words = line.replace(commands.gala(), "printf %s", 1)
    done = subprocess.run(["bash", "-c", words], capture_output=True, text=True, check=True)
    assert done.stdout == name
