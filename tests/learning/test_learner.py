"""One learner for all plans: which rows it takes, when it stops, what it goes on from."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from batches import ACTIONS, N, linear_learner, random_batch
from torch.nn import functional as F

from gala.learning.returns import gae, vtrace

T, B = 6, 4
PLANS = {"epochs": 3, "minibatches": 4}
ALGORITHMS = ["a2c", "ppo", "vtrace"]


class Noting:
    """A coupling that counts what it is asked."""

    def __init__(self, answer: float | None = None) -> None:
        self.reduced, self.agreed, self.answer = 0, [], answer

    def reduce(self, gradient: torch.Tensor) -> None:
        self.reduced += 1

    def agree(self, number: float) -> float:
        self.agreed.append(number)
        return number if self.answer is None else self.answer


def test_each_epoch_takes_every_row_once(monkeypatch: pytest.MonkeyPatch) -> None:
    learner, _, model = linear_learner("ppo", **PLANS)
    taken: list[list[int]] = []
    unroll = model.unroll

    def noting(batch: Any, rows: Any = None) -> Any:
        taken.append(rows.tolist())
        return unroll(batch, rows)

    monkeypatch.setattr(model, "unroll", noting)
    learner.update(random_batch(t=T, b=B))
    assert [len(rows) for rows in taken] == [T * B // 4] * 12
    epochs = [sum(taken[k : k + 4], []) for k in (0, 4, 8)]
    assert all(sorted(rows) == list(range(T * B)) for rows in epochs)
    assert epochs[0] != epochs[1] != list(range(T * B))


def test_one_reduction_for_each_optimizer_step() -> None:
    for algorithm, steps in (("a2c", 1), ("vtrace", 1), ("ppo", 12)):
        learner, _, model = linear_learner(algorithm, **(PLANS if algorithm == "ppo" else {}))
        coupling, before = Noting(), model.revision
        losses = learner.update(random_batch(t=T, b=B), coupling)
        assert (coupling.reduced, losses.steps, model.revision - before) == (steps,) * 3
        assert coupling.agreed == []


@pytest.mark.parametrize(("answer", "epochs"), [(0.0, 3), (1.0, 1)])
def test_all_agents_end_an_update_together(answer: float, epochs: int) -> None:
    learner, _, _ = linear_learner("ppo", stop_kl=0.5, **PLANS)
    coupling = Noting(answer)
    assert learner.update(random_batch(t=T, b=B), coupling).steps == 4 * epochs
    assert len(coupling.agreed) == epochs and all(kl >= 0 for kl in coupling.agreed)


def test_a_policy_that_moved_too_far_ends_the_update() -> None:
    small, _, _ = linear_learner("ppo", lr=1e-6, stop_kl=0.01, **PLANS)
    large, _, _ = linear_learner("ppo", lr=0.3, stop_kl=0.01, **PLANS)
    batch = random_batch(t=T, b=B)
    assert (small.update(batch).steps, large.update(batch).steps) == (12, 4)


def test_what_is_logged_is_the_mean_of_the_steps() -> None:
    """With a rate of nearly nothing all steps see one policy, and minibatches share the batch."""
    whole, _, _ = linear_learner(
        "ppo", lr=1e-12, epochs=1, minibatches=1, normalize_advantage=False
    )
    parts, _, _ = linear_learner("ppo", lr=1e-12, normalize_advantage=False, **PLANS)
    batch = random_batch(t=T, b=B)
    one, other = whole.update(batch).numbers(), parts.update(batch).numbers()
    assert other.keys() == one.keys()
    for name in ("losses/policy_loss", "losses/value_loss", "losses/entropy", "policy/kl",
                 "policy/clip_fraction", "losses/explained_variance"):  # fmt: skip
        assert other[name] == pytest.approx(one[name], rel=1e-4, abs=1e-5), name
    assert other["losses/grad_norm"] > 0


def test_the_clip_follows_its_schedule() -> None:
    learner, _, _ = linear_learner("ppo", clip=0.2, clip_schedule="linear", entropy_coef=0.4)
    assert learner.algorithm.coefficients(1.0) == (0.4, 0.2)
    assert learner.algorithm.coefficients(0.25) == (0.4, pytest.approx(0.05))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_learner_goes_on_from_its_state_bit_for_bit(algorithm: str) -> None:
    plan = PLANS if algorithm == "ppo" else {}

    def fresh() -> tuple[Any, Any]:
        learner, _, model = linear_learner(algorithm, optimizer="adam", **plan)
        return learner, model

    def learn(learner: Any, model: Any, updates: range) -> None:
        for k in updates:
            batch = random_batch(seed=k, t=T, b=B)
            batch.version[:] = model.revision
            learner.schedule(k / 8)
            learner.update(batch)

    whole, expected = fresh()
    learn(whole, expected, range(8))
    first, before = fresh()
    learn(first, before, range(5))
    second, model = fresh()
    model.flat.data.copy_(before.flat.data)
    model.refresh()
    second.load_state_dict(first.state_dict())
    learn(second, model, range(5, 8))
    assert torch.equal(model.flat.data, expected.flat.data)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("noise", [1e6, -1e6])
def test_rows_that_are_not_valid_cannot_be_felt(algorithm: str, noise: float) -> None:
    results = []
    for much in (0.0, noise):
        plan = PLANS if algorithm == "ppo" else {}
        learner, _, model = linear_learner(algorithm, **plan)
        batch = random_batch(t=T, b=B)
        for t, b in ((2, 0), (4, 3)):  # the rows after an episode's last one
            batch.valid[t, b] = False
            batch.cut[t - 1, b] = True
            batch.reward[t, b] += much
            batch.obs[t, b] += much
            batch.next_value[t, b] += much
        learner.update(batch)
        results.append(model.flat.data.clone())
    assert torch.equal(*results)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_batch_without_valid_rows_changes_nothing(algorithm: str) -> None:
    learner, _, model = linear_learner(algorithm, **(PLANS if algorithm == "ppo" else {}))
    before = model.flat.data.clone()
    batch = random_batch(t=T, b=B)
    batch.valid[:] = False
    learner.update(batch)
    assert torch.equal(model.flat.data, before)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_repeated_updates_raise_the_probability_of_what_paid(algorithm: str) -> None:
    learner, network, model = linear_learner(algorithm, lr=0.05, entropy_coef=0.0)
    batch = random_batch(t=T, b=B)
    batch.obs[:] = 1.0
    batch.discount[:] = 0.0
    for k in range(60):
        g = torch.Generator().manual_seed(k)
        batch.action.random_(0, ACTIONS, generator=g)
        with torch.no_grad():
            dist, value = network(batch.obs[:-1].flatten(0, 1))
        batch.dist.copy_(dist.view(T, B, ACTIONS))
        batch.value.copy_(value.view(T, B))
        batch.reward.copy_((batch.action == 2).float())
        batch.version[:] = model.revision
        learner.update(batch)
    with torch.no_grad():
        dist, value = network(torch.ones(1, N))
    assert float(F.softmax(dist, -1)[0, 2]) > 0.9
    assert float(value) == pytest.approx(1 / ACTIONS, abs=0.2)  # actions were drawn evenly


def test_v_trace_looks_with_the_current_parameters_at_older_batches() -> None:
    learner, network, model = linear_learner("vtrace")
    model.refresh()
    batch = random_batch(t=T, b=B)  # of revision 0, which is older
    batch.final[1, 2], batch.cut[1, 2] = True, True
    with torch.no_grad():
        dist, value = network(batch.obs.flatten(0, 1))
        dist, value = dist.view(T + 1, B, ACTIONS)[:-1], value.view(T + 1, B)
    follows = value[1:].clone()
    follows[1, 2] = batch.next_value[1, 2]  # only the behaviour policy has seen what came then
    head = network.head
    rho = (head.log_prob(dist, batch.action) - head.log_prob(batch.dist, batch.action)).exp()
    expected, _ = vtrace(rho, batch.reward, batch.discount, value[:-1], follows, batch.cut)
    losses = learner.update(batch)
    torch.testing.assert_close(losses.target, expected.flatten())
    assert losses.numbers()["policy/rho"] == pytest.approx(float(rho.mean()), rel=1e-5)
    share = float((rho > 1).float().mean())
    assert losses.numbers()["policy/clip_fraction"] == pytest.approx(share)
    assert losses.lag == (1.0, 1)


@pytest.mark.parametrize("algorithm", ["a2c", "ppo"])
def test_on_policy_targets_are_those_of_who_acted(algorithm: str) -> None:
    learner, _, model = (
        linear_learner(algorithm, gae_lambda=0.9, epochs=2)
        if (algorithm == "ppo")
        else linear_learner(algorithm, gae_lambda=0.9)
    )
    model.refresh()
    batch = random_batch(t=T, b=B)
    advantage = gae(batch.reward, batch.discount, batch.value, batch.next_value, batch.cut, 0.9)
    losses = learner.update(batch)
    torch.testing.assert_close(losses.target, (advantage + batch.value).flatten())


def test_no_gradient_flows_through_targets_and_weights() -> None:
    """With the same numbers as constants the gradient is the same."""
    learner, network, model = linear_learner("vtrace", entropy_coef=0.0, value_coef=1.0)
    model.refresh()
    batch = random_batch(t=T, b=B)
    coupling = Noting()
    seen: list[torch.Tensor] = []
    coupling.reduce = lambda gradient: seen.append(gradient.clone())  # type: ignore[method-assign]
    with torch.no_grad():
        dist, values = model.evaluate(batch)
        head = network.head
        rho = (head.log_prob(dist, batch.action) - head.log_prob(batch.dist, batch.action)).exp()
        target, advantage = vtrace(
            rho, batch.reward, batch.discount, values[:-1], values[1:], batch.cut
        )
    dist, value = network(batch.obs[:-1].flatten(0, 1))
    log_p = head.log_prob(dist, batch.action.flatten())
    loss = (0.5 * (target.flatten() - value).square() - advantage.flatten() * log_p).mean()
    expected = torch.cat([g.flatten() for g in torch.autograd.grad(loss, network.parameters())])
    learner.update(batch, coupling)
    torch.testing.assert_close(seen[0], expected, rtol=1e-4, atol=1e-6)
