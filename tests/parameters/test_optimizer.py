"""Flat optimizers against torch's own, and their state."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gala.learning.a2c_config import A2CConfig
from gala.parameters.flat import FlatParameters
from gala.parameters.optimizer import Optimizer, build_optimizer


def flat(seed: int = 0) -> FlatParameters:
    torch.manual_seed(seed)
    return FlatParameters(nn.Linear(7, 5))


def gradients(steps: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(40, generator=generator) * 10.0 ** (k % 5 - 3) for k in range(steps)]


def step(optimizer: Optimizer) -> None:
    optimizer.advance()
    optimizer.apply()


@pytest.mark.parametrize("name", ["rmsprop", "adam"])
def test_fifty_steps_are_those_of_torch(name: str) -> None:
    config = A2CConfig(optimizer=name, optimizer_eps=1e-5, rmsprop_alpha=0.97)  # type: ignore[arg-type]
    ours, theirs = flat(), flat()
    optimizer = build_optimizer(config, ours, lr=3e-3)
    kinds: dict[str, Any] = {
        "rmsprop": lambda v: torch.optim.RMSprop([v], lr=3e-3, alpha=0.97, eps=1e-5),
        "adam": lambda v: torch.optim.Adam([v], lr=3e-3, eps=1e-5),
    }
    reference = kinds[name](theirs.vector)
    for k, gradient in enumerate(gradients(50)):
        ours.grad.copy_(gradient)
        theirs.grad.copy_(gradient)
        optimizer.lr = reference.param_groups[0]["lr"] = 3e-3 * (1 - k / 50)
        step(optimizer)
        reference.step()
    torch.testing.assert_close(ours.data, theirs.data, rtol=1e-6, atol=1e-7)


def test_one_step_of_rmsprop_by_hand() -> None:
    parameters = flat()
    before = parameters.data.clone()
    parameters.grad.fill_(-2.0)  # v = 0.1 * 4, x += 0.5 * 2 / sqrt(0.4)
    step(Optimizer(parameters, lr=0.5, betas=(0.0, 0.9), eps=0.0, corrected=False))
    torch.testing.assert_close(parameters.data, before + 1.0 / 0.4**0.5)


@pytest.mark.parametrize(("name", "rates"), [("rmsprop", 10.0), ("adam", 1.0)])
def test_the_first_step_with_a_short_memory(name: str, rates: float) -> None:
    """RMSProp's is ten rates long in each parameter, whatever the gradient; Adam's is one."""
    parameters = flat()
    before = parameters.data.clone()
    parameters.grad.copy_(torch.logspace(-3, 0, 40))
    config = A2CConfig(optimizer=name, adam_betas=(0.0, 0.99), optimizer_eps=1e-9)  # type: ignore[arg-type]
    step(build_optimizer(config, parameters, lr=0.1))
    torch.testing.assert_close(before - parameters.data, torch.full((40,), 0.1 * rates))


def test_adam_without_momentum_becomes_rmsprop() -> None:
    """The correction wears off: after many steps both go equally far."""
    moved = []
    for name in ("rmsprop", "adam"):
        parameters = flat()
        config = A2CConfig(optimizer=name, adam_betas=(0.0, 0.9), rmsprop_alpha=0.9)  # type: ignore[arg-type]
        optimizer = build_optimizer(config, parameters, lr=0.1)
        for gradient in gradients(200):
            before = parameters.data.clone()
            parameters.grad.copy_(gradient)
            step(optimizer)
        moved.append(parameters.data - before)
    torch.testing.assert_close(moved[0], moved[1], rtol=1e-3, atol=1e-6)


def test_the_first_step_of_adam_is_the_learning_rate() -> None:
    parameters = flat()
    before = parameters.data.clone()
    parameters.grad.fill_(123.0)
    step(Optimizer(parameters, lr=0.25, eps=0.0))
    torch.testing.assert_close(parameters.data, before - 0.25)


@pytest.mark.parametrize("name", ["rmsprop", "adam"])
def test_a_resumed_optimizer_goes_on_bit_for_bit(name: str) -> None:
    config = A2CConfig(optimizer=name)  # type: ignore[arg-type]
    whole, halves = flat(), flat()
    steps = gradients(10)

    def run(parameters: FlatParameters, optimizer: Any, some: list[Tensor]) -> None:
        for gradient in some:
            parameters.grad.copy_(gradient)
            step(optimizer)

    run(whole, build_optimizer(config, whole, lr=1e-3), steps)
    before = build_optimizer(config, halves, lr=1e-3)
    run(halves, before, steps[:4])
    state = before.state_dict()
    saved = halves.data.clone()
    run(halves, before, steps[4:])  # going on must not change what was saved
    halves.data.copy_(saved)
    after = build_optimizer(config, halves, lr=9.0)
    after.load_state_dict(state)
    run(halves, after, steps[4:])
    assert torch.equal(halves.data, whole.data) and after.lr == 1e-3


def test_training_never_loads_the_compiler() -> None:
    code = (
        "import sys, torch; from torch import nn; "
        "from gala.parameters.optimizer import build_optimizer; "
        "from gala.learning.a2c_config import A2CConfig; "
        "from gala.parameters.flat import FlatParameters; "
        "flat = FlatParameters(nn.Linear(2, 2)); "
        "optimizer = build_optimizer(A2CConfig(), flat, lr=1.0); "
        "optimizer.advance(); optimizer.apply(); "
        "print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "False", done.stderr


@pytest.mark.parametrize("name", ["rmsprop", "adam"])
def test_a_step_that_is_left_out_leaves_nothing_behind(name: str) -> None:
    config = A2CConfig(optimizer=name)  # type: ignore[arg-type]
    whole, other = flat(), flat()
    one, two = (build_optimizer(config, each, lr=0.1) for each in (whole, other))
    for k, gradient in enumerate(gradients(6)):
        if k == 3:
            other.grad.fill_(float("nan"))
            two.advance()
            two.apply(torch.ones(()))
        for each, optimizer in ((whole, one), (other, two)):
            each.grad.copy_(gradient)
            optimizer.advance()
            optimizer.apply(torch.zeros(()))
    assert torch.equal(whole.data, other.data)
    states = one.state_dict(), two.state_dict()
    assert states[0]["steps"] == states[1]["steps"] == 6
    assert all(torch.equal(states[0][key], states[1][key]) for key in ("mean", "square"))


def test_an_optimizer_that_begins_anew() -> None:
    used, fresh = flat(), flat()
    one, two = (
        build_optimizer(A2CConfig(optimizer="adam"), each, lr=0.1) for each in (used, fresh)
    )
    used.grad.fill_(3.0)
    step(one)
    one.forget()
    fresh.data.copy_(used.data)
    for each, optimizer in ((used, one), (fresh, two)):
        each.grad.fill_(-1.0)
        step(optimizer)
    assert torch.equal(used.data, fresh.data)
