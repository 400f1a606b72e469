"""Every command that a page or the program itself tells people to type is one that parses."""

from __future__ import annotations

import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from gala import cli
from gala.config.arguments import parser_of
from gala.config.options import parse_options
from gala.errors import UserError
from gala.files import commands
from gala.run.config import config_type
from gala.run.request import LAUNCH_OPTIONS, read_request
from gala.telemetry.console import next_commands
from gala.train import take_agents

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

OWN = re.compile(r"\b(corridor|trunks|reinforce|notes|graphs)\b")
"""Modules that a reader is told to write: tests of the pages that show them run those commands."""

FILES = ("--resume", "--secret-file", "--keys", "--actors.token-file")
"""Options of files that a reader has."""

Line = tuple[str, int, str]


def told_by(page: Path) -> Iterator[Line]:
    """Page, line and text of each command in a block of code, continued lines joined."""
    fenced, waiting = False, ""
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if line.startswith("```"):
            fenced, waiting = not fenced, ""
            continue
        text = waiting + line.strip()
        if not (fenced or line.startswith("    ")) or not (text.startswith(("gala ", "torchrun "))):
            waiting = ""
        elif text.endswith("\\"):
            waiting = text[:-1]
        else:
            waiting = ""
            yield page.name, number, text


def words_of(text: str) -> list[str]:
    """What a shell makes of it, with numbers for R and N."""
    return [{"R": "0", "N": "4"}.get(each, each) for each in shlex.split(text, comments=True)]


def require_run(words: list[str]) -> None:
    """Refuse what ``gala train`` would: options by the configuration, files by what is shipped."""
    rest, agents = take_agents(words)
    if any(word in FILES for word in rest) or "runs/" in rest[0]:
        parse_options(config_type(), rest, {**LAUNCH_OPTIONS, "supervisor": bool})
    else:
        read_request(rest, agents=agents or 4)


def require(words: list[str]) -> None:
    """Refuse what the command would refuse of its command line alone.

    Raises:
        UserError: there is no such command, or it is wrong.
    """
    if words[0] == "torchrun":
        if "gala.train" in words:
            require_run(words[words.index("gala.train") + 1 :])
        return
    name, rest = words[1], words[2:]
    if name.startswith("--"):
        return
    if name not in cli.COMMANDS:
        raise UserError(f"no command is named {name!r}")
    if name == "train":
        require_run(rest)
        return
    module, _, function = cli.COMMANDS[name].function.partition(":")
    command = getattr(importlib.import_module(module), function)
    parser = parser_of(command, rest)
    verbs = len(parser.prog.split()) - 2  # gala topology convert
    _, others = parser.parse_known_args(rest[verbs:])
    if name in cli.TRAINS and "--resume" not in rest:
        require_run(others)
    elif name in cli.WITH_OPTIONS:
        parse_options(config_type(), others)
    elif others:
        raise UserError(f"unrecognized arguments: {' '.join(others)}")


COMMANDS = [
    line
    for page in PAGES
    for line in told_by(page)
    if not OWN.search(line[2]) and "..." not in words_of(line[2])
]


def test_the_pages_are_read() -> None:
    told = {words_of(text)[1] for _, _, text in COMMANDS}
    assert len(COMMANDS) > 70 and {"train", "report", "tune", "topology", "keys", "eval"} <= told


@pytest.mark.parametrize(("page", "line", "text"), COMMANDS, ids=lambda each: str(each)[:60])
def test_a_command_of_a_page_parses(page: str, line: int, text: str) -> None:
    try:
        require(words_of(text))
    except UserError as error:
        raise AssertionError(f"{page}:{line}: {error}") from None


@pytest.mark.parametrize("steps", [None, 500_000])
def test_what_is_printed_at_the_end_of_a_run_parses(steps: int | None) -> None:
    program = len(shlex.split(commands.gala()))
    for line in next_commands(Path("runs/a run"), 4, steps):
        words = shlex.split(line.partition(":")[2])
        assert "runs/a run" in words
        require(["gala", *words[program:]])


@pytest.mark.parametrize(
    "text",
    [
        "gala trian pong",
        "gala train pong --a2c.lx 1",
        "gala train png --agents 4",
        "gala train --resume runs/NAME --a2c.lx 1",
        "gala report runs/NAME --formt md",
        "gala topology suggest --agents 4 --dgree 2",
        "gala launch --rank 0 --size 8 --store x pong --ppo.clop 1",
        "gala tune cartpole --a2c.lr high",
        "gala distil runs/A --into runs/B --network.hiden 4",
        "torchrun --nproc-per-node=4 -m gala.train pong --totalsteps 4",
    ],
)
def test_a_wrong_command_is_seen(text: str) -> None:
    with pytest.raises(UserError):
        require(words_of(text))
