"""Running means and variances: mixed as raw moments they are those of the pooled data."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gala.library.carrying import carry
from gala.library.moments import MeanAndVariance, moments_of
from gala.parameters.statistics import Moments

RANDOM = np.random.default_rng(5)


def normaliser(data: np.ndarray[Any, Any]) -> Any:
    return SimpleNamespace(mean=data.mean(0), var=data.var(0), count=float(len(data)))


def test_a_mix_of_moments_is_that_of_the_pooled_data() -> None:
    first, second = RANDOM.normal(3.0, 2.0, (400, 5)), RANDOM.normal(-5.0, 0.5, (400, 5))
    own = normaliser(first)
    mine, theirs = (carry(nn.Linear(1, 1), statistics=[each]) for each in (own, normaliser(second)))
    for carried in (mine, theirs):
        carried.collect()
    mine.data.lerp_(theirs.data, 0.5)
    mine.distribute()
    pooled = np.concatenate([first, second])
    np.testing.assert_allclose(own.mean, pooled.mean(0), rtol=1e-5)
    np.testing.assert_allclose(own.var, pooled.var(0), rtol=1e-5)
    assert own.count == 400.0, "counts stay an agent's own"
    assert np.all(own.var > 4 * first.var(0)), "the mean of variances would leave out the gap"


def test_a_copy_there_and_back_changes_nothing_but_by_rounding() -> None:
    own = normaliser(RANDOM.normal(1.0, 3.0, (100, 4)))
    before = own.mean.copy(), own.var.copy()
    carried = carry(nn.Linear(1, 1), statistics=[own])
    carried.collect()
    carried.distribute()
    np.testing.assert_allclose(own.mean, before[0], rtol=1e-6)
    np.testing.assert_allclose(own.var, before[1], rtol=1e-5)
    assert own.mean.dtype == np.float64


def test_a_variance_never_becomes_negative() -> None:
    own = SimpleNamespace(mean=np.array([1e4]), var=np.array([1e-9]))
    carried = carry(nn.Linear(1, 1), statistics=[own])
    carried.collect()
    carried.distribute()
    assert own.var[0] > 0.0


def test_wrappers_of_gymnasium_are_found_below_others() -> None:
    env = gymnasium.wrappers.NormalizeObservation(gymnasium.make("CartPole-v1"))
    wrapped = gymnasium.wrappers.RecordEpisodeStatistics(
        gymnasium.wrappers.NormalizeReward(gymnasium.wrappers.ClipReward(env, max_reward=1.0))
    )
    names = [name for name, _ in moments_of(wrapped, "statistics[0]")]
    assert names == ["statistics[0].obs_rms", "statistics[0].return_rms"]
    carried = carry(nn.Linear(1, 1), statistics=[wrapped])
    assert [shape for _, shape in carried.layout[2:]] == [(4,), (4,), (), ()]
    wrapped.reset(seed=1)
    for step in range(10):  # to and fro: no pole falls
        wrapped.step(step % 2)
    carried.collect()
    carried.statistics.mul_(2.0)
    mean = env.obs_rms.mean.copy()
    carried.distribute()
    np.testing.assert_allclose(env.obs_rms.mean, 2 * mean, rtol=1e-5)
    wrapped.step(0)  # goes on with what it was given
    wrapped.close()


def test_wrappers_of_stable_baselines_have_one_for_each_key() -> None:
    pytest.importorskip("stable_baselines3")
    from stable_baselines3.common.running_mean_std import RunningMeanStd

    holder = SimpleNamespace(
        obs_rms={"a": RunningMeanStd(shape=(2,)), "b": RunningMeanStd(shape=(3,))},
        ret_rms=RunningMeanStd(shape=()),
    )
    names = [name for name, _ in moments_of(holder, "s")]
    assert names == ["s.obs_rms.a", "s.obs_rms.b", "s.ret_rms"]


def test_raw_moments_go_along_as_they_are() -> None:
    moments = Moments((3,))
    carried = carry(nn.Linear(1, 1), statistics=moments)
    assert [name for name, _ in carried.layout[2:]] == [
        "statistics[0].first", "statistics[0].second", "statistics[0].count",
    ]  # fmt: skip


def test_batch_norms_are_pooled_and_counts_stay() -> None:
    def trained(shift: float) -> nn.BatchNorm1d:
        norm = nn.BatchNorm1d(2, momentum=None)  # the plain mean of batches
        norm(torch.randn(4000, 2) + shift)
        return norm

    torch.manual_seed(0)
    mine, theirs = trained(0.0), trained(6.0)
    carried, other = (carry(each, buffers=True) for each in (mine, theirs))
    assert not any("num_batches" in name for name, _ in carried.layout)
    for each in (carried, other):
        each.collect()
    carried.data.lerp_(other.data, 0.5)
    carried.distribute()
    running: Tensor | None = mine.running_var
    assert running is not None
    torch.testing.assert_close(running, torch.full((2,), 10.0), rtol=0.05, atol=0)  # 1 + 3 ** 2
    assert mine.num_batches_tracked == 1


@pytest.mark.parametrize("wrong", [object(), nn.Linear(1, 1), torch.ones(3), 4.0])
def test_what_normalises_nothing_is_refused(wrong: object) -> None:
    with pytest.raises(TypeError, match=r"statistics\[0\]: .* has neither mean and var nor one of"):
        carry(nn.Linear(1, 1), statistics=[wrong])


def test_numbers_are_written_where_numbers_were() -> None:
    own = SimpleNamespace(mean=1.0, var=2.0)
    found = MeanAndVariance(own)
    first, second = torch.zeros(()), torch.zeros(())
    found.collect(first, second)
    assert (float(first), float(second)) == (1.0, 3.0)
    found.distribute(first, second)
    assert own.mean == 1.0 and own.var == pytest.approx(2.0)
