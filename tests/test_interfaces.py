"""Names that other programs rely on: add to them freely, change none."""

import json
from pathlib import Path

import networkx as nx
import numpy as np
import pytest

from gala import cli, errors
from gala.topology import load_topology


def test_exit_codes() -> None:
    codes = (errors.EXIT_OK, errors.EXIT_BAD_INPUT, errors.EXIT_ALARM, errors.EXIT_START_AGAIN)
    assert codes == (0, 2, 3, 75)


def test_gala_topology_prints_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["topology", "directed-ring", "--agents", "4", "--json"]) == 0
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    promised = {
        "name", "agents", "edges", "in_degree", "out_degree", "strongly_connected",
        "row_stochastic", "doubly_stochastic", "period", "beta", "gap", "factor", "diameter",
        "messages_per_update", "warnings",
    }  # fmt: skip
    assert promised <= set(report)
    assert report["agents"] == 4 and report["doubly_stochastic"] is True
    beta = np.cos(np.pi / 4)  # of a directed ring with self-weight 1/2
    assert report["beta"] == pytest.approx(beta) and report["gap"] == pytest.approx(1 - beta)
    assert report["factor"] == pytest.approx(beta / (1 - beta))


def test_gala_topology_draws_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "ring.png"
    assert cli.main(["topology", "ring", "--agents", "6", "--plot", str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    shown = capsys.readouterr().out
    for word in ("beta", "doubly stochastic", "messages"):
        assert word in shown


HEAD = "version: 1\nname: mine\n"
FILES = {
    f"{HEAD}agents: any\nfamily: ring\n": 5,
    f"{HEAD}agents: any\nfamily: ring\nweights: metropolis\n": 5,
    f"{HEAD}agents: any\nfamily: {{kind: ring, directed: true}}\nweights: lazy\n": 5,
    f"{HEAD}agents: 3\nedges: [[0, 1], [1, 2], [2, 0]]\nweights: uniform\n": 3,
    f"{HEAD}agents: 2\nweights: explicit\nedges:\n  - {{source: 0, target: 1, weight: 0.5}}\n"
    "  - {source: 1, target: 0, weight: 0.5}\n": 2,
}


@pytest.mark.parametrize("text", FILES)
def test_topology_files_of_version_one(tmp_path: Path, text: str) -> None:
    path = tmp_path / "graph.yaml"
    path.write_text(text)
    topology = load_topology(path, FILES[text])
    assert topology.name == "mine" and topology.agents == FILES[text]
    np.testing.assert_allclose(topology.matrix(0).sum(1), 1.0)


def test_an_edge_means_that_its_target_listens() -> None:
    """``source`` is heard by ``target``: the weight stands in the target's row."""
    topology = load_topology("directed-ring", 4)
    assert topology.in_neighbours(1) == (0,) and topology.out_neighbours(1) == (2,)
    assert topology.row(1, 0) == (0.5, {0: 0.5})


@pytest.mark.parametrize("key", ["links", "edges"])
def test_node_link_files_of_networkx(tmp_path: Path, key: str) -> None:
    path = tmp_path / "graph.json"
    path.write_text(json.dumps(nx.node_link_data(nx.cycle_graph(5), edges=key)))
    topology = load_topology(path, 5)
    assert topology.in_neighbours(0) == (1, 4)  # undirected: heard both ways
