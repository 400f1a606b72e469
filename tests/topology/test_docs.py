"""The table of docs/topologies.md is made by the program; run this file to renew it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from gala.topology import load_topology
from gala.topology.analysis import compare
from gala.topology.families.table import FAMILIES

PAGE = Path(__file__).parents[2] / "docs" / "topologies.md"
START, END = "<!-- table -->\n", "<!-- end -->"
SPECS = ["ring", "directed-ring", "torus", "exponential", "one-peer-exponential", "base"]


def table() -> str:
    return compare.markdown(compare.table(SPECS, [4, 8, 16, 32, 64]))


def test_the_table_is_fresh() -> None:
    text = PAGE.read_text()
    assert text.split(START)[1].split(END)[0] == table()


def test_every_family_is_on_the_page() -> None:
    text = PAGE.read_text()
    assert all(f"`{name}`" in text or f"kind: {name}" in text for name in FAMILIES)


def test_the_own_function_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    section = PAGE.read_text().split("## An own function")[1]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "graphs.py").write_text(section.split("```python\n")[1].split("```")[0])
    monkeypatch.setattr(sys, "path", list(sys.path))
    topology = load_topology("graphs:chords", 16)
    del sys.modules["graphs"]
    assert topology.in_neighbours(4) == (3, 5, 12) and topology.doubly_stochastic


if __name__ == "__main__":
    before, rest = PAGE.read_text().split(START)
    PAGE.write_text(before + START + table() + END + rest.split(END)[1])
