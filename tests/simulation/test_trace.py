"""The certificate of simulated agents: what bounds real ones bounds them, and is as near."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gala.divergence.certificate import Certificate
from gala.simulation import Prediction, Scenario, simulate
from gala.simulation.trace import Trace
from gala.topology import load_topology

BASE = Scenario(updates=60, update_jitter=0.3)
TROUBLES = [
    {},
    {"loss": 0.2, "latency_s": 0.15},
    {"speed": "straggler:1:4", "churn": 0.02, "restart_s": 0.5},
    {"every": 3},
    {"bandwidth_mbit": 300.0, "jitter_s": 0.1},
    {"wire": "int8", "update_size": 0.01},
    {"max_staleness": 2},
]


def certified(name: str, **changes: object) -> tuple[Prediction, Certificate]:
    topology = load_topology(name, 6)
    found = simulate(topology, replace(BASE, **changes), certified=True)  # type: ignore[arg-type]
    assert found.certificate is not None
    return found, found.certificate


@pytest.mark.parametrize("name", ["ring", "one-peer-exponential"])
@pytest.mark.parametrize("trouble", TROUBLES)
def test_agents_are_within_it_and_as_far_apart_as_expected(
    name: str, trouble: dict[str, object]
) -> None:
    squares, expected = [], []
    for seed in range(1, 16):
        found, certificate = certified(name, seed=seed, **trouble)
        last = found.final_divergence
        assert last <= certificate.epsilon
        squares.append(last**2)
        expected.append(certificate.expected**2)
    assert np.mean(squares) == pytest.approx(np.mean(expected), rel=0.25)


def test_one_mix_by_hand() -> None:
    """Two agents, an update each; the first then takes half of the second's message."""
    trace = Trace(2, rounding=0.25)
    both, first = np.array([0, 1]), np.array([0])
    trace.steps(both)
    trace.publications(both, np.array([1, 1]))
    trace.publications(both, np.array([1, 1]))  # nothing new was sent
    trace.mixes(first, np.array([1]), np.array([1], np.int32), np.array([0.5]))
    found = trace.certificate()
    assert isinstance(found, Certificate) and found.steps == 2
    # disagreement (u0 - u1) / 2 in the first row, half of it in each: 1 / (2 sqrt 2) per update
    # the certificate has room for what float32 rounds
    assert found.epsilon == pytest.approx((2 + 0.25) / 8**0.5, rel=2e-4)
    assert found.expected == pytest.approx(((2 + 0.25**2) / 8) ** 0.5)


def test_without_the_wish_nothing_is_recorded() -> None:
    topology = load_topology("ring", 6)
    assert simulate(topology, BASE).certificate is None
    plain, traced = simulate(topology, BASE), simulate(topology, BASE, certified=True)
    assert plain.to_json() == traced.to_json()
