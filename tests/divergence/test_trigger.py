"""Triggers: silence until something moved."""

import pytest
import torch

from gala.divergence.trigger import Trigger, drift


def test_drift_is_relative_and_counts_from_the_last_message() -> None:
    x = torch.tensor([3.0, 4.0])  # norm 5
    trigger = Trigger(x, drift, 0.1)
    assert trigger.due(3) == 3, "the first message says where one is, to all"
    trigger.sent(3)
    assert trigger.due(3) == 0 and trigger.moved == 0.0
    x += torch.tensor([0.3, 0.4])  # 0.5 of 5.5
    assert not trigger.due(3) and trigger.moved == pytest.approx(1 / 11)
    x += torch.tensor([0.3, 0.4])  # 1.0 of 6
    assert trigger.due(3) and trigger.moved == pytest.approx(1 / 6)
    assert trigger.due(3), "as long as nothing is sent"
    trigger.sent(3)
    assert not trigger.due(3)


def test_with_threshold_zero_every_change_is_news() -> None:
    x = torch.zeros(2)
    trigger = Trigger(x, drift, 0.0)
    trigger.sent(3)
    assert not trigger.due(3)  # nothing moved, not even from zero
    x += 1e-6
    assert trigger.due(3)


def test_policies_are_compared_with_the_one_that_was_sent() -> None:
    x = torch.zeros(1)
    asked = []

    def divergence(before: torch.Tensor, now: torch.Tensor) -> float | None:
        asked.append((before.item(), now.item()))
        return None if now.item() == 9.0 else abs(now.item() - before.item())

    trigger = Trigger(x, divergence, 0.5)
    assert trigger.due(3) and asked == []
    trigger.sent(3)
    x += 0.5
    assert not trigger.due(3)
    x += 0.5
    assert trigger.due(3) and trigger.moved == 1.0
    x += 8.0
    assert trigger.due(3), "without observations there is no reason for silence"
    assert asked == [(0.0, 0.5), (0.0, 1.0), (0.0, 9.0)]
