"""Runs that go on with another number of agents, or without the files they were started from."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from launching import finish, start

from gala.run import checkpoint

SMALL = (
    "--env.id", "gala/Identity-v0", "--env.num-envs", "4", "--network.hidden", "[16]",
    "--log.every-s", "0.1", "--log.no-tensorboard", "--checkpoint.keep", "99",
)  # fmt: skip


def train(*arguments: object, code: int = 0) -> str:
    process = start("train", *arguments)
    output = finish(process)
    assert process.returncode == code, output
    return output


def steps(run: Path) -> list[int]:
    """Of each agent, as its newest record says."""
    files = sorted(run.glob("rank_*/metrics.jsonl"))
    return [json.loads(path.read_text().splitlines()[-1])["step"] for path in files]


def events(run: Path, rank: int) -> list[dict[str, Any]]:
    lines = (run / f"rank_{rank:02d}/metrics.jsonl").read_text().splitlines()
    return [record for line in lines if "event" in (record := json.loads(line))]


@pytest.mark.parametrize("staleness", [pytest.param("null", marks=pytest.mark.long), "0"])
def test_more_agents_begin_as_their_neighbours(tmp_path: Path, staleness: str) -> None:
    run = tmp_path / "r"
    goal = 3200 if staleness == "0" else 12_000  # whoever comes later has its part, too
    train("--agents", 2, *SMALL, "--gossip.max-staleness", staleness, "--total-steps", 2000,
          "--run-dir", run)  # fmt: skip
    before = steps(run)
    output = train("--resume", run, "--agents", 3, "--total-steps", goal)
    told = "the run had 2 agents and goes on with 3: agent 2 begins with a neighbour's parameters"
    assert output.count(told) == 1
    after = steps(run)
    assert all(a > b for a, b in zip(after, [*before, 0], strict=True))
    assert goal <= sum(after) < goal + 3 * 60  # the newcomer's own steps count, no others
    messages = [event["message"] for event in events(run, 2) if event["event"] == "join"]
    assert "goes on with parameters of agent" in messages[0] or "begins as agent" in messages[0]
    if staleness == "0":  # in lock-step nobody comes late
        first = checkpoint.updates(run / "rank_02/checkpoints")[0]
        states = [
            checkpoint.load(checkpoint.path_of(run / f"rank_{rank:02d}/checkpoints", first))
            for rank in (1, 2)
        ]
        assert torch.equal(states[0]["params"], states[1]["params"])
        assert states[0]["run_steps"] == states[1]["run_steps"] >= 2000
    assert "agents: 3" in (run / "config.yaml").read_text().splitlines()
    assert json.loads((run / "topology.json").read_text())["agents"] == 3
    again = train("--resume", run, "--total-steps", goal + 600)  # as many as it has now
    assert "goes on with" not in again and sum(steps(run)) >= goal + 600


@pytest.mark.long
def test_fewer_agents_leave_the_others_as_they_are(tmp_path: Path) -> None:
    run = tmp_path / "r"
    train("--agents", 3, *SMALL, "--total-steps", 2400, "--run-dir", run)
    left = (run / "rank_02/metrics.jsonl").read_bytes()
    output = train("--resume", run, "--agents", 2, "--total-steps", 3200)
    assert "had 3 agents and goes on with 2: agent 2 stays away" in output
    assert (run / "rank_02/metrics.jsonl").read_bytes() == left
    assert 3200 <= sum(steps(run)) < 3200 + 2 * 60
    output = train("--resume", run, "--agents", 1, "--total-steps", 3600)
    assert "agent 1 stays away" in output and 3600 <= sum(steps(run)) < 3700


@pytest.mark.long
def test_agents_that_stayed_away_come_back(tmp_path: Path) -> None:
    run = tmp_path / "r"
    train("--agents", 3, *SMALL, "--total-steps", 2400, "--run-dir", run)
    train("--resume", run, "--agents", 1, "--total-steps", 3200)
    output = train("--resume", run, "--agents", 3, "--total-steps", 4400)
    assert "agents 1 to 2 begin with a neighbour's parameters" in output
    assert 4400 <= sum(steps(run)) < 4400 + 3 * 60


def test_a_topology_that_does_not_fit_is_one_line(tmp_path: Path) -> None:
    graph, run = tmp_path / "two.yaml", tmp_path / "r"
    graph.write_text("agents: 2\nedges: [[0, 1], [1, 0]]\n")
    train("--agents", 2, *SMALL, "--topology", graph, "--total-steps", 400, "--run-dir", run)
    output = train("--resume", run, "--agents", 3, "--total-steps", 800, code=2)
    assert output.startswith("gala: error: ") and output.count("\n") == 1
    assert "is for 2 agents, the launch has 3" in output
    graph.unlink()  # what the run had lies in the run
    train("--resume", run, "--total-steps", 800)
    assert sum(steps(run)) >= 800


def test_runs_of_one_second_each_have_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    jobs = [start("train", *SMALL, "--total-steps", 100, "--seed", seed) for seed in range(3)]
    outputs = [finish(job) for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0, 0], outputs
    seeds = [json.loads(p.read_text())["seed"] for p in tmp_path.glob("runs/*/meta.json")]
    assert sorted(seeds) == [0, 1, 2]
