"""Whatever steps the parameters: one optimizer, several, wrapped ones, closures, accumulation."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.optim import LBFGS, SGD, Adam, Optimizer

from gala.library.optimizers import Steps, find_optimizers


class Wrapped:
    """As Lightning does it: no Optimizer itself."""

    def __init__(self, inner: Optimizer) -> None:
        self._optimizer = inner


class Accelerated(Optimizer):
    """As Accelerate does it: an Optimizer around another one, which steps only now and then."""

    def __init__(self, inner: Optimizer, every: int) -> None:
        self.optimizer, self._every, self._calls = inner, every, 0

    @property
    def param_groups(self) -> list[dict[str, object]]:  # type: ignore[override]
        return self.optimizer.param_groups

    def step(self, closure: object = None) -> None:
        self._calls += 1
        if self._calls % self._every == 0:
            self.optimizer.step()


@pytest.fixture
def model() -> nn.Linear:
    return nn.Linear(2, 1)


def backward(model: nn.Module) -> torch.Tensor:
    model.zero_grad()
    loss: torch.Tensor = model(torch.ones(3, 2)).square().mean()
    loss.backward()
    return loss


def counted(
    optimizers: list[Optimizer], every: int = 1, after: Optimizer | None = None
) -> tuple[Steps, list[int]]:
    calls: list[int] = []
    return Steps(optimizers, every, after, lambda: calls.append(1)), calls


def test_what_wraps_an_optimizer_is_taken_off(model: nn.Linear) -> None:
    inner = SGD(model.parameters(), lr=0.1)
    assert find_optimizers(inner) == [inner]
    assert find_optimizers([Wrapped(inner)]) == [inner]
    assert find_optimizers(Accelerated(inner, every=1)) == [inner]
    assert find_optimizers(Wrapped(Accelerated(inner, every=1))) == [inner]


def test_accumulated_gradients_count_when_they_are_applied(model: nn.Linear) -> None:
    accelerated = Accelerated(SGD(model.parameters(), lr=0.1), every=4)
    steps, calls = counted(find_optimizers(accelerated))
    for _ in range(8):
        backward(model)
        accelerated.step()
    assert (steps.total, len(calls)) == (2, 2)


def test_a_closure_counts_once(model: nn.Linear) -> None:
    optimizer = LBFGS(model.parameters(), max_iter=5)
    steps, calls = counted([optimizer])
    evaluations: list[int] = []

    def closure() -> float:
        evaluations.append(1)
        return float(backward(model).detach())

    optimizer.step(closure)
    assert len(evaluations) > 1 and (steps.total, len(calls)) == (1, 1)


def test_several_optimizers_exchange_when_all_have_stepped(model: nn.Linear) -> None:
    critic = nn.Linear(2, 1)
    often, seldom = Adam(critic.parameters()), Adam(model.parameters())
    _, calls = counted([often, seldom])
    for k in range(1, 7):  # TD3: the actor at every other step of the critic
        often.step()
        if k % 2 == 0:
            seldom.step()
        assert len(calls) == k // 2


def test_the_steps_of_a_named_one_count_alone(model: nn.Linear) -> None:
    critic = nn.Linear(2, 1)
    often, seldom = Adam(critic.parameters()), Adam(model.parameters())
    steps, calls = counted([often, seldom], every=3, after=often)
    for _ in range(7):
        often.step()
        seldom.step()
    assert (steps.total, len(calls)) == (14, 2)


def test_closed_it_hears_nothing(model: nn.Linear) -> None:
    optimizer = SGD(model.parameters(), lr=0.1)
    steps, calls = counted([optimizer])
    steps.close()
    optimizer.step()
    assert calls == [] and not optimizer._optimizer_step_post_hooks


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda o: "adam", TypeError, r"optimizer\[0\]: must be a torch.optim.Optimizer, got str"),
        (lambda o: 3, TypeError, "optimizer: must be a torch.optim.Optimizer, got int"),
        (lambda o: [o, None], TypeError, r"optimizer\[1\]: .* got NoneType"),
        (lambda o: [], ValueError, "the list is empty"),
        (lambda o: [o, Wrapped(o)], ValueError, "twice"),
    ],
)
def test_mistakes_are_one_line(
    make: Callable[[Optimizer], object], error: type[Exception], says: str, model: nn.Linear
) -> None:
    with pytest.raises(error, match=says):
        find_optimizers(make(SGD(model.parameters(), lr=0.1)))
