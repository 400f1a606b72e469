"""Moments that travel with parameters: golden numbers of a mix, scales, and what must not move."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from gala.gossip.mixing import mix_
from gala.parameters.flat import FlatParameters
from gala.parameters.statistics import WINDOW, Moments

GOLDEN = Path(__file__).parents[1] / "golden" / "gossip_state.json"


def test_mixed_moments_are_those_of_the_pooled_data() -> None:
    """Golden: NumPy; averaging deviations would give other numbers."""
    case = json.loads(GOLDEN.read_text())["cases"][0]
    assert case["name"] == "observation_moments"
    vectors, agents = [], []
    for first, second in zip(case["first_moment"], case["second_moment"], strict=True):
        moments = Moments([2])
        moments.first.copy_(torch.tensor(first))
        moments.second.copy_(torch.tensor(second))
        network = torch.nn.Sequential(torch.nn.Linear(2, 1), moments)
        vectors.append(FlatParameters(network, buffers=True).data)
        agents.append(moments)
    before = [vector.clone() for vector in vectors]
    for i, row in enumerate(case["mixing"]):
        mix_(vectors[i], row[i], {1 - i: (row[1 - i], before[1 - i])})
    for i, moments in enumerate(agents):
        assert moments.first.tolist() == pytest.approx(case["mixed_first"][i], rel=1e-5)
        assert moments.second.tolist() == pytest.approx(case["mixed_second"][i], rel=1e-5)
        assert moments.deviation().tolist() == pytest.approx(case["mixed_std"][i], rel=1e-5)
        assert moments.deviation().tolist() != pytest.approx(case["averaged_std_wrong"][i], rel=0.1)


def test_moments_are_those_of_what_was_counted() -> None:
    generator = torch.Generator().manual_seed(0)
    data = torch.randn(WINDOW // 2, 40, 3, generator=generator) * 5 + 2
    moments = Moments([3])
    for batch in data:
        moments.update(batch)
    flat = data.flatten(0, 1)
    torch.testing.assert_close(moments.first, flat.mean(0), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(moments.deviation(), flat.std(0, correction=0), rtol=1e-3, atol=0)
    normal = moments(flat)
    assert float(normal.mean().abs()) < 1e-3 and float(normal.std()) == pytest.approx(1, abs=1e-2)
    assert float(moments(torch.full((1, 3), 1e9)).max()) == 10


def test_before_anything_was_counted_nothing_is_scaled() -> None:
    x = torch.tensor([[0.5, -2.0]])
    torch.testing.assert_close(Moments([2])(x), x)


def test_a_constant_is_no_division_by_zero() -> None:
    moments = Moments([2])
    for _ in range(5):
        moments.update(torch.tensor([[3.0, 0.0], [3.0, 0.0]]))
    assert torch.isfinite(moments(torch.tensor([[3.0, 0.0], [3.1, 1e-3]]))).all()


def test_old_observations_fade() -> None:
    moments = Moments([1])
    for k in range(8 * WINDOW):
        moments.update(torch.full((4, 1), 100.0 if k < WINDOW else 1.0))
    assert float(moments.first) == pytest.approx(1.0, abs=0.5)


def test_statistics_lie_behind_the_parameters_and_have_no_gradient() -> None:
    network = torch.nn.Sequential(torch.nn.Linear(2, 3), Moments([4]))
    flat = FlatParameters(network, buffers=True)
    assert (flat.learned, len(flat.data)) == (9, 9 + 4 + 4 + 1)
    flat.statistics.fill_(7.0)
    assert bool((network[1].first == 7).all()) and bool((network[0].weight != 7).all())
    network[0](torch.ones(5, 2)).sum().backward()
    assert bool((flat.grad[: flat.learned] != 0).any())
    assert bool((flat.grad[flat.learned :] == 0).all())
    assert bool((flat.weights != 7).all())


@pytest.mark.parametrize("spoilt", [math.nan, math.inf, 1e30])
def test_values_that_would_spoil_the_moments_do_not_count(spoilt: float) -> None:
    """Neither first, when nothing is known yet, nor later."""
    clean, other = Moments((2,)), Moments((2,))
    generator = torch.Generator().manual_seed(3)
    bad = torch.ones(4, 2)
    bad[1, 1] = spoilt
    for _ in range(3):
        values = torch.randn(5, 2, generator=generator)
        other.update(bad)
        for moments in (clean, other):
            moments.update(values)
    for name in ("first", "second", "count"):
        assert torch.equal(getattr(clean, name), getattr(other, name)), name
