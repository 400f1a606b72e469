"""Whole predictions: what must hold whatever the numbers, and effects in the right direction."""

from dataclasses import replace

import numpy as np
import pytest

from gala.errors import UserError
from gala.simulation import Scenario, simulate
from gala.topology import load_topology

BASE = Scenario(updates=300, update_jitter=0.1)


def predict(name: str = "ring", agents: int = 8, **changes) -> dict:
    return simulate(load_topology(name, agents), replace(BASE, **changes)).to_json()


def test_the_same_seed_gives_the_same_prediction() -> None:
    assert predict(loss=0.1, churn=0.01) == predict(loss=0.1, churn=0.01)
    assert predict(seed=2)["divergence"] != predict(seed=3)["divergence"]


@pytest.mark.parametrize("name", ["ring", "exponential", "one-peer-exponential", "star"])
@pytest.mark.parametrize("max_staleness", [None, 0, 2])
def test_within_the_bound(name: str, max_staleness: int | None) -> None:
    found = predict(name, max_staleness=max_staleness, latency_s=0.05, speed="uniform:0.7:1.4")
    assert found["epsilon"] is not None and found["divergence"]["max"] <= found["epsilon"]
    if max_staleness is not None:
        assert found["staleness"]["max"] <= max_staleness
    assert sum(found["staleness"]["shares"]) == pytest.approx(1.0)


def test_agents_alone_and_in_pairs() -> None:
    alone = predict(agents=1)
    assert alone["divergence"]["max"] == 0.0 and alone["bytes_per_agent"] == 0.0
    assert predict(agents=2)["mixes"] > 0


def test_updates_are_done_together_or_each() -> None:
    """Agents that wait for nobody end together; in lock-step the slowest sets the pace."""
    speed = "straggler:1:4"  # in 4 s seven agents do 40 updates each, and the straggler 10
    apart = predict(speed=speed, update_jitter=0.0)
    assert apart["wall_clock_s"] == pytest.approx(300 * 0.1 * 8 / 7.25, rel=0.02)
    together = predict(speed=speed, update_jitter=0.0, max_staleness=0)
    assert together["wall_clock_s"] == pytest.approx(300 * 0.4)
    # those far from the straggler feel it a few rounds later
    assert together["waited_share"] == pytest.approx(7 / 8 * 0.75, rel=0.01)


def test_bytes_are_counted_where_they_are_sent() -> None:
    found = predict("exponential", update_jitter=0.0, parameters=1000)
    assert found["bytes_per_agent"] == 300 * 3 * 4000
    # a link of 1 Mbit/s is busy all the time, and moves no more than it can
    slow = predict("exponential", update_jitter=0.0, parameters=100_000, bandwidth_mbit=10)
    assert slow["bytes_per_agent"] == pytest.approx(slow["wall_clock_s"] * 10e6 / 8, rel=0.03)
    assert any("saturated" in note for note in slow["notes"])


@pytest.mark.parametrize(
    "trouble",
    [
        {"latency_s": 0.5},
        {"loss": 0.6},
        {"speed": "straggler:2:8"},
        {"bandwidth_mbit": 200.0},
    ],
)
def test_trouble_makes_agents_stale_and_takes_them_apart(trouble: dict) -> None:
    calm, found = predict(), predict(**trouble)
    assert found["message_age"]["mean_s"] > calm["message_age"]["mean_s"]
    assert found["divergence"]["mean"] > 1.1 * calm["divergence"]["mean"]


def test_a_shared_direction_takes_nobody_apart_but_the_slow() -> None:
    alike = predict(correlation=1.0, max_staleness=0)
    assert alike["divergence"]["max"] < 1e-9
    apart = predict(correlation=1.0, speed="straggler:1:4")
    assert apart["divergence"]["mean"] > 0.5


def test_the_dead_are_replaced_and_nobody_gets_lost() -> None:
    found = predict("exponential", 64, churn=0.01, restart_s=1.0)
    assert found["deaths"] == pytest.approx(64 * 300 * 0.01, rel=0.3)
    assert found["divergence"]["max"] < 10 * predict("exponential", 64)["divergence"]["max"]
    assert np.isfinite(found["divergence"]["final"])


def test_what_is_not_simulated_is_refused(tmp_path) -> None:
    path = tmp_path / "graph.yaml"
    path.write_text("version: 1\nname: sums\nagents: any\nfamily: ring\nweights: push-sum\n")
    with pytest.raises(UserError, match="push-sum"):
        simulate(load_topology(path, 4), BASE)
