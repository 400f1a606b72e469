"""What ``gala topology`` prints and writes."""

from __future__ import annotations

import io
import itertools
import json
from dataclasses import fields
from pathlib import Path

import pytest
from rich.console import Console

from gala.errors import UserError
from gala.topology import command, load_topology
from gala.topology.analysis import compare, plot, spectrum


def screen() -> tuple[Console, io.StringIO]:
    text = io.StringIO()
    return Console(file=text, width=100, color_system=None), text


def test_show_prints_facts_drawing_and_notes() -> None:
    console, text = screen()
    command.show("directed-ring", 32, console=console)
    shown = text.getvalue()
    for part in (
        "directed-ring, 32 agents",
        "in-degree 1, out-degree 1",
        "strongly",
        "doubly stochastic  yes",
        "row sums           1",
        "beta               0.995185, gap 0.00481527",
        "factor             206.673",
        "0 → 1 → 2",
        "note: directed-ring of 32 agrees slowly: beta 0.995; an exponential graph gives 0.667",
    ):
        assert part in shown, part


def test_show_says_what_does_not_exist(tmp_path: Path) -> None:
    path = tmp_path / "[odd] name.yaml"
    path.write_text("family: star\nweights: uniform\n")
    console, text = screen()
    command.show(path, 5, console=console)
    shown = text.getvalue()
    assert "[odd] name, 5 agents" in shown  # no markup is read into names
    assert "no bound of this kind" in shown and "doubly stochastic  no" in shown
    assert "in-degree 1 to 4" in shown


def test_json_is_one_object_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    command.show("exponential", 8, json=True)
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    found = json.loads(printed)
    assert found.pop("stationary") is None and found.pop("any_order") is None
    assert found == spectrum.report(load_topology("exponential", 8))


def test_show_says_who_counts_where_the_mean_drifts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "star.yaml"
    path.write_text("family: star\nweights: uniform\n")
    command.show(path, 5, json=True)
    found = json.loads(capsys.readouterr().out)
    # a random walk stands at an agent in proportion to its neighbours and itself: 5, 2, 2, 2, 2
    assert found["stationary"] == pytest.approx([5 / 13] + [2 / 13] * 4)
    low, high = found["any_order"]
    assert low == pytest.approx(0.5) and 0.5 <= high < 0.6  # the eigenvalues are 1, 1/2, -3/10
    console, text = screen()
    command.show(path, 5, console=console)
    shown = text.getvalue()
    assert "counts             each agent 0.1538 to 0.3846 of the consensus, agent 0 most" in shown
    assert "any order          disagreement times 0.5 per mix, in the worst order" in shown
    command.show("ring", 5, console=console)
    assert "any order" not in text.getvalue().removeprefix(shown)


def test_convert(tmp_path: Path) -> None:
    console, text = screen()
    command.convert("hypercube", tmp_path / "cube.graphml", 8, console=console)
    assert load_topology(tmp_path / "cube.graphml") == load_topology("hypercube", 8)
    assert "8 agents, 24 edges, 1 round, hash " in text.getvalue()
    with pytest.raises(UserError, match="takes any number of agents; which"):
        command.convert("hypercube", tmp_path / "cube.json")


