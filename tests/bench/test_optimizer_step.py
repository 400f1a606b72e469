"""Both ways of a step do the same: what is timed is one thing."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "experiments" / "bench"))
import optimizer_step


def test_both_ways_change_the_parameters_alike() -> None:
    flat = optimizer_step.network((4, 4, 4))
    before = flat.data.clone()
    ends = []
    for way in (optimizer_step.one_kernel, optimizer_step.passes):
        step, parameters = way(optimizer_step.network((4, 4, 4)))
        for _ in range(5):
            step()
        ends.append(parameters)
    torch.testing.assert_close(ends[0], ends[1], rtol=0, atol=1e-8)
    assert (ends[0] - before).abs().mean() > 10 * optimizer_step.LR


def test_a_step_takes_time() -> None:
    step, _ = optimizer_step.passes(optimizer_step.network((4, 4, 4)))
    assert 0 < optimizer_step.milliseconds(step) < 1_000
