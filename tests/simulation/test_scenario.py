"""Speeds, durations, updates, and mistakes in naming them."""

import numpy as np
import pytest

from gala.errors import UserError
from gala.simulation.scenario import Durations, Scenario, Steps, draw_factors


def factors(speed: str, agents: int = 20_000) -> np.ndarray:
    return draw_factors(speed, agents, np.random.default_rng(3))


def test_speeds() -> None:
    assert (factors("constant") == 1.0).all()
    lognormal = factors("lognormal:0.3")
    assert lognormal.mean() == pytest.approx(1.0, rel=0.01)
    assert np.log(lognormal).std() == pytest.approx(0.3, rel=0.02)
    uniform = factors("uniform:0.5:2")
    assert 0.5 <= uniform.min() < 0.51 and 1.99 < uniform.max() <= 2.0
    assert factors("each:1:0.5", agents=2).tolist() == [1.0, 0.5]
    stragglers = factors("straggler:7:4")
    assert (stragglers == 4.0).sum() == 7 and (stragglers == 1.0).sum() == 20_000 - 7


@pytest.mark.parametrize(
    ("speed", "words"),
    [
        ("logarithmic:1", "no speeds are named 'logarithmic' (did you mean 'lognormal'?)"),
        ("lognormal", "must look like lognormal:S"),
        ("lognormal:1:2", "must look like lognormal:S"),
        ("lognormal:x", "with numbers"),
        ("lognormal:nan", "must be finite"),
        ("lognormal:-1", "S must be within 0 and 3"),
        ("uniform:2:1", "0 < A <= B must hold"),
        ("uniform:0:1", "0 < A <= B must hold"),
        ("straggler:1.5:2", "K must be a whole number of at most 4 agents"),
        ("straggler:5:2", "K must be a whole number of at most 4 agents"),
        ("straggler:1:0", "FACTOR must be above 0"),
        ("constant:1", "must look like constant"),
        ("each:1:2:3", "must look like each:F:F:..."),
        ("each:1:2:3:0", "factors must be above 0"),
    ],
)
def test_mistakes(speed: str, words: str) -> None:
    with pytest.raises(UserError, match="--speed") as caught:
        draw_factors(speed, 4, np.random.default_rng(0))
    assert words in str(caught.value)


def test_durations_have_the_mean_that_was_asked_for_and_a_floor() -> None:
    durations = Durations(np.full(4, 0.1), 0.5, np.random.default_rng(1))
    drawn = np.concatenate([durations.draw(np.arange(4)) for _ in range(20_000)])
    assert drawn.mean() == pytest.approx(0.1, rel=0.02)
    assert drawn.min() >= durations.shortest_s > 0
    steady = Durations(np.array([0.1, 0.3]), 0.0, np.random.default_rng(1))
    assert steady.draw(np.array([1, 0])).tolist() == [0.3, 0.1] and steady.shortest_s == 0.1


@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.9])
def test_updates_have_norm_one_and_the_inner_product_asked_for(correlation: float) -> None:
    steps = Steps(8, correlation, np.random.default_rng(2))
    u = steps.draw(np.arange(4000))
    np.testing.assert_allclose(np.linalg.norm(u, axis=1), 1.0)
    assert (u[::2] * u[1::2]).sum(axis=1).mean() == pytest.approx(correlation, abs=0.03)


def test_sizes_and_times_of_messages() -> None:
    scenario = Scenario(updates=1, parameters=1_000_000, bandwidth_mbit=100)
    assert scenario.message_bytes == 4_000_000
    assert scenario.send_s == pytest.approx(0.32)  # 32 Mbit
    assert Scenario(updates=1).send_s == 0.0
