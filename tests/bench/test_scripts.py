"""Every script of experiments/ loads, answers --help, and has the options that are told of it."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import itertools
import re
import runpy
import sys
from functools import cache
from pathlib import Path
from unittest import mock

import gymnasium
import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("experiments", "experiments/bench", "experiments/examples")
"""Not the drivers of peers, which run in environments of their own."""
SCRIPTS = sorted(path for folder in FOLDERS for path in (ROOT / folder).glob("*.py"))
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
NEEDS = {"dashboard": "playwright", "screenshots": "playwright", "sb3_a2c": "stable_baselines3"}
COMMAND = re.compile(r"\bexperiments/((?:\w+/)*)(?:\{([\w,]+)\}|(\w+))\.py([^`\n)]*)")
OPTION = re.compile(r"--[a-z][a-z-]*(?![\w.-])")
"""Not those of ``gala train``, which have a dot or stand in capitals."""

pytestmark = pytest.mark.skipif(not SCRIPTS, reason="gala is installed, this is not a checkout")


@cache
def answer(path: Path) -> str | None:
    """What a script says to ``--help``; None: it is a module for others and went to its end."""
    need = NEEDS.get(path.stem)
    if need is not None and importlib.util.find_spec(need) is None:
        pytest.skip(f"{need} is not installed")
    said = io.StringIO()
    with (
        mock.patch.object(sys, "argv", [str(path), "--help"]),
        mock.patch.object(
            sys, "path", [str(path.parent), str(ROOT / "experiments/bench"), *sys.path]
        ),
        mock.patch.dict(gymnasium.registry),  # what it registers, others may register again
        contextlib.redirect_stdout(said),
    ):
        try:
            runpy.run_path(str(path), run_name="__main__")
        except SystemExit as end:
            assert not end.code
            return said.getvalue()
    assert said.getvalue() == ""
    return None


def options(path: Path) -> set[str]:
    """Its options; the words before their list may be the script's docstring."""
    return set(OPTION.findall((answer(path) or "").partition("\noptions:\n")[2]))


def told(text: str) -> list[tuple[Path, str]]:
    """Scripts that a text names, each with the options behind it."""
    found = []
    for folder, several, one, rest in COMMAND.findall(text):
        for name in (several or one).split(","):
            path = ROOT / "experiments" / folder / f"{name}.py"
            found += [(path, option) for option in (OPTION.findall(rest) or [""])]
    return found


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_script_answers_help(path: Path) -> None:
    said, text = answer(path), path.read_text()
    if said is None:
        assert "__main__" not in text and "argparse" not in text
    else:
        assert said.startswith(f"usage: {path.name} [-h]")
        of_docstring = [each for each in told(text.split('"""')[1]) if each[0] == path]
        assert {option for _, option in of_docstring} - {""} <= options(path)


def test_commands_of_pages_are_there() -> None:
    # what a result says of its own command belongs to the commit beside it
    lines = itertools.chain.from_iterable(page.read_text().splitlines() for page in PAGES)
    text = "\n".join(line for line in lines if not line.startswith("Measured on "))
    named = {(path, option) for path, option in told(text) if path.parent.name != "peer_drivers"}
    assert len({path for path, _ in named}) > 20
    assert {path for path, _ in named} - set(SCRIPTS) == set()
    wrong = {
        (path.name, option) for path, option in named if option and option not in options(path)
    }
    assert wrong == set()
