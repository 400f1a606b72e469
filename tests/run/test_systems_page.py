"""The page of systems: its commands are taken as they stand, and its table names its sections."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from gala.run.request import read_request

PAGE = (Path(__file__).parents[2] / "docs" / "systems.md").read_text()
COMMANDS = re.findall(r"^gala train (?!runs/)(.*)$", PAGE, re.M)
"""Those that begin with a preset; what begins with a run needs one."""


@pytest.mark.parametrize("command", COMMANDS)
def test_its_commands_are_taken(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "token").write_text("0123456789abcdef0123456789abcdef\n")
    (tmp_path / "token").chmod(0o600)
    words = shlex.split(command)
    agents = 1
    if "--agents" in words:
        place = words.index("--agents")
        agents = int(words[place + 1])
        del words[place : place + 2]
    request = read_request(words, agents=agents)
    assert request.config.algorithm in command or "--algorithm" not in command


def test_each_system_has_a_row_and_a_section() -> None:
    anchors = set(re.findall(r"^\| \[[^]]+\]\(#([^)]+)\)", PAGE, re.M))
    titles = {
        title.lower().replace(" ", "-").replace(",", "")
        for title in re.findall(r"^## (.*)$", PAGE, re.M)
    }
    assert len(COMMANDS) > 15 and anchors == titles - {"what-is-not-there"}
