"""An environment in a module of the current folder, as the documentation shows it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gala.run.config import load

pytestmark = pytest.mark.timeout(300)

DOCUMENT = Path(__file__).parents[2] / "docs" / "environments.md"
COMMAND = "import sys; from gala.cli import main; sys.exit(main())"

BROKEN = """
import gymnasium


class Broken(gymnasium.Env):
    def __init__(self):
        raise FileNotFoundError("no level.txt")


gymnasium.register("Broken-v0", Broken)
"""


def gala(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """The installed command: unlike 'python -m gala' it does not put the folder on the path."""
    return subprocess.run(
        [sys.executable, "-P", "-c", COMMAND, *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=200,
    )


def documented(language: str) -> str:
    section = DOCUMENT.read_text().partition("## Own environments")[2]
    found = re.search(rf"^```{language}\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1]


def test_the_documented_one_is_trained_and_evaluated(tmp_path: Path) -> None:
    (tmp_path / "rooms.py").write_text(documented("python"))
    (tmp_path / "corridor.yaml").write_text(documented("yaml"))
    small = ("--run-dir", "run", "--log.no-tensorboard", "--env.kwargs.size", 3)
    trained = gala(tmp_path, "train", "corridor.yaml", "--agents", 2, *small)
    assert trained.returncode == 0, trained.stderr
    config = load(tmp_path / "run" / "config.yaml").env
    assert config.kwargs == {"size": 3} and config.options == {"start": 1}
    played = gala(tmp_path, "eval", "run", "--episodes", 4, "--json")
    assert played.returncode == 0, played.stderr
    results = json.loads(played.stdout)["results"]
    # two steps from the start, ten times 1 - 0.1
    assert results and all(result["max_return"] <= 9.0 + 1e-4 for result in results)


def test_a_supervised_agent_says_once_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(BROKEN)
    ended = gala(
        tmp_path, "launch", "--rank", 0, "--size", 1, "--store", f"file://{tmp_path}/store",
        "--env.id", "broken:Broken-v0", "--run-dir", "run",
    )  # fmt: skip
    error = (
        "gala: error: broken.py:7: env.id: broken:Broken-v0 raised FileNotFoundError: no level.txt"
    )
    assert (ended.returncode, ended.stderr) == (2, error + "\n")
    assert not (tmp_path / "run").exists()
