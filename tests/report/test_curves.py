"""Learning curves computed by hand from two agents with clocks of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gala.report import curves
from gala.report.curves import (
    band_over_agents,
    band_over_runs,
    first_reach,
    learning_curve,
    over_steps,
)
from gala.report.run_data import METRICS, AgentData, RunData

NAN = np.nan
RETURN, RATIO = "charts/episodic_return", "divergence/epsilon_ratio"


def agent(rank: int, t: list[float], step: list[float], **values: list[float]) -> AgentData:
    columns = {name: np.full(len(t), NAN) for name in METRICS}
    columns |= {name: np.array(column, dtype=float) for name, column in values.items()}
    zeros = np.zeros(len(t))
    return AgentData(rank, np.array(t, float), np.array(step, float), zeros, columns)


def run(*agents: AgentData) -> RunData:
    return RunData("r", Path(), {}, None, agents, {})


@pytest.fixture
def two() -> RunData:
    return run(
        agent(0, [0, 2, 4, 6], [0, 20, 40, 60], **{RETURN: [NAN, 1, NAN, 5]}),
        agent(1, [1, 3, 5], [10, 30, 50], **{RETURN: [NAN, 3, 7]}),
    )


def test_agents_stand_as_their_newest_record_says(two: RunData) -> None:
    curve = learning_curve(two)
    assert curve is not None
    assert curve.seconds.tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert curve.steps.tolist() == [0, 10, 30, 50, 70, 90, 110]
    assert curve.returns[0, 2:].tolist() == [1, 1, 1, 1, 5]
    assert curve.mean[3:].tolist() == [2, 2, 4, 6] and np.isnan(curve.mean[:3]).all()
    assert curve.mean[curve.complete].tolist() == [2, 2, 4, 6]


def test_the_first_moment_at_the_threshold(two: RunData) -> None:
    curve = learning_curve(two)
    assert curve is not None
    assert first_reach(curve, 4.0) == (90.0, 5.0)
    assert first_reach(curve, 2.0) == (50.0, 3.0)
    assert first_reach(curve, 6.1) is None


def test_what_a_resumed_run_did_twice_counts_once() -> None:
    # to step 40, then on from the checkpoint at 20
    one = agent(0, [0, 1, 2, 3, 4, 5], [10, 20, 30, 40, 25, 35],
                **{RETURN: [1, 2, 3, 4, 2.5, 3.5]})  # fmt: skip
    curve = learning_curve(run(one))
    assert curve is not None
    assert curve.steps.tolist() == [10, 20, 25, 35] and curve.mean.tolist() == [1, 2, 2.5, 3.5]
    assert first_reach(curve, 3.0) == (35.0, 5.0)


def test_no_finished_game_is_no_curve() -> None:
    assert learning_curve(run(agent(0, [0, 1], [0, 1]))) is None


def test_an_agent_without_a_game_does_not_hide_the_others() -> None:
    curve = learning_curve(run(agent(0, [0, 1], [0, 5], **{RETURN: [2, 4]}), agent(1, [1], [7])))
    assert curve is not None
    assert curve.mean.tolist() == [2, 4] and curve.steps.tolist() == [0, 12]


def test_long_runs_are_looked_at_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curves, "MOMENTS", 10)
    times = [float(i) for i in range(95)]
    curve = learning_curve(run(agent(0, times, times, **{RETURN: times})))
    assert curve is not None
    assert curve.steps[-1] == 94.0 and 5 <= curve.steps.size <= 10


def test_bands_hold_the_line_they_belong_to(two: RunData) -> None:
    curve = learning_curve(two)
    assert curve is not None
    found = band_over_agents(curve)
    assert found is not None
    grid, band = found
    assert grid[0] == 50 and grid[-1] == 110
    assert band.value[0] == 2 and band.value[-1] == 6
    assert (band.low <= band.value).all() and (band.value <= band.high).all()
    assert (band.low[0], band.high[0]) == (1, 3)  # two agents: from one to the other


def test_seeds_share_the_steps_that_all_did() -> None:
    def line(end: float, slope: float) -> RunData:
        steps = np.linspace(0, end, 11)
        return run(agent(0, list(steps), list(steps), **{RETURN: list(slope * steps)}))

    both = [learning_curve(line(100, 1.0)), learning_curve(line(60, 3.0))]
    found = band_over_runs([curve for curve in both if curve is not None])
    assert found is not None
    grid, band = found
    assert grid[-1] == 60 and band.value[-1] == pytest.approx(120)
    assert (band.low[-1], band.high[-1]) == (pytest.approx(60), pytest.approx(180))


def test_runs_that_share_no_steps_have_no_band() -> None:
    early = learning_curve(run(agent(0, [0, 1], [0, 10], **{RETURN: [1, 1]})))
    late = learning_curve(run(agent(0, [0, 1], [20, 30], **{RETURN: [1, 1]})))
    assert early is not None and late is not None
    assert band_over_runs([early, late]) is None


def test_the_worst_agent_is_shown_over_steps() -> None:
    pair = run(
        agent(0, [0, 1, 2], [0, 10, 20], **{RATIO: [NAN, 0.5, 0.1]}),
        agent(1, [0, 1, 2], [0, 10, 20], **{RATIO: [NAN, 0.2, 0.3]}),
    )
    steps, worst = over_steps(pair, RATIO)
    assert steps.tolist() == [20, 40] and worst.tolist() == [0.5, 0.3]
