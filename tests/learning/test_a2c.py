"""One update: the gradient is the one of the loss on paper, and what must stay out stays out."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gala.config.tree import A2CConfig
from gala.experience import Rollout
from gala.learning.a2c import A2C, scaled_lr, statistics
from gala.networks.heads import CategoricalHead
from gala.networks.model import Model
from gala.networks.network import Network
from gala.parameters.flat import FlatParameters

T, B, N, ACTIONS = 3, 2, 4, 3


class Identity(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def learner(**changes: object) -> tuple[A2C, Network, FlatParameters]:
    config = A2CConfig(**{"optimizer_eps": 1e-8, "max_grad_norm": None, **changes})  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(0)
    policy = Network(Identity(), None, N, CategoricalHead(ACTIONS), generator)
    flat = FlatParameters(policy)
    compute = Model(policy, flat, torch.float32)
    return A2C(config, flat, compute, lr=0.01), policy, flat


def rollout(seed: int = 0) -> Rollout:
    g = torch.Generator().manual_seed(seed)
    return Rollout(
        obs=torch.randn(T + 1, B, N, generator=g),
        action=torch.randint(0, ACTIONS, (T, B), generator=g),
        reward=torch.randn(T, B, generator=g),
        discount=torch.full((T, B), 0.9),
        value=torch.randn(T, B, generator=g),
        next_value=torch.randn(T, B, generator=g),
        cut=torch.zeros(T, B, dtype=torch.bool),
        valid=torch.ones(T, B, dtype=torch.bool),
    )


def by_hand(r: Rollout, policy: Network, config: A2CConfig) -> torch.Tensor:
    """The gradient of the loss, written out step by step."""
    loss = torch.zeros(())
    count = int(r.valid.sum())
    for b in range(B):
        following = 0.0
        for t in reversed(range(T)):
            delta = r.reward[t, b] + r.discount[t, b] * r.next_value[t, b] - r.value[t, b]
            following = float(delta + config.gae_lambda * r.discount[t, b] * following)
            if not r.valid[t, b]:
                continue
            dist, value = policy(r.obs[t, b : b + 1])
            log_p = F.log_softmax(dist[0], 0)
            entropy = -(log_p.exp() * log_p).sum()
            target = following + r.value[t, b]
            loss = loss - following * log_p[r.action[t, b]]
            loss = loss + config.value_coef * (target - value[0]) ** 2
            loss = loss - config.entropy_coef * entropy
    grads = torch.autograd.grad(loss / count, list(policy.parameters()))
    return torch.cat([g.flatten() for g in grads])


@pytest.mark.parametrize("gae_lambda", [1.0, 0.5])
@pytest.mark.parametrize("invalid", [[], [(1, 0)], [(0, 0), (2, 1), (1, 1)]])
def test_the_gradient_is_that_of_the_loss(
    gae_lambda: float, invalid: list[tuple[int, int]]
) -> None:
    algorithm, policy, _ = learner(gae_lambda=gae_lambda, entropy_coef=0.03)
    r = rollout()
    for t, b in invalid:
        r.valid[t, b] = False
    expected = by_hand(r, policy, algorithm.config)
    seen = []
    algorithm.update(r, lambda gradient: seen.append(gradient.clone()))
    torch.testing.assert_close(seen[0], expected, rtol=1e-4, atol=1e-6)


def test_rows_that_are_not_valid_cannot_be_felt() -> None:
    results = []
    for noise in (0.0, 1e6):
        algorithm, _, flat = learner()
        r = rollout()
        r.valid[1, 0] = False
        r.cut[0, 0] = True
        r.reward[1, 0] += noise
        r.obs[1, 0] += noise
        algorithm.update(r)
        results.append(flat.data.clone())
    assert torch.equal(*results)


def test_a_rollout_without_valid_rows_is_survived() -> None:
    algorithm, _, flat = learner()
    before = flat.data.clone()
    r = rollout()
    r.valid[:] = False
    algorithm.update(r)
    assert torch.equal(flat.data, before)


def test_the_reduced_gradient_is_the_one_that_is_used() -> None:
    algorithm, _, flat = learner()
    before = flat.data.clone()
    algorithm.update(rollout(), lambda gradient: gradient.mul_(0))
    assert torch.equal(flat.data, before)


def test_clipping_bounds_the_norm_and_logs_it_unclipped() -> None:
    norms = []
    for limit in (None, 1e-3):
        algorithm, _, flat = learner(max_grad_norm=limit)
        raw = algorithm.update(rollout())
        norms.append((float(raw["losses/grad_norm"]), float(flat.grad.norm())))
    (unclipped, same), (logged, clipped) = norms
    assert unclipped == pytest.approx(same) and logged == pytest.approx(unclipped)
    assert clipped == pytest.approx(1e-3, rel=1e-2)


def test_repeated_updates_raise_the_probability_of_what_paid() -> None:
    algorithm, policy, _ = learner(lr=0.05, entropy_coef=0.0)
    r = rollout()
    r.obs[:] = 1.0
    r.action[:] = 2
    r.reward[:], r.value[:], r.next_value[:] = 1.0, 0.0, 0.0
    r.discount[:] = 0.0
    for _ in range(50):
        algorithm.update(r)
    with torch.no_grad():
        dist, value = policy(torch.ones(1, N))
    assert float(F.softmax(dist, -1)[0, 2]) > 0.9
    assert float(value) == pytest.approx(1.0, abs=0.2)


def test_normalised_advantages_do_not_feel_the_scale_of_rewards() -> None:
    gradients = []
    for scale in (1.0, 100.0):
        algorithm, policy, flat = learner(
            normalize_advantage=True, value_coef=0.0, entropy_coef=0.0
        )
        r = rollout()
        for each in (r.reward, r.value, r.next_value):
            each *= scale
        algorithm.update(r)
        gradients.append(flat.grad.clone())
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-3, atol=1e-6)


def test_the_rate_follows_the_schedule() -> None:
    algorithm, _, _ = learner(lr_schedule="linear")
    assert [algorithm.schedule(p) for p in (0.0, 0.25, 1.0, 1.5)] == [0.01, 0.0075, 0.0, 0.0]
    assert algorithm.optimizer.lr == 0.0
    constant, _, _ = learner()
    assert constant.schedule(0.9) == 0.01


def test_the_entropy_bonus_follows_its_schedule() -> None:
    r = rollout()
    for progress, coefficient in ((0.0, 0.4), (0.75, 0.1), (2.0, 0.0)):
        algorithm, policy, flat = learner(entropy_coef=0.4, entropy_schedule="linear")
        expected = by_hand(r, policy, A2CConfig(entropy_coef=coefficient))
        assert algorithm.schedule(progress) == 0.01  # the rate has a schedule of its own
        algorithm.update(r)
        torch.testing.assert_close(flat.grad, expected, rtol=1e-4, atol=1e-6)


def test_square_root_scaling_is_for_sixteen_simulators() -> None:
    paper = A2CConfig(lr=7e-4, lr_scaling="sqrt")
    assert scaled_lr(paper, 64) == pytest.approx(0.0014)
    assert scaled_lr(paper, 16) == 7e-4 == scaled_lr(A2CConfig(lr=7e-4), 64)


def test_statistics_are_numbers() -> None:
    algorithm, _, _ = learner()
    numbers = statistics(algorithm.update(rollout()))
    assert set(numbers) == {
        "losses/policy_loss",
        "losses/value_loss",
        "losses/entropy",
        "losses/grad_norm",
        "losses/explained_variance",
    }
    assert all(type(value) is float for value in numbers.values())


def test_reset_rows_explain_nothing() -> None:
    algorithm, _, _ = learner()
    raw = algorithm.update(rollout()) | {
        "value": torch.tensor([[1.0], [2.0], [9.0]]),
        "target": torch.tensor([[1.0], [2.0], [-9.0]]),
        "valid": torch.tensor([[True], [True], [False]]),
    }
    assert statistics(raw)["losses/explained_variance"] == 1.0
