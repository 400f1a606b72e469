"""The cause that is told when an update was left out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from batches import linear_learner, random_batch

from gala.learning.diagnosis import cause


def told(spoil: Any, faults: tuple[str, ...] = (), **options: Any) -> str:
    """What is said of an update with a batch that ``spoil`` has changed."""
    learner, _, _ = linear_learner("a2c", **options)
    batch = random_batch(t=5, b=4)
    spoil(batch)
    losses = learner.update(batch)
    assert int(losses.skipped) == 1
    return cause(batch, losses, faults)


def at(name: str, value: float) -> Any:
    """Put a value into a column, at row 2 of environment 3."""
    return lambda batch: getattr(batch, name)[2, 3].fill_(value)


def both(first: Any, second: Any) -> Any:
    return lambda batch: (first(batch), second(batch))


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (at("reward", float("nan")), "reward of environment 3 is not finite"),
        (at("value", float("inf")), "value of environment 3 is not finite"),
        (both(at("dist", float("nan")), at("reward", 3e38)),
         "action distribution of environment 3 is not finite"),
        (at("reward", 3e38), "losses/value_loss is inf, observations and rewards are finite, "
         "the largest reward is 3e+38 (environment 3)"),
    ],
)  # fmt: skip
def test_the_first_thing_that_is_not_finite(spoil: Any, text: str) -> None:
    assert told(spoil).startswith(text)


def test_a_gradient_whose_squares_overflow() -> None:
    """The losses are finite, and with a limit it would be clipped and followed."""
    for limit in (None, 0.5):
        learner, _, model = linear_learner("a2c", max_grad_norm=limit)
        batch = random_batch(t=1, b=1)
        batch.obs.fill_(30.0)
        batch.reward.fill_(5e18)
        before, losses = model.flat.data.clone(), learner.update(batch)
        assert int(losses.skipped) == (limit is None)
        assert torch.equal(before, model.flat.data) == (limit is None)
        if limit is None:
            text = "gradient is too large to be followed unclipped: its norm is"
            assert cause(batch, losses).startswith(text)


def test_what_the_environments_gave_comes_first() -> None:
    said = told(at("reward", float("nan")), ("reward of environment 3 is nan", "and 1 more"))
    assert said == "reward of environment 3 is nan, and 1 more"


def test_a_gradient_of_others() -> None:
    """Averaged over agents, of which another one has the fault."""

    class Averaged:
        def reduce(self, gradient: torch.Tensor) -> None:
            gradient[0] = float("nan")

        def agree(self, number: float) -> float:
            return number

    learner, _, _ = linear_learner("a2c")
    batch = random_batch()
    losses = learner.update(batch, Averaged())
    assert int(losses.skipped) == 1 and "another agent" in cause(batch, losses)
