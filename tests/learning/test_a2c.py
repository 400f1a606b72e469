"""One update: the gradient is the one of the loss on paper, and what must stay out stays out."""

import pytest
import torch
from batches import B, N, T, linear_learner, random_batch
from torch.nn import functional as F

from gala.experience import Batch
from gala.learning.a2c_config import A2CConfig
from gala.networks import Network
from gala.parameters.schedule import scaled_lr


class Halved:
    """A coupling that shows the gradient, and maybe changes it."""

    def __init__(self, factor: float = 1.0) -> None:
        self.factor, self.seen = factor, []

    def reduce(self, gradient: torch.Tensor) -> None:
        self.seen.append(gradient.clone())
        gradient.mul_(self.factor)

    def agree(self, number: float) -> float:
        return number


def by_hand(r: Batch, policy: Network, config: A2CConfig) -> torch.Tensor:
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
    learner, policy, _ = linear_learner(gae_lambda=gae_lambda, entropy_coef=0.03)
    r = random_batch()
    for t, b in invalid:
        r.valid[t, b] = False
    expected = by_hand(r, policy, learner.algorithm.config)
    coupling = Halved()
    learner.update(r, coupling)
    torch.testing.assert_close(coupling.seen[0], expected, rtol=1e-4, atol=1e-6)


def test_rows_that_are_not_valid_cannot_be_felt() -> None:
    results = []
    for noise in (0.0, 1e6):
        learner, _, model = linear_learner()
        r = random_batch()
        r.valid[1, 0] = False
        r.cut[0, 0] = True
        r.reward[1, 0] += noise
        r.obs[1, 0] += noise
        learner.update(r)
        results.append(model.flat.data.clone())
    assert torch.equal(*results)


def test_a_rollout_without_valid_rows_is_survived() -> None:
    learner, _, model = linear_learner()
    before = model.flat.data.clone()
    r = random_batch()
    r.valid[:] = False
    learner.update(r)
    assert torch.equal(model.flat.data, before)


def test_the_reduced_gradient_is_the_one_that_is_used() -> None:
    learner, _, model = linear_learner()
    before = model.flat.data.clone()
    learner.update(random_batch(), Halved(0.0))
    assert torch.equal(model.flat.data, before)


def test_clipping_bounds_the_norm_and_logs_it_unclipped() -> None:
    norms = []
    for limit in (None, 1e-3):
        learner, _, model = linear_learner(max_grad_norm=limit)
        raw = learner.update(random_batch())
        norms.append((raw.numbers()["losses/grad_norm"], float(model.flat.grad.norm())))
    (unclipped, same), (logged, clipped) = norms
    assert unclipped == pytest.approx(same) and logged == pytest.approx(unclipped)
    assert clipped == pytest.approx(1e-3, rel=1e-2)


def test_repeated_updates_raise_the_probability_of_what_paid() -> None:
    learner, policy, _ = linear_learner(lr=0.05, entropy_coef=0.0)
    r = random_batch()
    r.obs[:] = 1.0
    r.action[:] = 2
    r.reward[:], r.value[:], r.next_value[:] = 1.0, 0.0, 0.0
    r.discount[:] = 0.0
    for _ in range(50):
        learner.update(r)
    with torch.no_grad():
        dist, value = policy(torch.ones(1, N))
    assert float(F.softmax(dist, -1)[0, 2]) > 0.9
    assert float(value) == pytest.approx(1.0, abs=0.2)


def test_normalised_advantages_do_not_feel_the_scale_of_rewards() -> None:
    gradients = []
    for scale in (1.0, 100.0):
        learner, policy, model = linear_learner(
            normalize_advantage=True, value_coef=0.0, entropy_coef=0.0
        )
        r = random_batch()
        for each in (r.reward, r.value, r.next_value):
            each *= scale
        learner.update(r)
        gradients.append(model.flat.grad.clone())
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-3, atol=1e-6)


def test_the_rate_follows_the_schedule() -> None:
    learner, _, _ = linear_learner(lr_schedule="linear")
    assert [learner.schedule(p) for p in (0.0, 0.25, 1.0, 1.5)] == [0.01, 0.0075, 0.0, 0.0]
    assert learner.optimizer.lr == 0.0
    constant, _, _ = linear_learner()
    assert constant.schedule(0.9) == 0.01


def test_the_entropy_bonus_follows_its_schedule() -> None:
    r = random_batch()
    for progress, coefficient in ((0.0, 0.4), (0.75, 0.1), (2.0, 0.0)):
        learner, policy, model = linear_learner(entropy_coef=0.4, entropy_schedule="linear")
        expected = by_hand(r, policy, A2CConfig(entropy_coef=coefficient))
        assert learner.schedule(progress) == 0.01  # the rate has a schedule of its own
        learner.update(r)
        torch.testing.assert_close(model.flat.grad, expected, rtol=1e-4, atol=1e-6)


def test_square_root_scaling_is_for_sixteen_environments() -> None:
    paper = A2CConfig(lr=7e-4, lr_scaling="sqrt")
    assert scaled_lr(paper, 64) == pytest.approx(0.0014)
    assert scaled_lr(paper, 16) == 7e-4 == scaled_lr(A2CConfig(lr=7e-4), 64)


def test_statistics_are_numbers() -> None:
    learner, _, _ = linear_learner()
    numbers = learner.update(random_batch()).numbers()
    assert set(numbers) == {
        "losses/policy_loss",
        "losses/value_loss",
        "losses/entropy",
        "losses/grad_norm",
        "losses/explained_variance",
        "policy/lag",
        "policy/lag_max",
    }
    assert all(type(value) is float for value in numbers.values())


def test_reset_rows_explain_nothing() -> None:
    learner, _, _ = linear_learner()
    losses = learner.update(random_batch())
    losses.value = torch.tensor([1.0, 2.0, 9.0])
    losses.target = torch.tensor([1.0, 2.0, -9.0])
    losses.valid = torch.tensor([True, True, False])
    assert losses.numbers()["losses/explained_variance"] == 1.0
