"""Agents whose actors are processes: whoever is killed, training goes on and nothing is left."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from launching import (
    experiment,
    finish,
    gala,
    interrupt,
    newest_state,
    records,
    start,
    updates_done,
    wait_until,
)  # fmt: skip

from gala.launch.processes import children

pytestmark = pytest.mark.timeout(400)

TEXT = """
algorithm: vtrace
total_steps: {total_steps}
topology: directed-ring
env: {{id: CartPole-v1, num_envs: 4}}
actors: {{count: 2}}
network: {{kind: mlp, hidden: [16]}}
log: {{every_s: 0.1, console_s: 0.5, tensorboard: false}}
"""


def below(pid: int) -> dict[int, str]:
    """Command lines of all processes below ``pid``."""
    found: dict[int, str] = {}
    for child in children(pid):
        try:
            text = Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        found |= {child: text} | below(child)
    return found


def actors_of(pid: int) -> list[int]:
    return [child for child, text in below(pid).items() if "-m gala.actors." in text]


def events(run: Path, rank: int, kind: str) -> list[str]:
    return [r["message"] for r in records(run, rank) if r.get("event") == kind]


@pytest.mark.parametrize("inference", ["own", pytest.param("central", marks=pytest.mark.long)])
def test_gossip_goes_on_while_actors_and_agents_are_killed(tmp_path: Path, inference: str) -> None:
    run = tmp_path / "run"
    path = experiment(tmp_path, total_steps=10**9, text=TEXT)
    process = start("train", path, "--agents", 2, "--run-dir", run, "--actors.inference", inference)
    wait_until(lambda: min(updates_done(run, rank) for rank in (0, 1)) > 10, process)
    first = actors_of(process.pid)
    assert len(first) == 4
    for actor in first:
        os.kill(actor, signal.SIGKILL)
    wait_until(lambda: sum(len(events(run, rank, "actor")) for rank in (0, 1)) == 4, process)
    assert all("signal 9" in text for rank in (0, 1) for text in events(run, rank, "actor"))
    wait_until(lambda: len(set(actors_of(process.pid)) - set(first)) == 4, process)
    done = [updates_done(run, rank) for rank in (0, 1)]
    wait_until(lambda: all(updates_done(run, k) > done[k] + 10 for k in (0, 1)), process)

    second = set(actors_of(process.pid))
    agent = next(pid for pid, text in below(process.pid).items() if second & set(children(pid)))
    orphans = second & set(children(agent))
    os.kill(agent, signal.SIGKILL)
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in orphans), process)
    wait_until(lambda: any(r["incarnation"] == 1 for k in (0, 1) for r in records(run, k)), process)
    wait_until(lambda: len(actors_of(process.pid)) == 4, process)
    last = actors_of(process.pid)

    def all_act_and_mix(rank: int) -> bool:
        newest = [r for r in records(run, rank) if "event" not in r][-1]
        return newest.get("actors/alive") == 2 and newest.get("gossip/mixes", 0) > 0

    wait_until(lambda: all_act_and_mix(0) and all_act_and_mix(1), process)
    output, _ = interrupt(process)
    assert process.returncode == 0, output
    assert not any(Path(f"/proc/{pid}").exists() for pid in last)
    run_id = json.loads((run / "meta.json").read_text())["run_id"]
    assert not any(run_id in name for name in os.listdir("/dev/shm"))
    lags = [r for r in records(run, 0) if "policy/lag_max" in r]
    assert lags and all(r["policy/lag_max"] >= r["policy/lag"] >= 0 for r in lags)


def test_checkpoints_and_eval_with_and_without_actors(tmp_path: Path) -> None:
    run = tmp_path / "run"
    path = experiment(tmp_path, total_steps=2000, text=TEXT)
    opening = gala("train", path, "--run-dir", run)
    assert "actors     2 processes of each agent, 2 environments each" in opening
    state = newest_state(run, 0)
    assert state["step"] == state["update"] * 20 * 4 >= 2000, "counted as without actors"
    table = json.loads(gala("eval", run, "--episodes", 2, "--json"))
    assert table["results"][0]["mean_return"] > 0
    for more, actors in ((4000, 0), (6000, 4)):
        gala("train", "--resume", run, "--total-steps", more, "--actors.count", actors)
        assert newest_state(run, 0)["step"] >= more


def test_a_signal_from_the_terminal_leaves_actors_for_the_last_update(tmp_path: Path) -> None:
    run = tmp_path / "run"
    path = experiment(tmp_path, total_steps=10**9, text=TEXT)
    process = start("train", path, "--run-dir", run)
    wait_until(lambda: updates_done(run, 0) > 3, process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    output = finish(process)
    assert process.returncode == 0, output
    assert events(run, 0, "actor") == [], "actors stay to the last update"


def test_actors_hear_a_copy_that_acts_with_duals_and_a_memory(tmp_path: Path) -> None:
    run = tmp_path / "run"
    path = experiment(tmp_path, total_steps=2000, text=TEXT)
    options = "--algorithm vmpo --vmpo.act-every 5 --network.memory gru".split()
    gala("train", path, "--run-dir", run, *options)
    assert newest_state(run, 0)["step"] >= 2000
    lags = [r["policy/lag_max"] for r in records(run, 0) if "policy/lag_max" in r]
    assert lags and max(lags) > 0


def test_central_inference_learns_with_a_memory_and_goes_on(tmp_path: Path) -> None:
    run = tmp_path / "run"
    path = experiment(tmp_path, total_steps=4000, text=TEXT)
    options = "--actors.inference central --network.memory gru".split()
    opening = gala("train", path, "--run-dir", run, *options)
    assert "2 environments each, which step; it acts for all of them" in opening
    newest = [r for r in records(run, 0) if "actors/batch" in r][-1]
    assert 2 <= newest["actors/batch"] <= newest["actors/batch_max"] <= 4
    gala("train", "--resume", run, "--total-steps", 6000, "--actors.inference", "own")
    assert newest_state(run, 0)["step"] >= 6000
