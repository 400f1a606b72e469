"""The tracker: what it measures from files is what is so, and the bound holds."""

from pathlib import Path

import numpy as np
import pytest
import torch

from gala.divergence.tracker import (
    LOCK_STEP_TICK,
    DivergenceTracker,
    UpdateNorms,
    exact_total,
    measure,
)
from gala.topology import Topology, load_topology

P = 5000
AGENTS = 4


def trackers(run: Path, topology: Topology | None) -> list[DivergenceTracker]:
    for rank in range(AGENTS):
        (run / f"rank_{rank:02d}").mkdir()
    return [
        DivergenceTracker(
            run,
            rank=rank,
            agents=AGENTS,
            parameters=P,
            every_s=5.0,
            sketch_size=512,
            topology=topology,
            lock_step=True,
        )
        for rank in range(AGENTS)
    ]


def simulate(run: Path, topology: Topology | None, rounds: int) -> tuple[list, torch.Tensor]:
    """Lock-step gossip with random updates; the crowd, and the rows at the last tick but one."""
    crowd = trackers(run, topology)
    x = torch.zeros(AGENTS, P)
    norms = [UpdateNorms(x[0]) for _ in range(AGENTS)]
    generator = torch.Generator().manual_seed(0)
    kept = {}
    for k in range(1, rounds + 1):
        for rank in range(AGENTS):
            norms[rank].before(x[rank])
            x[rank] += 0.01 * torch.randn(P, generator=generator)
            norms[rank].after(x[rank])
        if topology is not None:
            x = torch.from_numpy(topology.matrix(k)).float() @ x
        if k % LOCK_STEP_TICK == 0:
            kept[k] = x.clone()
        for rank, tracker in enumerate(crowd):
            tracker.observe(x[rank], update=k, step=k, update_norm=norms[rank].supremum)
    for tracker in crowd:
        tracker.close()
    return crowd, kept[(rounds // LOCK_STEP_TICK - 1) * LOCK_STEP_TICK]


def test_distances_agree_with_the_exact_ones_and_the_bound_holds(tmp_path: Path) -> None:
    crowd, x = simulate(tmp_path, load_topology("directed-ring", AGENTS), 3 * LOCK_STEP_TICK)
    exact = (x - x.mean(0)).norm(dim=1)
    ball = crowd[-1].ball
    assert ball is not None and ball.epsilon is not None and ball.expected is not None
    np.testing.assert_allclose(list(ball.to_mean.values()), exact, rtol=0.15)
    assert ball.total == pytest.approx(float(exact.norm()), rel=0.1)
    assert ball.mean_norm == pytest.approx(float(x.mean(0).norm()), rel=0.15)
    assert ball.total <= ball.epsilon and ball.expected < ball.epsilon
    assert "lock-step" in ball.reason
    metrics = crowd[-1].metrics(update_norm=1.0)
    assert metrics["divergence/epsilon_ratio"] == ball.total / ball.epsilon
    assert metrics["divergence/to_mean"] == ball.to_mean[AGENTS - 1]


def test_without_gossip_no_bound_is_drawn(tmp_path: Path) -> None:
    crowd, _ = simulate(tmp_path, None, 2 * LOCK_STEP_TICK)
    ball = crowd[-1].ball
    assert ball is not None and ball.epsilon is None and "no bound applies" in ball.reason
    assert crowd[-1].metrics(1.0)["divergence/epsilon_ratio"] is None


def test_nothing_is_measured_in_the_middle_of_the_first_tick(tmp_path: Path) -> None:
    crowd = trackers(tmp_path, None)
    crowd[0].observe(torch.zeros(P), update=LOCK_STEP_TICK - 1, step=0, update_norm=0.0)
    assert crowd[0].ball is None and "divergence/total" not in crowd[0].metrics(0.0)
    for tracker in crowd:
        tracker.close()


def test_agents_that_did_not_write_are_left_out(tmp_path: Path) -> None:
    crowd = trackers(tmp_path, load_topology("ring", AGENTS))
    for rank in (0, 2):
        x = torch.full((P,), float(rank))
        crowd[rank].observe(x, update=LOCK_STEP_TICK, step=0, update_norm=1.0)
    files = [tmp_path / f"rank_{rank:02d}" / "sketches.bin" for rank in range(AGENTS)]
    ball = measure(files, 1, load_topology("ring", AGENTS))
    assert ball is not None and set(ball.to_mean) == {0, 2}
    assert (
        ball.epsilon is None and "no bound applies" in ball.reason
    )  # 0 and 2 do not hear each other
    assert measure(files, 99, None) is None
    for tracker in crowd:
        tracker.close()


def test_the_largest_update_is_kept_for_a_window() -> None:
    x = torch.zeros(3)
    norms = UpdateNorms(x)
    norms.before(x)
    norms.after(torch.tensor([3.0, 4.0, 0.0]))
    assert norms.supremum == 5.0
    for _ in range(2 * 512):
        norms.before(x)
        norms.after(x + 0.1)
    assert norms.supremum == pytest.approx(0.1 * 3**0.5)


def test_the_exact_total_by_hand() -> None:
    rows = [torch.tensor([0.0, 0.0]), torch.tensor([0.0, 6.0]), torch.tensor([0.0, 3.0])]
    assert exact_total(rows) == pytest.approx(18**0.5)
