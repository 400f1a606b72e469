"""A topology from a function of the user: what it may return, and one line for what it may not."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gala import cli
from gala.errors import UserError
from gala.topology import load_topology

numbers = itertools.count()
Write = Callable[[str], str]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write ``make(agents)`` with the given body; returns its ``MODULE:CALLABLE``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)

    def module(body: str) -> str:
        name = f"own_graph_{next(numbers)}"
        lines = "".join(f"    {line}\n" for line in body.splitlines())
        head = "import networkx as nx\nimport numpy as np\n\n\ndef make(agents):\n"
        (tmp_path / f"{name}.py").write_text(head + lines)
        return f"{name}:make"

    yield module
    for name in set(sys.modules) - before:
        if name.startswith("own_graph_"):
            del sys.modules[name]


def refusal(spec: str, agents: int | None = 4) -> str:
    with pytest.raises(UserError) as caught:
        load_topology(spec, agents)
    assert caught.value.hint or "raised" in caught.value.rule
    return str(caught.value).replace(spec.split(":")[0], "own")


@pytest.mark.parametrize(
    ("body", "same"),
    [
        ("return nx.cycle_graph(agents)", "ring"),
        ("return nx.cycle_graph(agents, create_using=nx.DiGraph)", "directed-ring"),
        ("return nx.relabel_nodes(nx.star_graph(agents - 1), 'abcdef'.__getitem__)", "star"),
        ("return nx.relabel_nodes(nx.path_graph(agents), np.arange(agents).__getitem__)", "line"),
        ("return [(i, (i + 1) % agents) for i in range(agents)]", "directed-ring"),
        ("return ((i, (i + 1) % agents, 0.5) for i in range(agents))", "directed-ring"),
        ("return {(np.int64(i), (i + 1) % agents) for i in range(agents)}", "directed-ring"),
        ("return np.full((agents, agents), 1 / agents)", "complete"),
        ("return (np.eye(agents) + np.eye(agents)[np.arange(agents) - 1]) / 2", "directed-ring"),
    ],
)
def test_what_it_may_return(write: Write, body: str, same: str) -> None:
    for agents in (4, 5):
        spec = write(body)
        topology = load_topology(spec, agents)
        assert topology == load_topology(same, agents) and topology.name == spec
        assert topology.hash == load_topology(same, agents).hash


def test_row_i_holds_what_agent_i_gives_and_an_edge_goes_to_who_averages(write: Write) -> None:
    rows = load_topology(write("return np.array([[0.9, 0.1], [0.4, 0.6]])"), 2)
    assert rows.row(0, 0) == (0.9, {1: 0.1}) and rows.row(1, 0) == (0.6, {0: 0.4})
    edges = load_topology(write("return [(0, 1, 0.25), (1, 0, 0.5)]"), 2)
    assert edges.row(1, 0) == (0.75, {0: 0.25}) and edges.row(0, 0) == (0.5, {1: 0.5})
    body = "g = nx.DiGraph()\ng.add_edge(0, 1, weight=np.float32(0.25))\ng.add_edge(1, 0, weight=1)"
    assert load_topology(write(f"{body}\nreturn g"), 2).row(1, 0) == (0.75, {0: 0.25})


def test_attributes_and_rounds(write: Write) -> None:
    push = "g = nx.star_graph(agents - 1, create_using=nx.DiGraph)\ng.add_edges_from((i, 0) for i"
    push += " in range(1, agents))\ng.graph['weights'] = 'push-sum'\nreturn g"
    assert load_topology(write(push), 4).push_sum
    rounds = "half = np.array([[0.5, 0.5], [0.5, 0.5]])\nreturn np.stack([half, np.eye(2)])"
    assert load_topology(write(rounds), 2).period == 2


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("return 1 / 0", "own.py:6: topology: own:make raised ZeroDivisionError: division by zero"),
        ("yield 0, 1\nraise OSError('x')", "own.py:7: topology: own:make raised OSError: x"),
        ("return None", "own.py:5: topology: own:make returned None (return a networkx graph, a"),
        ("return 'ring'", "returned 'ring' (return a networkx graph"),
        ("return {0: [1]}", "returned {0: [1]} (return"),
        ("return np.array(0.5)", "is a number, expected N x N or rounds x N x N"),
        ("return np.array([['a']])", "expected numbers"),
        ("return nx.cycle_graph(3)", "own:make was called with 4 agents and returned 3 (return 4)"),
        ("return np.eye(3)", "own:make was called with 4 agents and returned 3 (return 4)"),
        ("return np.full((4, 4), 0.3)", "own.py:5: row 0: sums to 1.2, a row must sum to 1 (give"),
        ("return [(0, 1), (1, 9)]", "own.py:5: edges.1: agent 9 is missing, agents are 0..3"),
        ("return [(0, 1), (1, 0), (2, 3), (3, 2)]", "not strongly connected: agents {0, 1} and"),
        ("return [(0, 1), (1, 1)]", "own.py:5: edges.1: agent 1 hears itself"),
        ("return [(0, 1), (0, 1)]", "edges.1: edge 0 to 1 is given twice, first as edges.0"),
        ("return [(0, 1, -1)]", "edges.0: weight -1 is negative"),
        ("return [(0,)]", "edges.0: an edge is (source, target) or (source, target, weight), got"),
        ("return [[0.5, 0.5], [0.5, 0.5]]", "got [0.5, 0.5] (for example (0, 1); a mixing matrix"),
        ("return [0, 1]", "an edge is (source, target) or (source, target, weight), got 0"),
        ("return [(0, 1, 'a')]", "an edge is (source, target) or"),
        (
            "p = np.random.default_rng().uniform(0.1, 0.4)\n"
            "return [(i, (i + 1) % agents, p) for i in range(agents)]",
            "own:make returns another topology at each call, and every agent calls it (give its",
        ),
    ],
)
def test_what_it_may_not(write: Write, body: str, words: str) -> None:
    assert words in refusal(write(body))


def test_functions_that_are_none(write: Write, tmp_path: Path) -> None:
    spec = write("return nx.cycle_graph(agents)")
    assert refusal(spec, None) == ("own.py:5: takes any number of agents; which? (give --agents N)")
    assert "a topology needs at least one agent, got 0" in refusal(spec, 0)
    assert "module own has no 'maek' (did you mean 'make'?)" in refusal(spec.replace("ke", "ek"))
    assert "there is no module 'own'" in refusal("nowhere_at_all:make")
    (tmp_path / "own_graph_x.py").write_text("make = 3\n")
    assert "own:make is 3, expected a function" in refusal("own_graph_x:make")
    (tmp_path / "odd:name.yaml").write_text("family: ring\n")
    assert load_topology("odd:name.yaml", 4) == load_topology("ring", 4)


def test_functions_of_installed_packages() -> None:
    assert load_topology("networkx:complete_graph", 5) == load_topology("complete", 5)


def test_in_a_command(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    spec = write("print('hello')\nreturn nx.cycle_graph(agents)")
    assert cli.main(["topology", spec, "--agents", "4", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == spec
    assert cli.main(["topology", write("raise ValueError('no')"), "--agents", "4"]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("gala: error: own_graph_")
    assert captured.err.endswith("raised ValueError: no\n") and captured.err.count("\n") == 1
