"""What is told of updates that were left out, and when parameters are given up."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from batches import filled, linear_learner, random_batch
from late_queue import LateStream

from gala.agent.soundness import MAX_LOST, Soundness
from gala.config.sections import NetworkConfig
from gala.divergence.updates import Updates
from gala.errors import NotFinite
from gala.learning.replay_learner import ReplayLearner
from gala.learning.sac import SAC
from gala.learning.sac_config import SACConfig
from gala.networks import build_network
from gala.networks.model import Model
from gala.parameters.flat import FlatParameters


class Watched:
    """A learner whose updates are examined."""

    def __init__(self) -> None:
        self.learner, _, self.model = linear_learner("a2c")
        self.told: list[tuple[str, str]] = []
        self.soundness = Soundness(self.model.flat, lambda *event: self.told.append(event))
        self.update = 0

    def learn(self, faults: tuple[str, ...] = (), moved: float = 0.0, **spoil: float) -> None:
        batch = random_batch(seed=self.update)
        for name, value in spoil.items():
            getattr(batch, name)[0, 1] = value
        self.update += 1
        losses = self.learner.update(batch)
        self.soundness.examine(batch, losses, faults, update=self.update, moved=moved)


@pytest.fixture
def watched() -> Watched:
    return Watched()


def test_a_replaying_agent_whose_network_gives_nothing_finite_gives_up() -> None:
    """A replay holds finite numbers alone, and nothing of the network: its losses tell."""
    space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    network = build_network(space, space, NetworkConfig(hidden=(4,)), seed=0, values="soft")
    model = Model(network, FlatParameters(network, buffers=True), torch.float32)
    learner = ReplayLearner(SAC(SACConfig()), model, lr=1e-3, rows=3)
    soundness, batch = Soundness(model.flat, lambda *_: None), filled(
        torch.zeros(2, 3, 2), torch.zeros(1, 3, 2), 4
    )  # fmt: skip

    def learn(update: int, value: float) -> None:
        with torch.no_grad():
            network.logits.bias.fill_(value)  # finite, and what is made of it is not
            model.flat.weights.clamp_(-3e38, 3e38)
        losses = learner.update(batch)
        soundness.examine(batch, losses, (), update=update, moved=0.0)

    learn(0, 0.0)
    for update in range(1, MAX_LOST):
        learn(update, 3e38)
    with pytest.raises(NotFinite, match=f"nothing finite for {MAX_LOST} updates"):
        learn(MAX_LOST, 3e38)


def test_an_update_that_was_learned_from_is_not_told(watched: Watched) -> None:
    watched.learn()
    assert (watched.told, watched.soundness.skipped) == ([], 0)


def test_a_cause_is_told_once_and_then_ever_more_rarely(watched: Watched) -> None:
    """An environment that never recovers must not fill the records."""
    nan = float("nan")
    for _ in range(40):
        watched.learn(("reward of environment 1 is nan",), reward=nan)
    watched.learn(("observation of environment 0 holds inf",), reward=nan)
    texts = [text for kind, text in watched.told if kind == "skipped"]
    assert texts[0] == "update 1 was not learned from: reward of environment 1 is nan"
    counts = [text.rpartition("; ")[2].split()[0] for text in texts[1:]]
    assert counts == ["2", "4", "8", "16", "32", "41"]
    assert "observation of environment 0" in texts[-1] and watched.soundness.skipped == 41


@pytest.mark.parametrize("spoilt", [float("nan"), float("inf"), -float("inf")])
def test_parameters_are_looked_at_when_an_update_or_a_gradient_is_not_finite(
    watched: Watched, spoilt: float
) -> None:
    watched.learn()
    with torch.no_grad():
        watched.model.flat.data[-1] = spoilt
    with pytest.raises(NotFinite, match="its parameters are not finite after update 2: value.bias"):
        watched.learn(moved=spoilt if spoilt > 0 else 0.0)


def test_a_large_update_of_finite_parameters_is_no_end(watched: Watched) -> None:
    """The norm of a step of 1e20 overflows."""
    watched.learn(moved=float("inf"))
    assert watched.told == []


def test_parameters_that_give_nothing_finite_any_more_are_given_up(watched: Watched) -> None:
    """They are finite, but so large that no output is: nothing would ever be learned again."""
    with pytest.raises(NotFinite, match="has given nothing finite for 32 updates: value of"):
        for _ in range(MAX_LOST):
            watched.learn(value=float("inf"))
    assert watched.update == MAX_LOST


@pytest.mark.parametrize("between", [{}, {"faults": ("reward of environment 1 is nan",)}])
def test_they_are_not_given_up_before(watched: Watched, between: dict[str, Any]) -> None:
    for _ in range(3):
        for _ in range(MAX_LOST - 1):
            watched.learn(value=float("inf"))
        watched.learn(**between, **({"reward": float("nan")} if between else {}))


def test_nothing_is_read_from_a_device_for_it() -> None:
    """Whether steps were left out is on its way when somebody waits anyway."""
    stream = LateStream()
    learner, _, model = linear_learner("a2c", stream)
    norms = Updates(model.flat.weights, stream)
    soundness = Soundness(model.flat, lambda *event: None)
    batch = random_batch()

    def waits() -> int:
        before = stream.queue.waits
        batch.version[:] = model.revision
        norms.before(model.flat.weights)
        losses = learner.update(batch)
        norms.after(model.flat.weights)
        found = stream.queue.waits - before
        soundness.examine(batch, losses, (), update=1, moved=norms.latest)
        assert stream.queue.waits - before == found
        return found

    assert [waits() for _ in range(3)] == [1, 1, 1]
