"""The table of docs/topologies.md is made by the program; run this file to renew it."""

from __future__ import annotations

from pathlib import Path

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


if __name__ == "__main__":
    before, rest = PAGE.read_text().split(START)
    PAGE.write_text(before + START + table() + END + rest.split(END)[1])
