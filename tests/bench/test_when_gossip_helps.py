"""The page on when gossip helps says what the results say, and where they come from."""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "experiments"))
import when_gossip_helps as page

Tree = dict[str, Any]


@pytest.fixture(scope="module")
def found() -> Tree:
    return page.load()


def text_of(found: Tree, *, evidence: bool = False) -> str:
    return page.filled(page.PAGE.read_text(), page.blocks_of(found, evidence=evidence))


def row(text: str, beginning: str) -> list[str]:
    (line,) = [each for each in text.splitlines() if each.startswith(f"| {beginning}")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_page_is_that_of_the_results(found: Tree) -> None:
    """Who measures again writes it again: python experiments/when_gossip_helps.py."""
    assert page.PAGE.read_text() == text_of(found, evidence=page.EVIDENCE.exists())


def test_each_source_is_linked_with_its_command(found: Tree) -> None:
    text = text_of(found)
    figures, _, sources = text.partition("## Where the figures come from")
    for name, result in found.items():
        assert (page.RESULTS / f"{name}.md").exists()
        assert f"`{result['command']}`" in row(sources, page.link(name))[1]
        assert page.link(name) in figures or name in ("slow-simulator", "scaling", "gossip-cost")


def test_figures_follow_the_results(found: Tree) -> None:
    other = copy.deepcopy(found)
    straggler = other["straggler"]["steps_per_second"]
    straggler["gossip"] = {"equal": [[100.0] * 4], "straggler": [[50.0] * 3 + [10.0]]}
    for each in other["cartpole"]["results"]:
        each["return"] = 100.0 if each["coupling"] == "gossip" else 500.0
    other["gossip-cost"]["cost"] = {
        "gloo, float32; 4": [dict.fromkeys(page.PHASES, 1.0) | {"gossip": 6.0}],
        "none; 4": [dict.fromkeys(page.PHASES, 1.0)],
    }
    text = text_of(other)
    assert row(text, "CartPole, one agent of four 10 times slower")[2] == "0.50"
    assert row(text, "CartPole, four agents alike")[2] == "400"
    reached = row(text, "CartPole to the end")
    assert reached[2].startswith("0 of") and reached[3] != reached[2]
    assert row(text, "gloo, float32 | 4")[2] == "60.0 %"


def test_a_page_without_a_place_is_refused() -> None:
    with pytest.raises(AssertionError, match="no place for wire"):
        page.filled("", {"wire": "x"})


def test_one_round_of_before_is_read_as_one(found: Tree) -> None:
    cost = dict.fromkeys(page.PHASES, 1.0)
    one, several = ({"gossip-cost": {"cost": {"x; 4": rounds}}} for rounds in (cost, [cost]))
    assert page.update_shares(one) == page.update_shares(several) == {"x; 4": 0.2}


def test_what_is_not_known_is_said_until_it_is(found: Tree) -> None:
    assert "are not there yet" in text_of(found)
    assert "are not there yet" not in text_of(found, evidence=True)


def test_a_picture_is_drawn(found: Tree, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    page.draw(found, tmp_path / "x.png")
    assert (tmp_path / "x.png").stat().st_size > 5_000


def test_results_elsewhere_are_read(tmp_path: Path) -> None:
    for name in page.SOURCES:
        (tmp_path / f"{name}.json").write_text(json.dumps({"name": name}))
    assert [each["name"] for each in page.load(tmp_path).values()] == list(page.SOURCES)
