"""CartPole from the shipped experiment file, gossiping, in real processes."""

from pathlib import Path

import pytest
from launching import gala, records


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_gossiping_agents_learn_cartpole(tmp_path: Path) -> None:
    run = tmp_path / "run"
    gala("train", "cartpole", "--agents", 2, "--total-steps", 300_000, "--run-dir", run)
    last = [[r for r in records(run, rank) if "event" not in r][-1] for rank in range(2)]
    assert min(record["charts/episodic_return"] for record in last) > 150  # chance is 22
