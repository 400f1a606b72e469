"""IMPACT beyond its golden numbers: whose view makes targets, and what is served again."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from batches import ACTIONS, N, linear_learner, random_batch
from late_queue import LateStream

from gala.device.streams import Direct
from gala.learning.returns import vtrace

T, B = 6, 4


def far(learner: Any, model: Any) -> torch.Tensor:
    """Bring the parameters away from their lagging copy, which is returned."""
    target = model.flat.data.clone()
    g = torch.Generator().manual_seed(9)
    model.flat.data.add_(torch.randn(len(target), generator=g))
    model.refresh()
    return target


def linear(vector: torch.Tensor, obs: torch.Tensor) -> torch.Tensor:
    """Logits of the network without a trunk, by other parameters."""
    weight, bias = vector[: N * ACTIONS].view(ACTIONS, N), vector[N * ACTIONS :][:ACTIONS]
    return obs @ weight.T + bias


def test_targets_are_of_the_target_network_and_values_of_the_current_one() -> None:
    learner, network, model = linear_learner("impact", buffer=1, replays=1)
    target_net = far(learner, model)
    batch = random_batch(t=T, b=B)
    _, values = model.evaluate(batch)
    head = network.head
    dist = linear(target_net, batch.obs[:-1])
    rho = (head.log_prob(dist, batch.action) - head.log_prob(batch.dist, batch.action)).exp()
    expected, _ = vtrace(rho, batch.reward, batch.discount, values[:-1], values[1:], batch.cut)
    current = model.at(model.flat.data, batch.obs[:-1].flatten(0, 1)).detach()
    kl = float(head.kl(dist.flatten(0, 1), current).mean())
    losses = learner.update(batch)
    torch.testing.assert_close(losses.target, expected.flatten())
    assert losses.numbers()["policy/rho"] == pytest.approx(float(rho.mean()), rel=1e-5)
    assert losses.numbers()["policy/kl"] == pytest.approx(kl, rel=1e-5) and kl > 0.1


@pytest.mark.parametrize(("target", "copied"), [("copy", [0, 2, 4]), ("mix", [0, 1, 3, 5])])
def test_when_the_target_network_is_copied(target: str, copied: list[int]) -> None:
    """No KL to it shows that it is the policy that learns."""
    learner, _, model = linear_learner(
        "impact", buffer=1, replays=1, target=target, target_every=2, lr=0.1
    )
    seen = []
    for k in range(6):
        kl = learner.update(random_batch(k, t=T, b=B)).numbers()["policy/kl"]
        if kl == pytest.approx(0, abs=1e-6):
            seen.append(k)
        if mixed := k in (0, 4):
            model.flat.data.mul_(0.9)
            model.refresh()
        learner.follow(k + 1, mixed=mixed)
    assert seen == copied


def test_whoever_joins_has_the_others_policy_as_its_target() -> None:
    learner, _, model = linear_learner("impact", buffer=1, replays=1, target_every=100)
    far(learner, model)
    learner.begin_anew(1)
    assert learner.update(random_batch(t=T, b=B)).numbers()["policy/kl"] == pytest.approx(0)


def test_lag_is_that_of_all_that_was_learned_from() -> None:
    learner, _, model = linear_learner("impact", buffer=4, replays=2)
    lags = []
    for k in range(4):
        batch = random_batch(k, t=T, b=B)
        batch.version[:] = model.revision
        lags.append(learner.update(batch).lag)
    assert lags == [(0.5, 1), (1.5, 2), (2.5, 4), (2.5, 4)]


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("reward", [float("nan"), float("inf")])
def test_a_spoilt_batch_costs_one_step_and_is_served_without_its_environment(
    reward: float, late: bool
) -> None:
    stream = LateStream() if late else Direct()
    learner, _, model = linear_learner("impact", stream, buffer=2, replays=2)
    batch, skipped = random_batch(t=T, b=B), []
    for k in range(4):
        batch.reward.fill_(1.0)
        if k == 1:
            batch.reward[2, 1] = reward
        batch.version[:] = model.revision
        losses = learner.update(batch)
        if late:
            stream.queue.drain()
        skipped.append(int(losses.skipped))
        state = learner.state_dict()
        assert all(bool(kept["reward"].isfinite().all()) for kept in state["buffer"]["batches"])
    assert skipped == [0, 1, 0, 0]
    assert bool(model.flat.data.isfinite().all())


def test_nothing_of_before_is_used_after_it_was_forgotten() -> None:
    learner, _, model = linear_learner("impact", target_every=100)
    for k in range(3):
        learner.update(random_batch(k, t=T, b=B))
    learner.forget(3)
    state = learner.state_dict()
    assert torch.equal(state["target"]["copy"], model.flat.data)
    assert state["buffer"]["batches"] == [] and state["optimizer"]["steps"] == 0
