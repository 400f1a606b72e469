"""R2D2: golden numbers of rlax, ends of all kinds, and a learner of what a replay has drawn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from batches import filled
from late_queue import LateStream
from torch import Tensor, nn

from gala.config.sections import NetworkConfig
from gala.device.streams import Direct
from gala.experience.batch import Batch
from gala.experience.sequences import priority_of
from gala.learning.algorithm import Terms, View
from gala.learning.learner import Alone, Learner
from gala.learning.r2d2 import R2D2, Coefficients
from gala.learning.r2d2_config import R2D2Config
from gala.learning.returns import n_step_return, reaches, rescaled, unrescaled
from gala.networks.build import build_network
from gala.networks.heads import ValuesHead
from gala.networks.model import Model
from gala.networks.outputs import Outputs
from gala.parameters.flat import FlatParameters

FILE = Path(__file__).parents[1] / "golden" / "value_rescale_r2d2.json"
CASES = {case["name"]: case for case in json.loads(FILE.read_text())["cases"]}
INPUTS = CASES["q_inputs"]
SCALES, TARGETS = ([n for n in CASES if n.startswith(letter)] for letter in ("h_", "n"))


def array(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("name", SCALES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_scale_of_values_and_its_inverse(name: str, dtype: torch.dtype) -> None:
    case, exact = CASES[name], dtype == torch.float64
    x, eps = array(case["x"]).to(dtype), case["eps"]
    tolerance = {"rtol": 1e-9, "atol": 1e-12} if exact else {"rtol": 1e-6, "atol": 0.0}
    torch.testing.assert_close(rescaled(x, eps), array(case["h"]).to(dtype), rtol=1e-6, atol=1e-9)
    found = unrescaled(x, eps)
    torch.testing.assert_close(found, array(case["inverse_of_x"]).to(dtype), rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(unrescaled(rescaled(x, eps), eps), x, **tolerance)
    small = torch.logspace(-30, 0, 50, dtype=dtype)  # nothing cancels near 0
    torch.testing.assert_close(unrescaled(rescaled(small, eps), eps), small, **tolerance)


def loss_of(name: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Goal, loss, priority and values with their gradient, of one sequence."""
    case = CASES[name]
    algorithm = R2D2(R2D2Config(horizon=case["n"]))
    action, reward = torch.tensor(INPUTS["action"])[:, None], array(INPUTS["reward"])[:, None]
    discount = array(case["discount"])[:, None]
    online, target = (array(INPUTS[f"q_{which}"])[:, None] for which in ("online", "target"))
    batch = filled(
        torch.zeros(10, 1, 1), action, 3, reward=reward, discount=discount, cut=discount == 0
    )
    zeros = torch.zeros_like(reward)
    view = View(online[:-1], zeros, zeros, ValuesHead(3), target[:-1], online[1:], target[1:])
    columns = algorithm.targets(batch, view)
    values = online[:-1].clone().requires_grad_()
    out = Outputs(values.flatten(0, 1), zeros.flatten(), ValuesHead(3))
    flat = type(columns)(*(column.flatten(0, 1) for column in columns))
    terms = Terms(torch.full((9,), 1 / 9, dtype=torch.float64), Coefficients())
    loss = algorithm.loss(flat, out, terms)
    assert loss.priority is not None
    loss.total.backward()
    return columns.goal, loss.total, loss.priority, values


@pytest.mark.parametrize("name", TARGETS)
def test_targets_priorities_and_the_loss_are_those_of_rlax(name: str) -> None:
    case = CASES[name]
    goal, total, error, values = loss_of(name)
    torch.testing.assert_close(goal[:, 0], array(case["target"]), rtol=1e-6, atol=1e-6)
    td = array(case["td_error"])
    torch.testing.assert_close(error, td.abs(), rtol=1e-6, atol=1e-6)
    assert 9 * total.item() == pytest.approx(case["loss"], rel=1e-6)  # theirs is a sum
    found = priority_of(error[:, None], torch.ones(9, 1, dtype=torch.bool))
    assert found.item() == pytest.approx(case["priority"], rel=1e-6)
    gradient = torch.zeros(9, 3, dtype=torch.float64)
    gradient[torch.arange(9), torch.tensor(INPUTS["action"])] = -td / 9
    assert values.grad is not None
    torch.testing.assert_close(values.grad[:, 0], gradient, rtol=1e-6, atol=1e-6)


