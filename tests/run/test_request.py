"""What a run folder alone says when a run goes on."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest

from gala.errors import UserError
from gala.files import shipped
from gala.files.yaml import load_yaml
from gala.run.config import Config, config_type, from_document
from gala.run.folder import prepare
from gala.run.request import configured_agents, read_request
from gala.topology import load_topology

GRAPH = "agents: 2\nedges: [[0, 1, 0.3], [1, 0, 0.25]]\n"


def make(path: Path, topology: str = "ring", agents: int = 2) -> Path:
    config = config_type()(topology=topology, agents=agents, seed=3)
    graph = load_topology(topology, agents).to_json()
    prepare(path, config=config, agents=agents, topology=graph, facts={}, resume=False)
    return path


def test_a_topology_file_may_be_gone(tmp_path: Path) -> None:
    graph = tmp_path / "graph.yaml"
    graph.write_text(GRAPH)
    run, before = make(tmp_path / "r", str(graph)), load_topology(graph, 2)
    graph.unlink()
    request = read_request(["--resume", str(run)], 2)
    assert request.topology == before and request.topology.name == "graph"
    assert (request.agents_before, request.config.seed) == (2, 3)
    with pytest.raises(UserError, match="no such file"):  # of another number there is no copy
        read_request(["--resume", str(run)], 3)


def test_another_number_makes_a_family_anew(tmp_path: Path) -> None:
    run = make(tmp_path / "r", "exponential")
    for agents in (1, 2, 3, 8):
        request = read_request(["--resume", str(run)], agents)
        assert request.topology == load_topology("exponential", agents)
        assert request.agents_before == 2


def test_a_fixed_file_that_does_not_fit_is_one_line(tmp_path: Path) -> None:
    graph = tmp_path / "graph.yaml"
    graph.write_text(GRAPH)
    run = make(tmp_path / "r", str(graph))
    with pytest.raises(UserError, match="is for 2 agents, the launch has 3"):
        read_request(["--resume", str(run)], 3)
    request = read_request(["--resume", str(run), "--topology", "ring"], 3)
    assert request.topology == load_topology("ring", 3)


@pytest.mark.parametrize("name", ["topology.json", "config.yaml", "meta.json"])
@pytest.mark.parametrize("content", [b"", b"[1]", b"\x00\xff", "a: x\n".encode("utf-16"), b"{"])
def test_damaged_files_are_one_line(tmp_path: Path, name: str, content: bytes) -> None:
    run = make(tmp_path / "r")
    (run / name).write_bytes(content)
    with pytest.raises(UserError) as error:
        read_request(["--resume", str(run)], 2)
    assert "\n" not in str(error.value) and str(tmp_path) in str(error.value)


def test_the_version_that_wrote_a_run_is_named(tmp_path: Path) -> None:
    run = make(tmp_path / "r")
    meta = json.loads((run / "meta.json").read_text())
    with open(run / "config.yaml", "a") as file:
        file.write("from_the_future: 1\n")
    with pytest.raises(UserError) as error:
        read_request(["--resume", str(run)], 2)
    assert "written by" not in str(error.value)  # it was this one
    (run / "meta.json").write_text(json.dumps(meta | {"gala": "9.9.9"}))
    with pytest.raises(UserError, match=r"from_the_future: unknown field .*gala 9\.9\.9"):
        read_request(["--resume", str(run)], 2)


@pytest.mark.parametrize(
    ("text", "agents"), [("4", 4), ("1e1", 10), ("0", 1), ("'4'", 1), ("true", 1), ("1e300", 1)]
)
def test_agents_of_a_file(tmp_path: Path, text: str, agents: int) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(f"agents: {text}\n")
    assert configured_agents([str(path)]) == agents


@pytest.mark.parametrize("name", ["1e3", "on", "null", "~"])
def test_runs_with_odd_names_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    make(Path(name))
    assert os.listdir() == [name]
    assert read_request(["--resume", name], 2).run_dir == Path(name)
    assert isinstance(read_request(["--run-dir", name], 1).config, Config)


@pytest.mark.parametrize(
    ("options", "field", "hint"),
    [
        ("--actors.count 4 --actors.slots 3", "--actors.slots", "4"),
        ("--actors.count 5", "--actors.count", "4"),
        ("--actors.count 32", "--actors.count", "16"),
        ("--actors.count 4 --env.normalize-reward", "--env.normalize-reward", "--actors.count 0"),
    ],
)
def test_actors_that_cannot_share_are_refused(options: str, field: str, hint: str) -> None:
    with pytest.raises(UserError) as caught:
        read_request(options.split(), 1)
    assert (caught.value.field, caught.value.hint) == (field, hint)


def test_actors_that_share(tmp_path: Path) -> None:
    request = read_request("--actors.count 4 --actors.slots 4 --env.num-envs 8".split(), 1)
    assert request.config.actors.slots == 4


@pytest.mark.parametrize("experiment", ["cartpole", "pong"])
@pytest.mark.parametrize("agents", [1, 3])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"seed": 2**64 - 1, "topology": "exponential", "env.wrappers": ["a:B"], "log.wandb": "1e3"},
        {"coupling": "none", "gossip.timeout_s": 1e-9, "faults.drop": 1.0, "network.hidden": None,
         "log.wandb": "null", "env.kwargs": {"on": "1e3", "y": " null"}, "algorithm": "a2c",
         "a2c.lr": 1e-12},
    ],
)  # fmt: skip
def test_the_configuration_of_a_run_reruns_it(
    experiment: str, agents: int, options: dict[str, Any]
) -> None:
    """Number of agents included; whatever was given as a file or as options."""
    document = load_yaml(shipped.resolve("experiments", experiment))
    config = from_document(document, [*options.items(), ("agents", agents)])
    graph = load_topology(config.topology, agents)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_text(config.to_yaml())
        count = configured_agents([str(path)])
        again = read_request([str(path)], agents=count)
    assert count == agents and again.topology.to_json() == graph.to_json()
    assert again.config.to_dict() == config.to_dict()  # of the algorithm that is chosen


@pytest.mark.parametrize("words", [["--insecure", "false"], ["--insecure=no"], ["--no-insecure"]])
def test_who_says_that_a_launch_is_not_insecure_is_believed(words: list[str]) -> None:
    """Options of the launch are in no section that checks them again."""
    assert read_request(words).security.insecure is False
    assert read_request(["--insecure"]).security.insecure is True
    with pytest.raises(UserError, match="^--insecure: must be true or false, got 'maybe'$"):
        read_request(["--insecure=maybe"])
