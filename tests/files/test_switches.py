"""Switches before a command line is parsed: read as the parser reads them."""

import pytest

from gala.config.options import parse_options
from gala.files.switches import switched
from gala.run.config import Config


@pytest.mark.parametrize("words", [
    "",
    "--standby",
    "--no-standby",
    "--standby false",
    "--standby=false",
    "--standby OFF --seed 3",
    "--standby yes",
    "--standby --seed 1",
    "--standby pong",
    "--standby --no-standby",
    "--no-standby --standby",
    "--seed 1 --standby",
])  # fmt: skip
def test_as_the_parser_reads_them(words: str) -> None:
    _, options = parse_options(Config, words.split(), {"standby": bool})
    assert switched(words.split(), "standby", False) == dict(options).get("standby", False)


def test_what_is_not_there_is_as_it_was() -> None:
    assert switched(["pong"], "supervisor", True)
    assert not switched(["pong", "--supervisor=0"], "supervisor", True)
    assert switched(["pong", "--supervisor.acting-s", "5"], "supervisor", True)
