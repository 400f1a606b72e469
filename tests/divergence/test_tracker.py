"""The tracker: what it measures from files is what is so, and the bound holds."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from gala.divergence import certifier
from gala.divergence.ball import exact_total, measure
from gala.divergence.tracker import LOCK_STEP_TICK, DivergenceTracker
from gala.divergence.updates import Updates
from gala.telemetry.history import NAME, History
from gala.telemetry.sketches import read_sketches
from gala.topology import Topology, load_topology

P = 5000
AGENTS = 4


@pytest.fixture(autouse=True)
def all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every tick is certified, however long that takes."""
    monkeypatch.setattr(certifier, "SHARE", 1e9)


@dataclass(frozen=True)
class Heard:
    incarnation: int
    version: int


def trackers(
    run: Path,
    topology: Topology | None,
    *,
    lock_step: bool = True,
    histories: dict[int, History] | None = None,
    unbound: str | None = None,
) -> list[DivergenceTracker]:
    for rank in range(AGENTS):
        (run / f"rank_{rank:02d}").mkdir()
        if histories is not None:
            histories[rank] = History(run / f"rank_{rank:02d}" / NAME, incarnation=0)
    return [
        DivergenceTracker(
            run,
            rank=rank,
            agents=AGENTS,
            parameters=P,
            every_s=5.0,
            sketch_size=512,
            topology=topology,
            lock_step=lock_step,
            history=None if histories is None else histories[rank],
            unbound=unbound,
        )
        for rank in range(AGENTS)
    ]