def test_rewards_are_summed_to_the_end_of_an_episode_and_no_further() -> None:
    reward = torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0, 32.0])[:, None]
    discount = torch.tensor([0.5, 0.5, 0.0, 0.5, 0.5, 0.5])[:, None]  # row 2 terminated
    value = torch.full((6, 1), 100.0)
    cut = torch.tensor([0, 0, 1, 0, 1, 0], dtype=torch.bool)[:, None]  # row 4 was truncated
    found = n_step_return(reward, discount, value, cut, 3).flatten().tolist()
    assert found == [1 + 1 + 1, 2 + 2, 4, 8 + 8 + 25, 16 + 50, 32 + 50]
    assert n_step_return(reward, discount, value, cut, 1).flatten().tolist() == [
        51, 52, 4, 58, 66, 82,
    ]  # fmt: skip
    brute = []
    for t in range(6):
        total, factor = 0.0, 1.0
        for k in range(t, min(t + 2, 6)):
            total, factor = total + factor * float(reward[k]), factor * float(discount[k])
            if cut[k]:
                break
        brute.append(total + factor * 100)
    assert n_step_return(reward, discount, value, cut, 2).flatten().tolist() == brute


def test_what_includes_a_marked_row_is_marked() -> None:
    cut = torch.tensor([0, 1, 0, 0, 0, 0], dtype=torch.bool)[:, None]
    row = torch.tensor([0, 0, 0, 0, 1, 0], dtype=torch.bool)[:, None]
    for n, wanted in ((1, [4]), (2, [3, 4]), (3, [2, 3, 4]), (6, [2, 3, 4])):
        assert reaches(row, cut, n).flatten().nonzero().flatten().tolist() == wanted
    first = torch.tensor([1, 0, 0, 0, 0, 0], dtype=torch.bool)[:, None]
    assert reaches(first, torch.zeros_like(cut), 3).flatten().tolist() == [1, 0, 0, 0, 0, 0]


# -- a learner of what was drawn

T, ACTIONS = 4, 3


def learner(
    columns: int, memory: str = "none", *, gain: bool = False, stream: Any = None, **settings: Any
) -> tuple[Learner, Model]:
    space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    network = NetworkConfig(memory=memory, memory_size=4, hidden=(8,))  # type: ignore[arg-type]
    made = build_network(
        space, gymnasium.spaces.Discrete(ACTIONS), network, seed=0, values="dueling"
    )
    if gain:
        nn.init.normal_(made.logits.weight, generator=torch.Generator().manual_seed(1))
    config = R2D2Config(**({"lr": 0.01, "optimizer_eps": 1e-8} | settings))
    model = Model(made, FlatParameters(made), torch.float32)
    return Learner(R2D2(config), model, lr=config.lr, columns=columns, stream=stream), model


def batch_of(count: int, memory: tuple[int, ...] | None = None, burn_in: int = 0) -> Batch:
    g, rows = torch.Generator().manual_seed(count), T + burn_in
    batch = filled(
        torch.rand(rows + 1, count, 2, generator=g) - 0.5,
        torch.randint(0, ACTIONS, (rows, count), generator=g),
        ACTIONS,
        reward=torch.randn(rows, count, generator=g),
        discount=torch.full((rows, count), 0.9),
        weight=torch.rand(count, generator=g) + 0.1,
    )
    batch.valid[:burn_in], batch.burn_in = False, burn_in
    if memory is not None:
        batch.memory = torch.randn(count, *memory, generator=g)
        batch.begin = torch.zeros(rows + 1, count, dtype=torch.bool)
    return batch


