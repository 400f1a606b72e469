"""One learner for all plans: which rows it takes, when it stops, what it goes on from."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from batches import ACTIONS, N, linear_learner, random_batch
from late_queue import LateStream
from torch.nn import functional as F

from gala.device.streams import Direct
from gala.learning.learner import Learner
from gala.learning.returns import gae, vtrace

T, B = 6, 4
PLANS = {"epochs": 3, "minibatches": 4}
ALGORITHMS = ["a2c", "impact", "ppo", "vmpo", "vtrace"]


class Noting:
    """A coupling that counts what it is asked."""

    def __init__(self, answer: float | None = None) -> None:
        self.reduced, self.agreed, self.answer = 0, [], answer

    def reduce(self, gradient: torch.Tensor) -> None:
        self.reduced += 1

    def agree(self, number: float) -> float:
        self.agreed.append(number)
        return number if self.answer is None else self.answer


def rows_of(learner: Any, model: Any, monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The rows of each optimizer step of one update."""
    taken: list[list[int]] = []
    unroll = model.unroll

    def noting(batch: Any, rows: Any = None) -> Any:
        taken.append(rows.tolist())
        return unroll(batch, rows)

    monkeypatch.setattr(model, "unroll", noting)
    learner.update(random_batch(t=T, b=B))
    return taken