def simulate(run: Path, topology: Topology | None, rounds: int) -> tuple[list, torch.Tensor]:
    """Lock-step gossip with random updates; the group, and the rows at the last tick but one."""
    histories: dict[int, History] = {}
    local_group = trackers(run, topology, histories=histories)
    x = torch.zeros(AGENTS, P)
    for rank, tracker in enumerate(local_group):
        tracker.begin(x[rank], update=0, step=0)
    norms = [Updates(x[0]) for _ in range(AGENTS)]
    generator = torch.Generator().manual_seed(0)
    kept = {}
    for k in range(1, rounds + 1):
        for rank in range(AGENTS):
            norms[rank].before(x[rank])
            x[rank] += 0.01 * torch.randn(P, generator=generator)
            norms[rank].after(x[rank])
            histories[rank].step(k, norms[rank].latest)
            histories[rank].published(k, 0.0)
            local_group[rank].stepped(norms[rank].step(x[rank]), update=k)
        if topology is not None:
            for rank in range(AGENTS):
                _, row = topology.row(rank, k)
                histories[rank].mixed(row, {j: Heard(0, k) for j in row})
            x = torch.from_numpy(topology.matrix(k)).float() @ x
        if k % LOCK_STEP_TICK == 0:
            kept[k] = x.clone()
        for rank, tracker in enumerate(local_group):
            tracker.observe(x[rank], update=k, step=k, update_norm=norms[rank].supremum)
    for tracker in local_group:
        tracker.close()
    return local_group, kept[(rounds // LOCK_STEP_TICK - 1) * LOCK_STEP_TICK]


def test_distances_agree_with_the_exact_ones_and_the_bound_holds(tmp_path: Path) -> None:
    local_group, x = simulate(tmp_path, load_topology("directed-ring", AGENTS), 3 * LOCK_STEP_TICK)
    exact = (x - x.mean(0)).norm(dim=1)
    ball = local_group[-1].ball
    assert ball is not None and ball.epsilon is not None and ball.expected is not None
    np.testing.assert_allclose(list(ball.to_mean.values()), exact, rtol=0.15)
    assert ball.total == pytest.approx(float(exact.norm()), rel=0.1)
    assert ball.mean_norm == pytest.approx(float(x.mean(0).norm()), rel=0.15)
    assert ball.total <= ball.epsilon and ball.expected < ball.epsilon
    assert ball.proven and "certified from" in ball.reason and ball.drift == pytest.approx(0.0)
    metrics = local_group[-1].metrics(update_norm=1.0)
    assert metrics["divergence/epsilon_ratio"] == ball.total / ball.epsilon == ball.ratio
    assert metrics["divergence/beta"] == pytest.approx(np.cos(np.pi / AGENTS))
    assert metrics["divergence/agents"] == AGENTS and local_group[-1].event() is None
    for j in range(AGENTS - 1):
        apart = float((x[j] - x[-1]).norm())
        assert metrics[f"divergence/to/{j}"] == pytest.approx(apart, rel=0.15)
    assert f"divergence/to/{AGENTS - 1}" not in metrics
    assert ball.relative == pytest.approx(float(exact.max() / x.mean(0).norm()), rel=0.2)
    assert metrics["divergence/to_mean"] == ball.to_mean[AGENTS - 1]


def test_without_gossip_no_bound_is_drawn(tmp_path: Path) -> None:
    local_group, _ = simulate(tmp_path, None, 2 * LOCK_STEP_TICK)
    ball = local_group[-1].ball
    assert ball is not None and ball.epsilon is None and "no bound applies" in ball.reason
    assert local_group[-1].metrics(1.0)["divergence/epsilon_ratio"] is None


def test_nothing_is_measured_in_the_middle_of_the_first_tick(tmp_path: Path) -> None:
    local_group = trackers(tmp_path, None)
    local_group[0].observe(torch.zeros(P), update=LOCK_STEP_TICK - 1, step=0, update_norm=0.0)
    assert local_group[0].ball is None and "divergence/total" not in local_group[0].metrics(0.0)
    for tracker in local_group:
        tracker.close()


def test_agents_that_did_not_write_are_left_out(tmp_path: Path) -> None:
    local_group = trackers(tmp_path, load_topology("ring", AGENTS))
    for rank in (0, 2):
        x = torch.full((P,), float(rank))
        local_group[rank].observe(x, update=LOCK_STEP_TICK, step=0, update_norm=1.0)
    files = [tmp_path / f"rank_{rank:02d}" / "sketches.bin" for rank in range(AGENTS)]
    ball = measure(files, 1, load_topology("ring", AGENTS), lock_step=True)
    assert ball is not None and set(ball.to_mean) == {0, 2}
    assert ball.epsilon is None and "no bound applies" in ball.reason  # 0 and 2 are no neighbours
    assert measure(files, 99, None, lock_step=True) is None
    for tracker in local_group:
        tracker.close()


def test_the_largest_update_is_kept_for_a_window() -> None:
    x = torch.zeros(3)
    norms = Updates(x)
    norms.before(x)
    norms.after(torch.tensor([3.0, 4.0, 0.0]))
    assert norms.supremum == 5.0
    for _ in range(2 * 512):
        norms.before(x)
        norms.after(x + 0.1)
    assert norms.supremum == pytest.approx(0.1 * 3**0.5)


def test_the_norm_of_a_large_update_is_exact() -> None:
    generator = torch.Generator().manual_seed(1)
    x, step = torch.randn(2, 600_001, generator=generator)
    step[::2] = 0.0
    norms = Updates(x)
    norms.before(x)
    norms.after(x + step)
    assert norms.supremum == pytest.approx(float(step.norm()), rel=1e-5)
    assert norms.latest == norms.supremum
    assert torch.allclose(norms.step(x + step), step, atol=1e-6)


def test_the_exact_total_by_hand() -> None:
    rows = [torch.tensor([0.0, 0.0]), torch.tensor([0.0, 6.0]), torch.tensor([0.0, 3.0])]
    assert exact_total(rows) == pytest.approx(18**0.5)


ALL = (0, 1, 2, 3)
DEATH = [ALL, ALL, (0, 1, 2), ALL, (0, 1, 3), (0, 1, 3), (0, 1, 3), (0, 1, 3)]
"""Who writes at each tick; agent 3 is late once, agent 2 dies."""


def test_a_death_changes_beta_and_is_told_once(tmp_path: Path) -> None:
    ring = load_topology("ring", AGENTS)
    local_group = trackers(tmp_path, ring)
    told = []
    for tick, ranks in enumerate(DEATH, 1):
        for rank in reversed(ranks):
            x = torch.full((P,), float(rank))
            local_group[rank].observe(x, update=tick * LOCK_STEP_TICK, step=0, update_norm=1.0)
        told.append(local_group[0].event())
        beta = local_group[0].metrics(1.0).get("divergence/beta")
        assert tick < 2 or beta is not None
    # a tick is measured when the next one begins: the death of 2 shows at tick 6, is told at 7
    model, text = [text for text in told if text is not None]
    assert "a model, no proof: there are no records" in model
    assert told.index(text) == 6 and text.startswith("3 of 4 agents are measured: beta 0.6")
    assert local_group[0].last_tick == len(DEATH)
    for tracker in local_group:
        tracker.close()


def test_when_the_rest_falls_apart_no_bound_applies(tmp_path: Path) -> None:
    local_group = trackers(tmp_path, load_topology("ring", AGENTS))
    told = []
    for tick in (1, 2, 3):
        for rank in (2, 0):
            local_group[rank].observe(
                torch.zeros(P), update=tick * LOCK_STEP_TICK, step=0, update_norm=1.0
            )
        told.append(local_group[0].event())
    text = told[-1]
    assert (
        told[:2] == [None, None]
        and text is not None
        and text.startswith("no bound applies: with the others gone")
    )
    assert local_group[0].event() is None
    for tracker in local_group:
        tracker.close()


def at_ticks(
    monkeypatch: pytest.MonkeyPatch,
    local_group: list[DivergenceTracker],
    ticks: int,
    **observed: int,
) -> list[str | None]:
    """Everybody writes at wall-clock ticks; what agent 0 is told at each."""
    told = []
    for tick in range(1, ticks + 1):
        monkeypatch.setattr(DivergenceTracker, "_tick_of", lambda self, update, tick=tick: tick)
        for rank in reversed(range(AGENTS)):
            local_group[rank].observe(
                torch.full((P,), float(rank)), update=tick, step=0, update_norm=1.0, **observed
            )
        told.append(local_group[0].event())
    for tracker in local_group:
        tracker.close()
    return told


@pytest.mark.parametrize("observed", [{"delay": 2, "mix_every": 2}, {}])
def test_without_lock_step_the_bound_is_called_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, observed: dict[str, int]
) -> None:
    """Even where no message was old: agents are compared at different moments of their updates."""
    ring = load_topology("ring", AGENTS)
    local_group = trackers(tmp_path, ring, lock_step=False)
    (text,) = [
        text for text in at_ticks(monkeypatch, local_group, 5, **observed) if text is not None
    ]
    assert text.startswith("4 of 4 agents are measured") and "delay model, tau = " in text
    assert "a model, no proof: there are no records" in text and "exact" not in text
    ball, metrics = local_group[0].ball, local_group[0].metrics(1.0)
    assert ball is not None and not ball.proven and "delay model" in ball.reason
    assert metrics["divergence/proven"] == 0.0 and metrics["divergence/epsilon"] is not None
    assert ball.epsilon is not None and ball.epsilon >= 2 * 1.5  # the factor before a mix: 1.5


def test_without_gossip_the_reason_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local_group = trackers(tmp_path, None, lock_step=False)
    told = [text for text in at_ticks(monkeypatch, local_group, 5) if text is not None]
    assert told == ["no bound applies: the agents do not gossip"]
    assert local_group[0].metrics(1.0)["divergence/proven"] is None


def test_a_coupling_says_itself_why_there_is_no_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local_group = trackers(tmp_path, None, lock_step=False, unbound="they exchange policies")
    told = [text for text in at_ticks(monkeypatch, local_group, 5) if text is not None]
    assert told == ["no bound applies: they exchange policies"]


def test_in_lock_step_it_is_proven(tmp_path: Path) -> None:
    local_group, _ = simulate(tmp_path, load_topology("ring", AGENTS), 3 * LOCK_STEP_TICK)
    assert local_group[0].metrics(1.0)["divergence/proven"] == 1.0


def test_one_of_several_is_no_measurement(tmp_path: Path) -> None:
    """The first to write is not at distance 0 from the others."""
    local_group = trackers(tmp_path, load_topology("ring", AGENTS))
    for tick in (1, 2):
        local_group[0].observe(torch.ones(P), update=tick * LOCK_STEP_TICK, step=0, update_norm=1.0)
    ball, metrics = local_group[0].ball, local_group[0].metrics(1.0)
    assert ball is not None and ball.total is None and ball.relative is None
    assert metrics["divergence/agents"] == 1
    for name in ("total", "to_mean", "relative", "epsilon_ratio"):
        assert metrics[f"divergence/{name}"] is None
    for tracker in local_group:
        tracker.close()


def test_step_and_parameters_of_a_tick_are_of_one_update(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the clock goes on to the next tick between them, during the mix."""
    local_group = trackers(tmp_path, load_topology("ring", AGENTS), lock_step=False)
    clock = iter(range(100, 200))
    monkeypatch.setattr(DivergenceTracker, "_tick_of", lambda self, update: next(clock))
    for update in (1, 2, 3):
        local_group[0].stepped(torch.ones(P), update=update)
        assert local_group[0].observe(torch.ones(P), update=update, step=0, update_norm=1.0)
    for tracker in local_group:
        tracker.close()
    steps, sketches = (
        read_sketches(tmp_path / "rank_00" / n) for n in ("steps.bin", "sketches.bin")
    )
    assert steps["tick"].tolist() == sketches["tick"].tolist() == [100, 101, 102]
    assert steps["update"].tolist() == sketches["update"].tolist() == [1, 2, 3]