def test_values_of_choices_are_made_of_one_of_the_state_and_of_advantages() -> None:
    _, model = learner(4, gain=True)
    obs = torch.rand(5, 2)
    values, best = model.module(obs)
    torch.testing.assert_close(best, values.amax(-1))
    critic = model.module.critic
    assert critic is not None and model.module.value is not None
    state = model.module.value(critic(obs)).squeeze(-1)
    torch.testing.assert_close(values.mean(-1), state)
    advantage = model.module.logits(model.module.actor(obs))
    torch.testing.assert_close(values - values.mean(-1, keepdim=True),
                               advantage - advantage.mean(-1, keepdim=True))  # fmt: skip


def test_the_best_action_is_the_networks_and_its_value_the_targets() -> None:
    mine, model = learner(3, horizon=1)
    batch = batch_of(3)
    with torch.no_grad():  # the target stays as it was
        model.flat.weights.add_(torch.randn(model.flat.learned, generator=torch.Generator()))
    assert mine._target is not None
    columns = mine.algorithm.targets(batch, mine._view(batch, False))
    online = model.module(batch.obs[1:].flatten(0, 1))[0].view(T, 3, ACTIONS)
    target = mine._target.module(batch.obs[1:].flatten(0, 1))[0].view(T, 3, ACTIONS)
    assert not torch.equal(online.argmax(-1), target.argmax(-1))
    value = target.gather(-1, online.argmax(-1, keepdim=True)).squeeze(-1)
    wanted = rescaled(batch.reward + 0.9 * unrescaled(value, 1e-3), 1e-3)
    torch.testing.assert_close(columns.goal, wanted)


def test_an_update_has_a_step_for_each_part_of_what_was_drawn() -> None:
    mine, model = learner(3)
    losses = mine.update(batch_of(12))
    assert losses.steps == 4 and model.revision == 4
    assert {"losses/value_loss", "losses/q_value", "losses/grad_norm"} == losses.numbers().keys()
    assert losses.priority is not None and losses.priority.shape == (T, 12)
    nothing = mine.update(batch_of(0))
    assert nothing.steps == 0 and nothing.numbers() == {} and nothing.priority is None


