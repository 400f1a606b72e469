"""CartPole from the shipped experiment file, gossiping, in real processes."""

from pathlib import Path

import pytest
from launching import gala, records


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("algorithm", "steps"), [("a2c", 300_000), ("impact", 100_000)])
def test_gossiping_agents_learn_cartpole(tmp_path: Path, algorithm: str, steps: int) -> None:
    run = tmp_path / "run"
    gala(
        "train", "cartpole", "--algorithm", algorithm, "--agents", 2, "--total-steps", steps,
        "--run-dir", run,
    )  # fmt: skip
    last = [[r for r in records(run, rank) if "event" not in r][-1] for rank in range(2)]
    assert min(record["charts/episodic_return"] for record in last) > 150  # chance is 22


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(300)
def test_actors_elsewhere_learn_cartpole(tmp_path: Path) -> None:
    run = tmp_path / "run"
    gala(
        "train", "cartpole", "--algorithm", "vtrace", "--actors.count", 4,
        "--total-steps", 100_000, "--run-dir", run,
    )  # fmt: skip
    last = [r for r in records(run, 0) if "event" not in r][-1]
    assert last["charts/episodic_return"] > 100  # chance is 22


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(300)
def test_agents_that_share_parameters_learn_cartpole(tmp_path: Path) -> None:
    run = tmp_path / "run"
    gala(
        "train", "cartpole", "--agents", 4, "--coupling", "shared", "--a2c.optimizer", "rmsprop",
        "--a2c.lr", "1e-3", "--total-steps", 200_000, "--run-dir", run,
    )  # fmt: skip
    last = [[r for r in records(run, rank) if "event" not in r][-1] for rank in range(4)]
    assert min(record["charts/episodic_return"] for record in last) > 150
