"""Whatever a hand-written topology file gets wrong: one line with file, line, rule and a fix."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gala.errors import UserError
from gala.topology import Topology, load_topology


def refusal(path: Path, agents: int | None) -> str:
    with pytest.raises(UserError) as caught:
        load_topology(path, agents)
    text = str(caught.value)
    assert caught.value.hint, text  # no complaint goes without a fix
    assert "\n" not in text and len(text) < 400
    return text.replace(str(path.parent) + "/", "")


def yaml_refusal(tmp_path: Path, text: str, agents: int | None = 4) -> str:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return refusal(path, agents)


CASES = {
    "not strongly connected": (
        "edges:\n  - [0, 1]\n  - [1, 0]\n  - [2, 3]\n  - [3, 2]\n",
        "mine.yaml:1: edges: not strongly connected: agents {0, 1} and {2, 3} never reach each "
        "other (add [1, 2], [3, 0])",
    ),
    "one way only": (
        "edges: [[0, 1], [1, 2], [2, 3]]\n",
        "mine.yaml:1: edges: not strongly connected: agents {0} are never reached by the others; "
        "agents {3} never reach the others (add [3, 0])",
    ),
    "row above one": (
        "weights: explicit\nedges:\n  - [0, 1, 0.5]\n  - [1, 2, 0.5]\n  - [2, 3, 0.5]\n"
        "  - [3, 0, 0.7]\n  - [1, 0, 0.6]\n",
        "mine.yaml:7: edges.4: the weights of row 0 sum to 1.3, and a row must sum to 1 with what "
        "is left given to the agent itself (give at most 0.3333 to each of the 2 it hears)",
    ),
    "duplicate edge": (
        "edges:\n  - [0, 1]\n  - [1, 2]\n  - [0, 1]\n",
        "mine.yaml:4: edges.2: edge 0 to 1 is given twice, first as edges.0 (remove one of them)",
    ),
    "duplicate both ways": (
        "directed: false\nedges:\n  - [0, 1]\n  - [1, 0]\n",
        "mine.yaml:4: edges.1: edge 1 to 0 is given twice, first as edges.0 (remove one of them)",
    ),
    "self edge": (
        "edges:\n  - [0, 1]\n  - [2, 2]\n",
        "mine.yaml:3: edges.1: agent 2 hears itself; an agent's own weight is what is left of one "
        "(remove the edge)",
    ),
    "agent out of range": (
        "edges:\n  - [0, 1]\n  - {source: 1, target: 9}\n",
        "mine.yaml:3: edges.1: agent 9 is missing, agents are 0..3 (launch 10 agents or correct "
        "the edge)",
    ),
    "agent below zero": (
        "edges:\n  - [0, -1]\n",
        "mine.yaml:2: edges.0: agent -1 is missing, agents are 0..3 (count agents from 0)",
    ),
    "negative weight": (
        "edges:\n  - [0, 1, -0.5]\n",
        "mine.yaml:2: edges.0: weight -0.5 is negative, weights must be above 0 (give 0.5, or "
        "remove the edge)",
    ),
    "zero weight": (
        "edges:\n  - [0, 1, 0.0]\n",
        "mine.yaml:2: edges.0: weight 0 is zero, weights must be above 0 (remove the edge)",
    ),
    "infinite weight": (
        "edges:\n  - [0, 1, .inf]\n",
        "mine.yaml:2: edges.0: weight inf is not a finite number (give a number such as 0.5)",
    ),
    "weight that is no number": (
        "edges:\n  - {source: 0, target: 1, weight: .nan}\n",
        "mine.yaml:2: edges.0: weight nan is not a finite number (give a number such as 0.5)",
    ),
    "weight in words": (
        "edges:\n  - {source: 0, target: 1, weight: half}\n",
        "mine.yaml:2: edges.0.weight: should be a valid number, got 'half' (weight: 0.5)",
    ),
    "agent in words": (
        "edges:\n  - [zero, 1]\n",
        "mine.yaml:2: edges.0.source: should be a valid integer, got 'zero' (source: 1)",
    ),
    "edge without target": (
        "edges:\n  - {source: 0}\n",
        "mine.yaml:2: edges.0.target: is missing (add target)",
    ),
    "edge that is a number": (
        "edges:\n  - 3\n",
        "mine.yaml:2: edges.0: an edge is [source, target], [source, target, weight] or a mapping "
        "(for example [0, 1])",
    ),
    "some weights": (
        "edges:\n  - [0, 1, 0.5]\n  - [1, 0]\n",
        "mine.yaml:3: edges.1: has no weight, but other edges have one (give all edges a weight, "
        "or none)",
    ),
    "explicit without weights": (
        "edges: [[0, 1], [1, 0]]\nweights: explicit\n",
        "mine.yaml:1: edges.0: weights: explicit needs a weight on every edge (add one such as "
        "0.5, or write weights: uniform)",
    ),
    "uniform with weights": (
        "weights: uniform\nedges:\n  - [0, 1, 0.5]\n",
        "mine.yaml:3: edges.0: has a weight, but weights: uniform makes the weights (remove it or "
        "write weights: explicit)",
    ),
    "explicit family": (
        "family: ring\nweights: explicit\n",
        "mine.yaml:2: weights: weights: explicit needs edges with weights (remove the line "
        "weights)",
    ),
    "metropolis one way": (
        "weights: metropolis\nedges: [[0, 1], [1, 2], [2, 3], [3, 0], [0, 2]]\n",
        "mine.yaml:1: weights: metropolis weights need a graph that is heard both ways; agent 2 "
        "hears 2 and is heard by 1 (add the edges back, or use weights: push-sum)",
    ),
    "unknown family": (
        "version: 1\nfamily: rign\n",
        "mine.yaml:2: family: unknown family 'rign' (did you mean 'ring'?)",
    ),
    "unknown option": (
        "family:\n  kind: ring\n  direct: true\n",
        "mine.yaml:3: family.direct: unknown option (did you mean 'directed'?)",
    ),
    "option of no family": (
        "family: {kind: line, directed: true}\n",
        "mine.yaml:1: family.directed: unknown option (line has no options)",
    ),
    "option of a wrong type": (
        "family: {kind: star, hub: first}\n",
        "mine.yaml:1: family.hub: should be a valid integer, got 'first' (hub: 1)",
    ),
    "hub that is missing": (
        "family: {kind: star, hub: 4}\n",
        "mine.yaml:1: family.hub: agent 4 is missing, agents are 0..3 (hub: 0)",
    ),
    "rows that do not fit": (
        "family: {kind: torus, rows: 3}\n",
        "mine.yaml:1: family.rows: 4 agents cannot stand in 3 equal rows (rows: 2)",
    ),
    "family and edges": (
        "family: ring\nedges: [[0, 1]]\n",
        "mine.yaml:2: edges: a topology has either a family or edges, not both (keep one of them)",
    ),
    "neither": (
        "version: 1\nname: nothing\n",
        "mine.yaml:1: a topology has either a family or edges (for example: family: ring)",
    ),
    "unknown field": (
        "family: ring\nwieghts: uniform\n",
        "mine.yaml:2: wieghts: unknown field (did you mean 'weights'?)",
    ),
    "unknown field of an edge": (
        "edges:\n  - {source: 0, target: 1, wight: 1}\n",
        "mine.yaml:2: edges.0.wight: unknown field (did you mean 'weight'?)",
    ),
    "unknown weights": (
        "family: ring\nweights: metropolitan\n",
        "mine.yaml:2: weights: unknown weights 'metropolitan' (did you mean 'metropolis'?)",
    ),
    "unknown schedule": (
        "family: ring\nschedule: sometimes\n",
        "mine.yaml:2: schedule: unknown schedule 'sometimes' (known: static, rotate, one-peer, "
        "random)",
    ),
    "unknown version": (
        "version: 2\nfamily: ring\n",
        "mine.yaml:1: version: version 2 is unknown (this gala reads version 1)",
    ),
    "another size": (
        "agents: 5\nfamily: ring\n",
        "mine.yaml:1: agents: is for 5 agents, the launch has 4 (launch 5 agents or use a file "
        "with agents: any)",
    ),
    "size in words": (
        "agents: four\nfamily: ring\n",
        "mine.yaml:1: agents: must be a number from 1 to 100000 or any, got 'four' (agents: any)",
    ),
    "no agents at all": (
        "agents: 0\nfamily: ring\n",
        "mine.yaml:1: agents: must be a number from 1 to 100000 or any, got 0 (agents: 1)",
    ),
    "schedule of a timed family": (
        "family: one-peer-exponential\nschedule: static\n",
        "mine.yaml:2: schedule: one-peer-exponential brings its own rounds and takes no schedule "
        "(remove the line schedule)",
    ),
    "schedule of explicit weights": (
        "edges: [[0, 1, 0.5], [1, 2, 0.5], [2, 3, 0.5], [3, 0, 0.5]]\nschedule: rotate\n",
        "mine.yaml:2: schedule: schedule: rotate changes the edges of a round, weights cannot be "
        "explicit (remove the weights, or give every edge its round)",
    ),
    "weights of a weighted family": (
        "family: base\nweights: lazy\n",
        "mine.yaml:2: weights: base brings its own weights (remove the line weights)",
    ),
    "directed family": (
        "family: ring\ndirected: true\n",
        "mine.yaml:2: directed: directed belongs to a list of edges, not to a family (write "
        "family: {kind: ring, directed: true})",
    ),
    "round outside": (
        "rounds: 2\nedges:\n  - {source: 0, target: 1, round: 2}\n",
        "mine.yaml:3: edges.0.round: round 2 is outside 0..1 (round: 1)",
    ),
    "a list": (
        "- 1\n",
        "mine.yaml:1: a topology file is a mapping of fields (for example: family: ring)",
    ),
    "empty": ("\n  \n", "mine.yaml: is empty (for example: family: ring)"),
    "comments only": ("# nothing\n", "mine.yaml: is empty (a comment is no field)"),
    "malformed": (
        "family: ring\nedges: [[0, 1]\n",
        "mine.yaml:3: malformed YAML: ",  # the rest differs with and without libyaml
    ),
    "bomb": (
        "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n",
        "mine.yaml:2: aliases (*name) are not allowed (write the value out where it is used)",
    ),
    "python object": (
        "family: !!python/object/apply:os.system [ls]\n",
        "mine.yaml:1: malformed YAML: could not determine a constructor for the tag "
        "'tag:yaml.org,2002:python/object/apply:os.system' (remove the tag: values are plain text "
        "and numbers)",
    ),
    "a field in numbers": (
        "family: ring\n5: 3\n",
        'mine.yaml:2: 5: a field is a word, not a number ("5", or remove it)',
    ),
    "three groups": (
        "agents: 4\nedges: [[0, 1], [1, 0]]\n",
        "mine.yaml:2: edges: not strongly connected: agents {0, 1}, {2} and {3} never reach each "
        "other (add [1, 2], [2, 3], [3, 0])",
    ),
    "a group of its own": (
        "edges: [[0, 1], [2, 3]]\n",
        "mine.yaml:1: edges: not strongly connected: agents {0} or {2} are never reached by the "
        "others; agents {1} or {3} never reach the others (add [1, 2], [3, 0])",
    ),
    "endless rounds": (
        "rounds: 100000000\nedges: [[0, 1]]\n",
        "mine.yaml:1: rounds: should be less than or equal to 4096, got 100000000 (rounds: 4096)",
    ),
    "a world of agents": (
        "edges: [[0, 1]]\nagents: 1000000000\n",
        "mine.yaml:2: agents: must be a number from 1 to 100000 or any, got 1000000000 (agents: "
        "100000)",
    ),
    "an agent beyond numbers": (
        "edges:\n  - [0, 99999999999999999999999]\n",
        "mine.yaml:2: edges.0: agent 99999999999999999999999 is missing, agents are 0..99999 "
        "(correct the edge: 99999 is the last agent)",
    ),
    "family in numbers": (
        "version: 1\nfamily: 5\n",
        "mine.yaml:2: family: is a name or a mapping with kind, got 5 (family: ring)",
    ),
    "weights in numbers": (
        "weights: 5\nfamily: ring\n",
        "mine.yaml:1: weights: is a name or a mapping with kind, got 5 (weights: uniform)",
    ),
    "odd neighbours": (
        "family: {kind: small-world, neighbours: 5}\n",
        "mine.yaml:1: family.neighbours: should be a multiple of 2, got 5 (neighbours: 4)",
    ),
    "rounds of a family": (
        "family: ring\nrounds: 2\n",
        "mine.yaml:2: rounds: rounds belongs to a list of edges, not to a family (remove it, or "
        "write schedule: rotate)",
    ),
    "deep": (
        "version: 1\nedges: " + "[" * 50_000,
        "mine.yaml:2: malformed YAML: nested too deeply, the limit is 32 levels (close the "
        "brackets that are open)",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_every_mistake_has_its_line(case: str, tmp_path: Path) -> None:
    text, message = CASES[case]
    start = time.process_time()
    found = yaml_refusal(tmp_path, text)
    assert found.startswith(message) if case == "malformed" else found == message
    assert time.process_time() - start < 2


@pytest.mark.parametrize(
    ("family", "agents", "message"),
    [
        ("hypercube", 6, "a hypercube needs a power of two agents, got 6 (use 4 or 8 agents,"),
        ("bipartite-exponential", 5, "pairs need an even number of agents, got 5 (use 4 or 6"),
        ("{kind: random-regular, degree: 4}", 4, "4 agents have 3 others, degree cannot be 4"),
        ("{kind: hierarchical, per_host: 3}", 4, "4 agents cannot fill hosts of 3 (per_host: 2)"),
        (
            "{kind: erdos-renyi, probability: 0.001}",
            30,
            "30 agents stayed unconnected in 100 draws",
        ),
        ("complete", 5000, "5000 agents would have 24,995,000 edges, the limit is 20,000,000"),
    ],
)
def test_families_say_where_they_exist(
    tmp_path: Path, family: str, agents: int, message: str
) -> None:
    text = yaml_refusal(tmp_path, f"version: 1\nfamily: {family}\n", agents)
    assert text.startswith("mine.yaml:2: family") and message in text


def test_random_rounds_that_leave_agents_out(tmp_path: Path) -> None:
    text = "family: star\nschedule: {kind: random, period: 3}\n"
    assert yaml_refusal(tmp_path, text, 8) == (
        "mine.yaml:2: schedule: the 3 random rounds of one period leave some agents out (period: "
        "12, or another seed)"
    )


def test_names_that_lead_nowhere(tmp_path: Path) -> None:
    assert refusal(tmp_path / "rign.yaml", 4) == "rign.yaml: no such file (did you mean 'ring'?)"
    with pytest.raises(UserError, match=r"unknown topology 'rign' \(did you mean 'ring'\?\)"):
        load_topology("rign", 4)
    (tmp_path / "folder.yaml").mkdir()
    assert "is a folder" in refusal(tmp_path / "folder.yaml", 4)
    (tmp_path / "graph.gexf").write_text("x")
    assert refusal(tmp_path / "graph.gexf", 4).startswith(
        "graph.gexf: .gexf is no topology file (.yaml"
    )
    with pytest.raises(UserError, match="at least one agent"):
        load_topology("ring", 0)
    with pytest.raises(UserError, match="takes any number of agents"):
        load_topology("ring")


@pytest.mark.parametrize("suffix", [".yaml", ".json", ".graphml", ".edgelist", ".adjlist", ".csv"])
def test_empty_binary_and_huge_files(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"mine{suffix}"
    path.write_bytes(b"")
    assert "is empty" in refusal(path, 4)
    path.write_bytes(b"\xff\xfe\x00\x01")
    assert "is not UTF-8 text (byte 0)" in refusal(path, 4)
    with path.open("wb") as file:
        file.truncate(100 * 2**20)
    assert f"is 100 MiB, the limit for {suffix} is " in refusal(path, 4)


def test_deep_nesting(tmp_path: Path) -> None:
    assert "nested too deeply" in yaml_refusal(tmp_path, "edges: " + "[" * 2000 + "]" * 2000)
    path = tmp_path / "deep.json"
    path.write_text('{"nodes": ' + "[" * 100_000 + "]" * 100_000 + "}")
    assert "nested too deeply" in refusal(path, 4)


@settings(max_examples=80, deadline=None)
@given(
    text=st.text(max_size=120),
    suffix=st.sampled_from(["yaml", "json", "graphml", "edgelist", "csv"]),
)
def test_rubbish_is_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, text: str, suffix: str
) -> None:
    path = tmp_path_factory.mktemp("rubbish") / f"mine.{suffix}"
    path.write_text(text, encoding="utf-8")
    try:
        topology = load_topology(path, 4)
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert isinstance(topology, Topology)


def test_bad_json(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text('{"nodes": [\n{"id": 0},\n]}')
    assert refusal(path, 1).startswith("mine.json:3: malformed JSON: ")
    path.write_text('{"nodes": []}')
    assert "edges: is missing" in refusal(path, 1) or "links: is missing" in refusal(path, 1)
    path.write_text('{"nodes": [{"id": 0}, {"id": 1}],\n"edges": [\n{"source": 0, "target": 5}]}')
    assert refusal(path, 2) == (
        "mine.json:3: edges.0: leads to 5, which is no node (add the node; known: 0, 1)"
    )
    path.write_text('{"nodes": [{"id": 0}, {"id": 1}],\n"links": [{"source": 0}]}')
    assert refusal(path, 2) == (
        "mine.json:2: links.0: an edge is a mapping with source and target "
        '({"source": 0, "target": 1})'
    )
    path.write_text('{"nodes": [{"id": 0}, {"id": 0}], "edges": []}')
    assert "node 0 is given twice" in refusal(path, 2)
    path.write_text('{"nodes": [{"name": 0}], "edges": []}')
    assert "a node is a mapping with an id" in refusal(path, 2)
    path.write_text(
        '{"nodes": [{"id": 0}, {"id": 1}], "edges": [{"source": 0, "target": 1, "weight": "a"}]}'
    )
    assert "a weight is a number, got 'a'" in refusal(path, 2)
    path.write_text('{"nodes": [{"id": 0}], "edges": [], "graph": {"weights": "unfair"}}')
    assert "unknown weights 'unfair'" in refusal(path, 1)
    path.write_text('{"nodes": [{"id": 0}], "edges": [], "graph": {"rounds": 1e300}}')
    assert "graph.rounds: is a number from 1 to 4096" in refusal(path, 1)


def test_bad_graphml(tmp_path: Path) -> None:
    path = tmp_path / "mine.graphml"
    path.write_text("<graphml>\n<graph>\n</graphml>")
    assert refusal(path, 1) == (
        "mine.graphml:3: malformed XML: mismatched tag (write it with networkx.write_graphml)"
    )
    path.write_text('<!DOCTYPE lolz [<!ENTITY lol "lol">]>\n<graphml/>')
    assert refusal(path, 1) == (
        "mine.graphml:1: a DOCTYPE is not allowed (remove it and its entities)"
    )
    path.write_text("<graphml/>")
    assert refusal(path, 1) == (
        "mine.graphml: is no GraphML that networkx reads: file not successfully read as graphml "
        "(write it with networkx.write_graphml)"
    )
    path.write_text(
        '<graphml><key id="w" for="edge" attr.name="weight" attr.type="double"/><graph>'
        '<node id="0"/><node id="1"/><edge source="0" target="1"><data key="w">much</data></edge>'
        "</graph></graphml>"
    )
    assert "could not convert string to float: 'much'" in refusal(path, 2)


def test_entities_of_xml_are_not_expanded(tmp_path: Path) -> None:
    """Ten entities of ten of the one before: gigabytes, if anybody asked for the last."""
    path, kinds = tmp_path / "mine.graphml", "abcdefghij"
    entities = '<!ENTITY a "x">' + "".join(
        f'<!ENTITY {new} "{f"&{old};" * 10}">' for old, new in zip(kinds, kinds[1:], strict=False)
    )
    graph = '<graphml><graph><node id="0"/></graph></graphml>'
    path.write_text(f'<?xml version="1.0"?>\n<!DOCTYPE g [{entities}]>\n' + graph)
    assert refusal(path, 1).startswith("mine.graphml:2: a DOCTYPE is not allowed")
    start = time.process_time()
    path.write_text(
        graph.replace('"/>', '"><data key="k">' + "x&amp;" * 400_000 + "</data></node>")
    )
    assert "no key k" in refusal(path, 1)
    assert time.process_time() - start < 2


def test_what_is_no_regular_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    os.mkfifo(path)
    assert refusal(path, 4) == "mine.yaml: is no regular file (copy it into one)"


def test_bad_lists(tmp_path: Path) -> None:
    path = tmp_path / "mine.edgelist"
    path.write_text("# a comment\n0 1\n1\n")
    assert refusal(path, 2) == (
        "mine.edgelist:3: an edge is: source target [weight] (for example 0 1)"
    )
    path.write_text("0 1 heavy\n")
    assert refusal(path, 2) == (
        "mine.edgelist:1: 'heavy' is neither a weight nor a mapping (for example 0 1 0.5; names "
        "with spaces need .json or .graphml)"
    )
    path.write_text("0 1 {'weight': __import__('os')}\n")
    assert "is neither a weight nor a mapping" in refusal(path, 2)
    path.write_text("0 1 0.5\n1 0 -1\n")
    assert refusal(path, 2) == (
        "mine.edgelist:2: edges.1: weight -1 is negative, weights must be above 0 (give 1, or "
        "remove the edge)"
    )
    path.write_text("0 1\n1 2\n")
    assert "is for 3 agents, the launch has 4" in refusal(path, 4)


def test_bad_matrices(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("0.5,0.5\n0.5,0.6\n")
    assert refusal(path, 2) == (
        "mine.csv:2: row 1: sums to 1.1, a row must sum to 1 (give agent 1 itself 0.5, column 1)"
    )
    path.write_text("# two agents\n0.5,0.5\n0.5,x\n")
    assert refusal(path, 2) == "mine.csv:3: 'x' is not a number (for example 0.5)"
    path.write_text("0.5,0.5\n0.5\n")
    assert refusal(path, 2) == "mine.csv:2: has 1 entries, the rows before have 2 (give 2 numbers)"
    path.write_text("0.5,0.5\n")
    assert refusal(path, 2).startswith("mine.csv:1: is 1 x 2, expected 2 x 2 (")
    path.write_text("1.5,-0.5\n0.5,0.5\n")
    assert refusal(path, 2) == (
        "mine.csv:1: row 0: weight -0.5 is negative, weights must be above 0 (column 1: give 0.5, "
        "or remove the edge)"
    )
    path.write_text("nan,0.5\n0.5,0.5\n")
    assert refusal(path, 2) == (
        "mine.csv:1: row 0: weight nan is not a finite number (column 0: give a number such as 0.5)"
    )
    path.write_text("1,0.5\n0,0.5\n")
    assert "its columns do: transpose it" in refusal(path, 2)
    path.write_text("0,1,1\n1,0,1\n1,1,0\n")
    assert "looks like an adjacency matrix" in refusal(path, 3)
    path.write_text("0.5,0.5\n0.5,0.5\n\n1\n")
    assert "expected 1 x 1 like the first round, 2 agents" in refusal(path, 2)

    path = tmp_path / "mine.npy"
    path.write_bytes(b"rubbish")
    assert refusal(path, 2).startswith("mine.npy: is not a .npy array")
    np.save(path, np.array([{}], dtype=object), allow_pickle=True)
    assert refusal(path, 2).startswith("mine.npy: is not a .npy array")
    np.save(path, np.ones(3))
    assert refusal(path, 2) == (
        "mine.npy: is 3, expected N x N or rounds x N x N (reshape it, for example to 4 x 4)"
    )
    np.save(path, np.array([["a"]]))
    assert "expected numbers" in refusal(path, 2)
    np.save(path, np.full((2, 3, 3), 0.3))
    assert "mine.npy: round 0, row 0: sums to 0.9, a row must sum to 1" in refusal(path, 3)


def test_what_excel_writes(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_bytes(b"\xef\xbb\xbf0.5,0.5\r\n0.5,0.5\r\n")
    assert load_topology(path).agents == 2
    path.write_text("0,5;0,5\n0,5;0,5\n")
    assert "separate numbers by commas and write decimals with a point" in refusal(path, 2)


def test_arrays_that_are_none_are_refused_in_our_words(tmp_path: Path) -> None:
    path = tmp_path / "mine.npy"
    with path.open("wb") as file:
        file.truncate(100 * 2**20)
    assert refusal(path, 2) == (
        "mine.npy: is not a .npy array of numbers (write it with numpy.save, for example of a 4 x "
        "4 array)"
    )
    np.save(path, np.ones((100_000, 1, 1)))
    assert "the limit is 4096 rounds" in refusal(path, 1)


def test_numbers_beyond_numbers(tmp_path: Path) -> None:
    path, huge = tmp_path / "mine.json", "1" + "0" * 400
    edge = '{"nodes": [{"id": 0}, {"id": 1}], "edges": [{"source": 0, "target": 1, %s}]}'
    path.write_text(edge % f'"weight": {huge}')
    assert "edges.0: weight inf is not a finite number (give" in refusal(path, 2)
    path.write_text(edge % f'"round": {huge}')
    assert "a round is a number from 0 to 4095, got a number of more than 40" in refusal(path, 2)
    path.write_text(edge % f'"weight": {"1" * 5000}')
    assert "malformed JSON: Exceeds the limit" in refusal(path, 2)
    path = tmp_path / "mine.edgelist"
    for weight in (huge, "nan", "{'weight': inf}"):
        path.write_text(f"0 1 {weight}\n1 0 1\n")
        assert "mine.edgelist:1: edges.0: weight" in refusal(path, 2)
        assert "is not a finite number (give a number such as 0.5)" in refusal(path, 2)
    path.write_text(f"# a name of digits\n0 {'1' * 5000}\n")
    assert load_topology(path).agents == 2


def test_lines_of_tabs_and_comments(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    graph = {"nodes": [{"id": 0}, {"id": 1}], "edges": [{"source": 0, "target": 5}]}
    path.write_text(json.dumps(graph, indent="\t"))
    assert refusal(path, 2).startswith("mine.json:11: edges.0: leads to 5")
    path.write_text('{\n\t"name": "\\ud83d\\ude00",\n\t"family": "rign"\n}')
    assert refusal(path, 2).startswith("mine.json:3: family: unknown family 'rign'")
    path.write_text('{"nodes":\n' + "[" * 100_000)
    assert refusal(path, 2).startswith("mine.json:2: malformed JSON: nested too deeply")
    path = tmp_path / "mine.edgelist"
    path.write_text("# directed\n# rounds abc\n0 1\n1 0\n")
    assert refusal(path, 2) == (
        "mine.edgelist:2: graph.rounds: is a number from 1 to 4096, got 'abc' (rounds: 1)"
    )
    path.write_text("# weights uniform\n0 1\n# discount foo\n1 0\n")
    assert refusal(path, 2).startswith("mine.edgelist:3: graph.discount: is a number above 0")


def test_limits_come_before_anything_is_built(tmp_path: Path) -> None:
    start = time.process_time()
    with pytest.raises(UserError, match="2,000,000,000 agents are too many, the limit is 100,000"):
        load_topology("ring", 2_000_000_000)
    refused = {
        "family: {kind: base, peers: 1000000000}": "would have 9,999,900,000 edges",
        "family: {kind: random-regular, degree: 90000}": "(degree: 200)",
        "family: {kind: small-world, neighbours: 90000}": "(neighbours: 200)",
        "family: {kind: hierarchical, per_host: 50000}": "(per_host: 200)",
        "family: {kind: erdos-renyi, probability: 1}": "(probability: 0.002)",
        "family: {kind: random-peer, period: 4096}": "(period: 200)",
        "family: ring\nschedule: {kind: random, period: 4096}": "(period: 200)",
        "family: complete": "the limit is 20,000,000 (use exponential",
    }
    for text, words in refused.items():
        assert words in yaml_refusal(tmp_path, text, 100_000), text
    edges = "[" + ", ".join(f"[{i}, {i + 1}]" for i in range(9_000)) + "]"
    text = yaml_refusal(tmp_path, f"agents: 9001\nrounds: 4096\nedges: {edges}", None)
    assert "rounds: 4,096 rounds are too many, the limit for 9,001 agents is 2,221" in text
    assert time.process_time() - start < 8
    assert load_topology("star", 5000).agents == 5000


def test_shipped_topologies_are_named_as_they_were_asked_for(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        load_topology("ring")
    assert str(caught.value) == "ring: takes any number of agents; which? (give --agents N)"
    with pytest.raises(UserError, match=r"^two-pairs: agents: is for 4 agents, the launch has 7"):
        load_topology("two-pairs", 7)
    assert refusal(tmp_path, None).endswith(
        "is a folder, expected a topology file (name a file in it)"
    )