def test_without_priorities_a_replay_keeps_those_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an own algorithm that tells none: zeros would say that nothing was surprising."""
    loss = R2D2.loss
    monkeypatch.setattr(R2D2, "loss", lambda *given: loss(*given)._replace(priority=None))
    losses = learner(3)[0].update(batch_of(6))
    assert losses.steps == 2 and losses.priority is None


@pytest.mark.parametrize("memory", ["none", "gru", "lstm"])
def test_errors_come_back_in_their_columns(memory: str) -> None:
    """With a rate of nothing, parts of an update tell what one whole does."""
    state = {"none": None, "gru": (4,), "lstm": (2, 4)}[memory]
    burn_in = 0 if memory == "none" else T
    batch = batch_of(6, state, burn_in)
    found = [learner(n, memory, lr=1e-30)[0].update(batch).priority for n in (6, 2)]
    assert found[0] is not None and found[1] is not None
    torch.testing.assert_close(found[0], found[1])
    assert bool((found[0][burn_in:] > 0).all())


@pytest.mark.parametrize(("memory", "state"), [("gru", (4,)), ("lstm", (2, 4))])
def test_no_gradient_goes_back_into_the_burn_in(memory: str, state: tuple[int, ...]) -> None:
    _, model = learner(3, memory)
    batch = batch_of(3, state, T)
    batch.obs.requires_grad_(True)
    out = model.unroll(batch)
    out.dist.unflatten(0, (-1, 3))[T:].square().sum().backward()
    assert batch.obs.grad is not None
    assert not bool(batch.obs.grad[:T].any()) and bool(batch.obs.grad[T:-1].any())


def test_importance_weighs_a_sequence() -> None:
    """As many copies of it do."""
    batch, columns = batch_of(2), [0, 0, 1]
    batch.weight = torch.tensor([1.0, 0.5])
    copies = filled(
        batch.obs[:, columns], batch.action[:, columns], ACTIONS, reward=batch.reward[:, columns],
        discount=batch.discount[:, columns],
    )  # fmt: skip
    gradients: list[Tensor] = []

    class Watch(Alone):
        def reduce(self, gradient: Tensor) -> None:
            gradients.append(gradient.clone())

    for count, each in ((2, batch), (3, copies)):
        learner(count)[0].update(each, Watch())
    torch.testing.assert_close(2 * 2 * gradients[0], 3 * gradients[1])
    assert gradients[0].any()


def test_rows_that_are_not_known_or_not_valid_cannot_be_felt() -> None:
    results = []
    for much in (0.0, 1e6):
        mine, model = learner(3, horizon=2)
        batch = batch_of(3)
        batch.valid[2, 0], batch.cut[1, 0] = False, True
        batch.final[2, 1] = True  # so row 1 is not known either
        batch.reward[2, 0] += much
        batch.reward[2, 1] += much
        mine.update(batch)
        results.append(model.flat.data.clone())
    assert torch.equal(*results)


def test_the_target_network_is_copied_in_its_time_and_saved() -> None:
    mine, model = learner(3, target_every=3)
    begun = model.flat.data.clone()
    for update in range(1, 6):
        mine.update(batch_of(3))
        mine.follow(update, mixed=False)
        assert mine._target is not None
        if update == 3:
            copied = model.flat.data.clone()
        assert torch.equal(mine._target.flat.data, begun if update < 3 else copied)
    other, same = learner(3, target_every=3)
    same.flat.data.copy_(model.flat.data)
    other.load_state_dict(mine.state_dict())
    for each in (mine, other):
        each.update(batch_of(3))
        each.follow(6, mixed=True)
    assert torch.equal(model.flat.data, same.flat.data)
    assert mine._target is not None and other._target is not None
    assert torch.equal(mine._target.flat.data, other._target.flat.data)


@pytest.mark.parametrize("ready", [0.5, 1.0])
def test_no_agent_steps_before_all_have_something_to_learn_from(ready: float) -> None:
    asked = []

    class Others(Alone):
        def agree(self, number: float) -> float:
            asked.append(number)
            return ready

    mine, _ = learner(3)
    assert mine.update(batch_of(6), Others()).steps == (2 if ready == 1.0 else 0)
    assert mine.update(batch_of(0), Others()).steps == 0
    assert asked == [1.0, 0.0]


def test_values_become_those_of_the_returns() -> None:
    """Action 1 pays 3 and ends, the others pay 0 and end: a wrong sign anywhere ends elsewhere."""
    mine, model = learner(8, lr=0.03, horizon=3)
    batch = batch_of(8)
    batch.obs[:], batch.discount[:], batch.cut[:] = 0.25, 0.0, True
    assert batch.weight is not None
    batch.weight[:] = 1.0
    for k in range(150):
        batch.action.random_(0, ACTIONS, generator=torch.Generator().manual_seed(k))
        batch.reward.copy_(3.0 * (batch.action == 1))
        losses = mine.update(batch)
        mine.follow(k + 1, mixed=False)
    values = model.module(batch.obs[0, :1])[0]
    torch.testing.assert_close(unrescaled(values, 1e-3), torch.tensor([[0.0, 3.0, 0.0]]),
                               atol=0.05, rtol=0)  # fmt: skip
    assert losses.priority is not None and float(losses.priority.max()) < 0.05


@pytest.mark.parametrize("warm_up", [0, 5])
@pytest.mark.parametrize("memory", ["none", "lstm"])
def test_steps_are_recorded_bit_for_bit(memory: str, warm_up: int) -> None:
    state = None if memory == "none" else (2, 4)
    burn_in = 0 if memory == "none" else T
    found: list[list[Tensor]] = []
    for stream in (Direct(), LateStream(warm_up)):
        mine, model = learner(2, memory, stream=stream, target_every=3)
        batch, told = batch_of(6, state, burn_in), []
        for update in range(1, 8):
            batch.reward.normal_(generator=torch.Generator().manual_seed(update))
            losses = mine.update(batch)
            if isinstance(stream, LateStream):
                stream.queue.drain()
            mine.follow(update, mixed=update == 5)
            if isinstance(stream, LateStream):
                stream.queue.drain()
            assert losses.priority is not None
            told += [losses.priority.clone(), model.flat.data.clone()]
        found.append(told)
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)