def test_compare(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    files = ["ring", "hypercube"]
    command.compare(files, [4, 6], json=True, parameters=1000, plot=tmp_path / "both.svg")
    found = json.loads(capsys.readouterr().out)
    assert found["parameters"] == 1000
    assert [(row["name"], row["agents"]) for row in found["rows"]] == [
        ("ring", 4), ("ring", 6), ("hypercube", 4), ("hypercube", 6),
    ]  # fmt: skip
    assert found["rows"][0]["bytes_per_update"] == 8000
    assert found["rows"][3]["problem"] == "a hypercube needs a power of two agents, got 6"
    drawn = (tmp_path / "both.svg").read_text()
    assert drawn.startswith("<?xml")
    for panel in ("beta", "factor of", "diameter", "messages per", "MB per", "mixes until"):
        assert panel in drawn, panel
    numbers = {field.name for field in fields(compare.Row)} - {"name", "agents", "problem"}
    assert set(compare.PANELS) == numbers
    console, text = screen()
    command.compare(files, [4, 6], console=console)
    assert "hypercube, 6 agents: a hypercube needs a power of two agents, got 6" in text.getvalue()
    with pytest.raises(UserError, match="power of two"):
        command.compare(["hypercube"], [6, 7])
    with pytest.raises(UserError, match="nothing to compare"):
        command.compare([], [4])


def test_equal_names_are_told_apart(tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text("name: ring\nfamily: {kind: ring, directed: true}\n")
    rows = compare.table(["ring", other, "ring"], [4, 8])
    assert [(row.name, row.agents) for row in rows] == [
        ("ring", 4), ("ring", 8), (f"ring ({other})", 4), (f"ring ({other})", 8),
    ]  # fmt: skip


def test_convert_keeps_its_source(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("family: ring\n")
    with pytest.raises(UserError, match=r"is the file that is read.*\(write mine-4.yaml\)"):
        command.convert(path, path, 4)
    assert path.read_text() == "family: ring\n"
    with pytest.raises(UserError, match=r"cannot hold it: is empty \(use .yaml, .json or"):
        command.convert("ring", tmp_path / "one.edgelist", 1)


def test_one_is_no_many(tmp_path: Path) -> None:
    console, text = screen()
    command.show("ring", 1, console=console)
    command.convert("ring", tmp_path / "one.yaml", 1, console=console)
    command.suggest(1, 1, console=console)
    command.suggest(2, 1, console=console)
    shown = text.getvalue()
    assert shown.startswith("ring, 1 agent ") and "1 agent, 0 edges, 1 round," in shown
    assert "for 1 agent and up to 1 message" in shown and "after 1 round," in shown
    assert "1 agents" not in shown and "1 rounds" not in shown


def test_a_list_without_circle_gets_a_note(tmp_path: Path) -> None:
    path = tmp_path / "path.edgelist"
    path.write_text("0 1\n1 2\n2 3\n")
    console, text = screen()
    command.show(path, console=console)
    command.convert(path, tmp_path / "path.yaml", console=console)
    assert text.getvalue().count("note: the edges hold no directed circle") == 2
    for settled in ("# undirected\n0 1\n1 2\n2 3\n", "0 1\n1 2\n2 0\n"):
        path.write_text(settled)
        assert load_topology(path).notes == ()


def test_the_markdown_table() -> None:
    rows = compare.table(["ring", "hypercube"], [4, 6])
    lines = compare.markdown(rows).splitlines()
    assert lines[2] == "| ring | 4 | 0.3333 | 0.5 | 2 | 2 | 7 |"
    assert lines[5] == "| | 6 | - | - | - | - | - |"


@pytest.mark.parametrize("agents", [1, 2, 3, 6, 16, 27, 64])
@pytest.mark.parametrize("degree", [1, 2, 4])
def test_suggestions_keep_the_budget_and_can_be_loaded(
    agents: int, degree: int, tmp_path: Path
) -> None:
    found = compare.suggest(agents, degree)
    path = tmp_path / "best.yaml"
    path.write_text(found["file"])
    topology = load_topology(path, agents)
    busiest = max(len(row[1]) for mixing in topology.rounds for row in mixing.rows)
    assert busiest <= degree and topology.doubly_stochastic
    best = spectrum.factor(topology)
    assert best is not None
    for name in ("ring", "directed-ring", "exponential", "one-peer-exponential", "hypercube"):
        try:
            other = load_topology(name, agents)
        except UserError:
            continue
        if max(len(row[1]) for mixing in other.rounds for row in mixing.rows) <= degree:
            factor = spectrum.factor(other)
            assert factor is None or best <= factor * 1.011 + 1e-9


@pytest.mark.parametrize("agents", [9, 16, 24, 32])
def test_a_larger_budget_never_gets_a_worse_graph(agents: int) -> None:
    factors = [compare.suggest(agents, degree)["best"]["factor"] for degree in range(1, 9)]
    for before, after in itertools.pairwise(factors):
        assert after <= before * 1.01 + 1e-9, factors


@pytest.mark.parametrize(
    ("agents", "degree", "factor"), [(32, 4, 2.0), (32, 8, 1.0), (16, 4, 1.0), (16, 6, 1.0)]
)
def test_known_best_suggestions(agents: int, degree: int, factor: float) -> None:
    assert compare.suggest(agents, degree)["best"]["factor"] <= factor + 1e-6


def test_suggest_prints_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    command.suggest(8, 7, json=True)
    found = json.loads(capsys.readouterr().out)
    assert found["best"]["family"] == {"kind": "complete"}
    assert found["best"]["factor"] == pytest.approx(0.0, abs=1e-9)
    console, text = screen()
    command.suggest(32, 2, console=console)
    assert "for 32 agents and up to 2 messages per update" in text.getvalue()
    assert "family: {kind: n-peer-exponential, peers: 2}" in text.getvalue()
    with pytest.raises(UserError, match="needs agents and messages"):
        command.suggest(0, 2)


@pytest.mark.parametrize("name", ["ring", "line", "torus", "hierarchical", "one-peer-exponential"])
@pytest.mark.parametrize("agents", [1, 2, 9, 100])
def test_pictures(name: str, agents: int, tmp_path: Path) -> None:
    path = plot.save(load_topology(name, agents), tmp_path / "new folder" / "graph.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.stat().st_size > 4000


def test_pictures_that_cannot_be(tmp_path: Path) -> None:
    ring = load_topology("ring", 4)
    with pytest.raises(UserError, match="docx is no picture format"):
        plot.save(ring, tmp_path / "ring.docx")
    with pytest.raises(UserError, match="no suffix is no picture format"):
        plot.save(ring, tmp_path / "ring")
    with pytest.raises(UserError, match="too many for a picture"):
        plot.save(load_topology("ring", 600), tmp_path / "ring.png")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        plot.save(ring, tmp_path / "file" / "ring.png")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file"]
