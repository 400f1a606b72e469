"""Returns and advantages against arrays worked out by hand."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gala.learning.returns import explained_variance, gae


def column(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None]


def cuts(*values: int) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.bool)[:, None]


def n_step_returns(
    reward: torch.Tensor, discount: torch.Tensor, next_value: torch.Tensor, cut: torch.Tensor
) -> torch.Tensor:
    """Bootstrapped returns, ``G_t = r_t + d_t G_{t+1}``, in another way than the package's."""
    result = torch.empty_like(reward)
    following = next_value[-1]
    for t in range(reward.shape[0] - 1, -1, -1):
        following = reward[t] + discount[t] * torch.where(cut[t], next_value[t], following)
        result[t] = following
    return result


def with_lambda_one(
    reward: torch.Tensor, discount: torch.Tensor, next_value: torch.Tensor, cut: torch.Tensor
) -> torch.Tensor:
    value = torch.cat([torch.zeros_like(next_value[:1]), next_value[:-1]])
    value[1:][cut[:-1]] = 77.0  # of the next episode
    return gae(reward, discount, value, next_value, cut, 1.0) + value


def test_n_step_returns_of_an_episode_that_goes_on() -> None:
    # G2 = 3 + 0.5*8 = 7; G1 = 2 + 0.5*7 = 5.5; G0 = 1 + 0.5*5.5 = 3.75
    result = with_lambda_one(column(1, 2, 3), column(0.5, 0.5, 0.5), column(9, 9, 8), cuts(0, 0, 0))
    assert result.flatten().tolist() == [3.75, 5.5, 7.0]


def test_nothing_is_bootstrapped_at_termination() -> None:
    # step 1 terminates: G1 = 2; G0 = 1 + 0.5*2; step 2 is of the next episode
    result = with_lambda_one(column(1, 2, 3), column(0.5, 0, 0.5), column(9, 9, 8), cuts(0, 1, 0))
    assert result.flatten().tolist() == [2.0, 2.0, 7.0]


def test_truncation_bootstraps_from_the_final_observation_and_stops_the_sum() -> None:
    # step 1 is truncated: G1 = 2 + 0.5*V(final) = 2 + 0.5*6 = 5; G0 = 1 + 0.5*5
    result = with_lambda_one(column(1, 2, 3), column(0.5, 0.5, 0.5), column(9, 6, 8), cuts(0, 1, 0))
    assert result.flatten().tolist() == [3.5, 5.0, 7.0]


def test_gae_by_hand() -> None:
    # delta = r + d V' - V: [1 + .5*4 - 2, 2 + .5*6 - 4, 3 + .5*8 - 6] = [1, 1, 1]
    # lambda .5: A2 = 1; A1 = 1 + .25*1 = 1.25; A0 = 1 + .25*1.25 = 1.3125
    result = gae(
        column(1, 2, 3), column(0.5, 0.5, 0.5), column(2, 4, 6), column(4, 6, 8), cuts(0, 0, 0), 0.5
    )
    assert result.flatten().tolist() == [1.3125, 1.25, 1.0]


def test_gae_stops_at_a_cut() -> None:
    # step 0 is truncated: A0 = delta0 alone; V' of step 0 is the final observation's
    result = gae(column(1, 2), column(0.5, 0.5), column(2, 4), column(10, 6), cuts(1, 0), 0.9)
    assert result.flatten().tolist() == [1 + 5 - 2, 2 + 3 - 4]


def test_gae_at_termination_ignores_the_next_value() -> None:
    result = gae(column(1, 2), column(0, 0.5), column(2, 4), column(1e9, 6), cuts(1, 0), 0.9)
    assert result.flatten().tolist() == [-1, 1]


shape = st.tuples(st.integers(1, 7), st.integers(1, 4))


@given(shape, st.integers(0, 2**20), st.floats(0, 1))
def test_lambda_one_gives_n_step_returns_and_lambda_zero_one_step(
    size: tuple[int, int], seed: int, gamma: float
) -> None:
    generator = torch.Generator().manual_seed(seed)

    def draw() -> torch.Tensor:
        return torch.randn(size, generator=generator, dtype=torch.float64)

    reward, value, bootstrap = draw(), draw(), draw()[:1]
    terminated = draw() > 1
    foreign = torch.where(draw() > 1, draw(), torch.nan)  # truncated: value of a final observation
    cut = terminated | ~foreign.isnan()
    next_value = torch.cat([value[1:], bootstrap])
    next_value = torch.where(foreign.isnan(), next_value, foreign)
    discount = gamma * (~terminated).double()
    returns = n_step_returns(reward, discount, next_value, cut)
    advantage = gae(reward, discount, value, next_value, cut, 1.0)
    torch.testing.assert_close(advantage + value, returns)
    one_step = gae(reward, discount, value, next_value, cut, 0.0)
    torch.testing.assert_close(one_step, reward + discount * next_value - value)


def test_environments_do_not_mix() -> None:
    generator = torch.Generator().manual_seed(0)
    reward, value, following = (torch.randn(6, 3, generator=generator) for _ in range(3))
    cut = torch.rand(6, 3, generator=generator) > 0.7
    discount = torch.full((6, 3), 0.9)
    together = gae(reward, discount, value, following, cut, 0.8)
    for b in range(3):
        alone = gae(*(x[:, b : b + 1] for x in (reward, discount, value, following, cut)), 0.8)
        assert torch.equal(together[:, b : b + 1], alone)


def test_shapes_must_agree() -> None:
    with pytest.raises(AssertionError):
        gae(column(1, 2), column(1, 1), column(1, 2), column(1), cuts(0, 0), 1.0)


def test_explained_variance() -> None:
    target = torch.tensor([1.0, 2.0, 3.0])
    assert explained_variance(target, target) == 1.0
    assert explained_variance(torch.zeros(3), target) == 0.0
    assert explained_variance(-target, target) == pytest.approx(-3.0)
    assert math.isnan(explained_variance(target, torch.ones(3)))
    assert math.isnan(explained_variance(target[:0], target[:0]))
