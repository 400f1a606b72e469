"""Pages name what there is: links, files, rooms, and the loop as it is written."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gala.topology.families import classic
from gala.topology.graph import degrees

EXAMPLES = {
    f"gala/{name}.py"
    for name in ("learning/sil", "learning/sil_config", "gossip/NAME", "envs/NAME")
}
"""Files that a reader is told to write."""

FILE = re.compile(r"\b(?:gala|tests|experiments|topologies)/[\w/-]+\.(?:py|yaml|json|md)\b")
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


@pytest.fixture(scope="module")
def pages(repository: Path) -> list[Path]:
    """Every page of the documentation."""
    found = sorted((repository / "docs").glob("*.md"))
    return found + [repository / name for name in ("README.md", "CONTRIBUTING.md")]


def test_files_that_pages_name_are_there(pages: list[Path], repository: Path) -> None:
    named = {(page.name, name) for page in pages for name in FILE.findall(page.read_text())}
    assert len(named) > 30
    missing = {each for each in named if not (repository / each[1]).exists()}
    assert {each for each in missing if each[1] not in EXAMPLES} == set()


def test_links_lead_somewhere(pages: list[Path]) -> None:
    links = [(page, link) for page in pages for link in LINK.findall(page.read_text())]
    local = [(page, link) for page, link in links if "://" not in link]
    assert len(local) > 50
    assert [(page.name, link) for page, link in local if not (page.parent / link).exists()] == []


def test_every_page_is_in_the_contents(repository: Path) -> None:
    docs = repository / "docs"
    contents = set(re.findall(r"^[\w-]+$", (docs / "index.md").read_text(), re.M))
    assert {page.stem for page in docs.glob("*.md")} - {"index"} - contents == set()


def test_tables_stay_in_one_piece(pages: list[Path]) -> None:
    """A row after an empty line is no row: it is shown as text."""
    for page in pages:
        for row, after in re.findall(r"\n\n(\|.*)\n(.*)", page.read_text()):
            assert re.match(r"\|[ :|-]+\|$", after), (page.name, row)


def test_every_room_is_explained(modules: list[Any], repository: Path) -> None:
    page = (repository / "docs" / "architecture.md").read_text()
    table = page.partition("| room |")[2].partition("\n\n")[0]
    told = {name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row[:60])}
    rooms = {module.room for module in modules if module.path.name == "__init__.py"} - {""}
    assert len(rooms) > 15 and rooms - told == set()


def test_the_loop_of_the_page_is_the_loop(modules: list[Any], repository: Path) -> None:
    page = (repository / "docs" / "architecture.md").read_text()
    (shown,) = ast.parse(re.findall(r"```python\n(.*?)```", page, re.S)[0]).body
    (module,) = [each for each in modules if each.name == "gala.agent.actor_learner"]
    real = next(node for node in ast.walk(module.tree) if isinstance(node, ast.While))
    assert isinstance(shown, ast.While) and ast.unparse(shown.test) == ast.unparse(real.test)
    statements = [ast.unparse(node) for node in real.body]
    places = [statements.index(ast.unparse(node)) for node in shown.body]
    assert len(places) > 5 and places == sorted(places)


def test_the_topology_of_the_page_works(repository: Path) -> None:
    page = (repository / "docs/add-a-topology.md").read_text()
    written = textwrap.dedent("   " + page.partition("```python\n   ")[2].partition("   ```")[0])
    names = dict(vars(classic))
    exec(written, names)
    edges = np.concatenate(names["wheel"](6).layers)
    heard, listeners = degrees(edges, 6)
    assert heard.tolist() == listeners.tolist() == [5, 3, 3, 3, 3, 3]
    assert inspect.getdoc(names["wheel"]).count("\n\nSource: ") == 1
