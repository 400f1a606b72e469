"""The couplings, and asynchronous gossip, in real processes."""

import json
from pathlib import Path

import pytest
import torch
from launching import equal, experiment, gala, newest_state, records

from gala.gossip.shared_memory import folder_of

pytestmark = pytest.mark.timeout(300)

STEPS = 9000


def run_with(tmp_path: Path, *arguments: object) -> Path:
    run = tmp_path / "run"
    output = gala(
        "train",
        experiment(tmp_path, total_steps=STEPS),
        "--agents",
        3,
        "--run-dir",
        run,
        *arguments,
    )
    assert "finished" in output and "Traceback" not in output
    return run


@pytest.mark.slow
def test_gossip_never_waits_and_cleans_up(tmp_path: Path) -> None:
    run = run_with(tmp_path)
    last = [[r for r in records(run, rank) if "event" not in r][-1] for rank in range(3)]
    assert sum(record["step"] for record in last) >= STEPS
    for record in last:
        assert record["gossip/mixes"] > 0
        assert record["gossip/wait_ms"] == 0
        assert record["gossip/messages_refused"] == 0
        assert record["charts/episodic_return"] > 6.5  # chance is 5
    meta = json.loads((run / "meta.json").read_text())
    assert meta["agents"] == 3 and not folder_of(meta["run_id"]).exists()
    assert json.loads((run / "topology.json").read_text())["name"] == "directed-ring"
    measured = [r["divergence/epsilon_ratio"] for r in records(run, 0) if "divergence/total" in r]
    assert measured and all(ratio is None or ratio <= 1 for ratio in measured)


@pytest.mark.slow
def test_allreduce_keeps_parameters_equal_and_agents_share_the_steps(tmp_path: Path) -> None:
    run = run_with(tmp_path, "--coupling", "allreduce")
    states = [newest_state(run, rank) for rank in range(3)]
    assert all(torch.equal(state["params"], states[0]["params"]) for state in states)
    assert {state["step"] for state in states} == {STEPS // 3}


@pytest.mark.slow
def test_agents_whose_gradients_are_averaged_end_an_update_together(tmp_path: Path) -> None:
    """Whoever stopped its epochs alone would leave the others waiting."""
    run = run_with(
        tmp_path, "--coupling", "allreduce", "--algorithm", "ppo", "--ppo.n-step", 20,
        "--ppo.lr", "1e-2", "--ppo.stop-kl", "0.01", "--env.normalize-observation",
    )  # fmt: skip
    states = [newest_state(run, rank) for rank in range(3)]
    assert all(torch.equal(state["params"], states[0]["params"]) for state in states)
    assert len({state["update"] for state in states}) == 1


@pytest.mark.slow
def test_agents_without_coupling_drift_apart_from_the_same_start(tmp_path: Path) -> None:
    run = run_with(tmp_path, "--coupling", "none")
    states = [newest_state(run, rank) for rank in range(3)]
    assert not torch.equal(states[0]["params"], states[1]["params"])
    last = [r for r in records(run, 0) if "divergence/total" in r][-1]
    assert last["divergence/total"] > 0 and last["divergence/epsilon"] is None


@pytest.mark.slow
def test_python_m_gala_train_is_one_agent(tmp_path: Path) -> None:
    import subprocess
    import sys

    run = tmp_path / "run"
    done = subprocess.run(
        [sys.executable, "-m", "gala.train", str(experiment(tmp_path, total_steps=2000)),
         "--run-dir", str(run)],
        capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "1 x 4 environments = 4" in done.stdout
    assert newest_state(run, 0)["step"] == 2000


SHARED = ("--coupling", "shared", "--a2c.optimizer", "rmsprop")


@pytest.mark.slow
def test_one_agent_that_shares_is_a2c_bit_for_bit(tmp_path: Path) -> None:
    file = experiment(tmp_path, total_steps=STEPS // 3)
    for coupling in ("shared", "none"):
        gala("train", file, *SHARED, "--coupling", coupling, "--run-dir", tmp_path / coupling)
    one, other = (newest_state(tmp_path / coupling, 0) for coupling in ("shared", "none"))
    assert torch.equal(one["params"], other["params"]) and equal(one["learner"], other["learner"])


@pytest.mark.slow
def test_agents_that_share_survive_a_kill_and_leave_nothing(tmp_path: Path) -> None:
    run = run_with(tmp_path, *SHARED, "--faults.at", "rank=1,update=20,kind=kill")
    states = [newest_state(run, rank) for rank in range(3)]
    assert sum(state["step"] for state in states) >= STEPS
    (back,) = (r["message"] for r in records(run, 1) if r.get("event") == "alive")
    assert "incarnation 1" in back
    meta = json.loads((run / "meta.json").read_text())
    assert not folder_of(meta["run_id"]).exists()


@pytest.mark.slow
def test_what_cannot_be_shared_is_one_line(tmp_path: Path) -> None:
    said = gala("train", "cartpole", "--agents", 2, "--coupling", "shared", code=2)
    assert "--a2c.optimizer" in said and "rmsprop" in said and len(said.splitlines()) == 1