def test_each_epoch_takes_every_row_once(monkeypatch: pytest.MonkeyPatch) -> None:
    learner, _, model = linear_learner("ppo", **PLANS)
    taken = rows_of(learner, model, monkeypatch)
    assert [len(rows) for rows in taken] == [T * B // 4] * 12
    epochs = [sum(taken[k : k + 4], []) for k in (0, 4, 8)]
    assert all(sorted(rows) == list(range(T * B)) for rows in epochs)
    assert epochs[0] != epochs[1] != list(range(T * B))


def test_one_reduction_for_each_optimizer_step() -> None:
    for algorithm, steps in (
        ("a2c", 1), ("vtrace", 1), ("vmpo", 1), ("ppo", 12), ("impact", 2),
    ):  # fmt: skip
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
            learner.follow(k + 1, mixed=k == 3)

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
@pytest.mark.parametrize("older", [False, True])
def test_rows_that_are_not_valid_cannot_be_felt(algorithm: str, noise: float, older: bool) -> None:
    results, numbers = [], []
    for much in (0.0, noise):
        plan = PLANS if algorithm == "ppo" else {}
        learner, _, model = linear_learner(algorithm, **plan)
        model.revision += older
        batch = random_batch(t=T, b=B)
        for t, b in ((2, 0), (4, 3)):  # the rows after an episode's last one
            batch.valid[t, b] = False
            batch.cut[t - 1, b] = True
            batch.reward[t, b] += much
            batch.next_value[t, b] += much
            batch.value[t, b] += much
            batch.dist[t, b, batch.action[t, b]] += much  # ratios of nothing, and infinite ones
            if not older and algorithm != "impact":  # else the step before is valued by it
                batch.obs[t, b] += much
        numbers.append(learner.update(batch).numbers())
        results.append(model.flat.data.clone())
    assert torch.equal(*results)
    assert numbers[0] == numbers[1]


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
    cold = {"temperature": 0.1} if algorithm == "vmpo" else {}
    learner, network, model = linear_learner(algorithm, lr=0.05, entropy_coef=0.0, **cold)
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
        dist = dist[:-1]
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


def test_the_order_of_rows_is_drawn_from_the_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    orders = []
    for seed in (1, 1, 2):
        made, _, model = linear_learner("ppo", **PLANS)
        g = torch.Generator().manual_seed(seed)
        learner = Learner(made.algorithm, model, lr=0.01, generator=g)
        torch.manual_seed(seed + len(orders))  # not from torch's own
        orders.append(rows_of(learner, model, monkeypatch))
    assert orders[0] == orders[1] != orders[2]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_scheduled_numbers_reach_the_optimizer(algorithm: str) -> None:
    """With half of the run to come, twice as much that falls is as much that stays."""
    plan: dict[str, Any] = PLANS if algorithm == "ppo" else {}
    clip = [{"clip": 0.1}, {"clip": 0.2, "clip_schedule": "linear"}]
    constant = {"lr": 0.01, "entropy_coef": 0.2, **(clip[0] if plan else {}), **plan}
    falling = {"lr": 0.02, "entropy_coef": 0.4, **(clip[1] if plan else {}), **plan}
    falling |= {"lr_schedule": "linear", "entropy_schedule": "linear"}
    if algorithm == "vmpo":
        constant["dual_lr"], falling["dual_lr"] = 0.01, 0.02
    results = []
    for settings in (constant, falling):
        learner, _, model = linear_learner(algorithm, **settings)
        assert learner.schedule(0.5) == 0.01
        learner.update(random_batch(t=T, b=B))
        results.append(model.flat.data.clone())
    assert torch.equal(*results)
    assert learner.schedule(7.0) == 0.0  # others went on a little
    learner.update(random_batch(seed=1, t=T, b=B))
    assert torch.equal(model.flat.data, results[0])


def test_minibatches_without_valid_rows_are_survived() -> None:
    learner, _, model = linear_learner("ppo", epochs=2, minibatches=T * B)  # of one row each
    batch = random_batch(t=T, b=B)
    batch.valid[:] = False
    batch.valid[3, 1] = True
    batch.reward[~batch.valid] = 1e6
    before = model.flat.data.clone()
    losses = learner.update(batch)
    assert losses.steps == 2 * T * B
    assert bool(model.flat.data.isfinite().all()) and not torch.equal(model.flat.data, before)
    assert losses.numbers()["losses/entropy"] < 2  # of one step in 24 each epoch, not of noise


def test_agents_agree_on_the_divergence_of_each_epoch_by_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    learner, _, _ = linear_learner("ppo", stop_kl=1e9, **PLANS)
    each, loss = [], learner.algorithm.loss

    def noting(columns: Any, out: Any, terms: Any) -> Any:
        found = loss(columns, out, terms)
        each.append(float(found.logged["policy/kl"]))
        return found

    monkeypatch.setattr(learner.algorithm, "loss", noting)
    coupling = Noting()
    losses = learner.update(random_batch(t=T, b=B), coupling)
    epochs = [sum(each[k : k + 4]) / 4 for k in (0, 4, 8)]
    assert coupling.agreed == pytest.approx(epochs, rel=1e-4, abs=1e-6)
    assert losses.numbers()["policy/kl"] == pytest.approx(sum(each) / 12, rel=1e-4)


def test_ratios_are_to_who_acted() -> None:
    learner, network, _ = linear_learner("ppo", epochs=1, minibatches=1)
    batch = random_batch(t=T, b=B)
    batch.dist.normal_(generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        dist, _ = network(batch.obs[:-1].flatten(0, 1))
    new = F.log_softmax(dist, -1).gather(-1, batch.action.view(-1, 1))
    old = F.log_softmax(batch.dist.flatten(0, 1), -1).gather(-1, batch.action.view(-1, 1))
    expected = float(((new - old).exp() - 1 - (new - old)).mean())
    assert learner.update(batch).numbers()["policy/kl"] == pytest.approx(expected, rel=1e-4)


def test_v_trace_takes_a_batch_of_its_own_as_it_is() -> None:
    """Who acted is who learns: nothing is valued again, and no weight differs from 1."""
    learner, _, _ = linear_learner("vtrace")
    batch = random_batch(t=T, b=B)  # its values are not those of the network
    one = torch.ones(T, B)
    expected, _ = vtrace(
        one, batch.reward, batch.discount, batch.value, batch.next_value, batch.cut
    )
    losses = learner.update(batch)
    torch.testing.assert_close(losses.target, expected.flatten())
    assert losses.numbers()["policy/rho"] == pytest.approx(1.0)
    assert losses.numbers()["policy/clip_fraction"] == 0.0


def test_policy_lag_is_counted_in_changes_of_the_parameters() -> None:
    learner, _, model = linear_learner("ppo", **PLANS)
    batch = random_batch(t=T, b=B)
    assert learner.update(batch).lag == (0.0, 0)
    assert learner.update(batch).lag == (12.0, 12)  # a whole update later
    model.refresh()  # a mix with neighbours
    batch.version[:] = [25, 25, 24, 21]
    numbers = learner.update(batch).numbers()
    assert (numbers["policy/lag"], numbers["policy/lag_max"]) == (1.25, 4.0)


def fill(batch: Any, other: Any) -> None:
    """The same tensors, with the numbers of another batch."""
    for name in ("obs", "action", "reward", "value", "next_value"):
        getattr(batch, name).copy_(getattr(other, name))


SPOILT = {"nan": float("nan"), "inf": float("inf"), "too much": 1e38}


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("reward", SPOILT.values(), ids=SPOILT.keys())
@pytest.mark.parametrize("algorithm", ["a2c", "ppo", "vtrace"])  # impact: test_impact.py
def test_a_gradient_that_is_not_finite_changes_nothing(
    algorithm: str, reward: float, late: bool
) -> None:
    """Neither parameters nor optimizer: the next updates are those of who never saw it."""
    options = {"epochs": 2, "minibatches": 1} if algorithm == "ppo" else {}
    found = []
    for spoil in (False, True):
        stream = LateStream() if late else Direct()
        learner, _, model = linear_learner(algorithm, stream, optimizer="adam", **options)
        batch = random_batch(t=T, b=B)
        for k in range(4):
            fill(batch, random_batch(seed=k, t=T, b=B))
            batch.version[:] = model.revision
            if spoil and k == 2:
                generator = learner.state_dict()["generator"]
                batch.reward[2, 1] = reward
                losses = learner.update(batch)
                if late:
                    stream.queue.drain()
                assert int(losses.skipped) == losses.steps == options.get("epochs", 1)
                assert not losses.numbers().keys() & {"losses/value_loss", "losses/grad_norm"}
                assert not math.isfinite(sum(map(float, losses.spoilt.values())))
                learner.load_state_dict({**learner.state_dict(), "generator": generator})
                batch.reward[2, 1] = random_batch(seed=k, t=T, b=B).reward[2, 1]
                batch.version[:] = model.revision
            losses = learner.update(batch)
            if late:
                stream.queue.drain()
            assert int(losses.skipped) == 0
        found.append((model.flat.data.clone(), learner.state_dict()["optimizer"], losses.numbers()))
    (one, state, numbers), (other, again, same) = found
    assert torch.equal(one, other) and numbers == same
    assert state["steps"] == again["steps"] and torch.equal(state["square"], again["square"])


def test_minibatches_without_the_spoilt_row_are_learned_from() -> None:
    learner, _, model = linear_learner("ppo", epochs=2, minibatches=4, gae_lambda=0.0)
    batch, before = random_batch(t=T, b=B), model.flat.data.clone()
    batch.reward[0, 1] = float("nan")
    losses = learner.update(batch)
    assert (int(losses.skipped), losses.steps) == (2, 8)
    assert all(map(math.isfinite, losses.numbers().values()))
    assert model.flat.data.isfinite().all() and not torch.equal(model.flat.data, before)
