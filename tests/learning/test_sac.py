"""SAC: one whole update of Stable-Baselines3's, densities near the bounds, choices by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from batches import filled

from gala.config.sections import NetworkConfig
from gala.errors import UserError
from gala.experience.windows import Transitions
from gala.learning.learner import Alone
from gala.learning.replay_learner import ReplayLearner
from gala.learning.sac import SAC
from gala.learning.sac_config import SACConfig
from gala.networks import Network, build_network
from gala.networks.heads import SquashedHead
from gala.networks.model import Model
from gala.parameters.flat import FlatParameters

GOLDEN = Path(__file__).parents[1] / "golden" / "sac.json"
UPDATE, DENSITY = json.loads(GOLDEN.read_text())["cases"]


def array(values: Any) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def made(
    observations: gymnasium.Space[Any],
    actions: gymnasium.Space[Any],
    hidden: tuple[int, ...] = (8,),
) -> Network:
    network = NetworkConfig(hidden=hidden)
    return build_network(observations, actions, network, seed=0, values="soft")


def box(n: int, low: float = -1.0, high: float = 1.0) -> gymnasium.spaces.Box:
    return gymnasium.spaces.Box(low, high, (n,), np.float32)


def learner(network: Network, rows: int, **settings: Any) -> ReplayLearner:
    config = SACConfig(**settings)
    dtype = next(network.parameters()).dtype
    flat = FlatParameters(network, buffers=True, dtype=dtype)
    model = Model(network, flat, torch.float32)
    return ReplayLearner(SAC(config), model, lr=config.lr, rows=rows)


def weights(case: dict[str, Any], moment: str) -> dict[str, torch.Tensor]:
    """Their parameters under our names."""
    given = {name: array(value) for name, value in case[f"parameters_{moment}"].items()}
    found = {
        "actor.hidden.0.weight": given["actor.latent_pi.0.weight"],
        "actor.hidden.0.bias": given["actor.latent_pi.0.bias"],
    }
    for kind in ("weight", "bias"):
        parts = [given[f"actor.{part}.{kind}"] for part in ("mu", "log_std")]
        found[f"logits.{kind}"] = torch.cat(parts)
        for ours, theirs in (("critics", "critic"), ("targets", "critic_target")):
            for k in range(2):
                name = f"{theirs}.qf{k}"
                found[f"soft.{ours}.trunks.{k}.hidden.0.{kind}"] = given[f"{name}.0.{kind}"]
                found[f"soft.{ours}.values.{k}.{kind}"] = given[f"{name}.2.{kind}"]
    return found


def test_a_whole_update_is_that_of_stable_baselines3() -> None:
    case = UPDATE
    network = made(box(3), box(2), hidden=(5,)).double()
    before = weights(case, "before")
    before["soft.log_alpha"] = array(case["log_alpha_before"])
    network.load_state_dict(before)
    made_learner = learner(
        network, 4, lr=case["lr"], tau=case["tau"], gamma=case["gamma"],
        target_entropy=case["target_entropy"],
    )  # fmt: skip
    rows = Transitions(
        array(case["obs"]), array(case["action"]), array(case["reward"]),
        case["gamma"] * (1 - array(case["terminated"])), array(case["next_obs"]),
    )  # fmt: skip
    noise = torch.stack([array(case["noise_obs"]), array(case["noise_next_obs"])])
    columns = made_learner.algorithm.prepare(rows, network, noise)
    close = {"rtol": 1e-6, "atol": 5e-6}  # theirs adds 1e-6 inside a logarithm
    torch.testing.assert_close(columns.target, array(case["target_q"]), **close)
    torch.testing.assert_close(columns.drawn.action, array(case["action_pi"]), **close)
    squash = 1 - columns.drawn.action.square()
    theirs = columns.drawn.log_prob + (squash.log() - (squash + 1e-6).log()).sum(-1)
    torch.testing.assert_close(theirs, array(case["log_prob_pi"]), rtol=1e-6, atol=1e-7)

    logged, usable = made_learner.step(rows, noise, Alone())
    assert usable
    numbers = {name: float(value) for name, value in logged.items()}
    assert numbers["losses/value_loss"] == pytest.approx(case["critic_loss"], rel=1e-5)
    assert numbers["losses/policy_loss"] == pytest.approx(case["actor_loss"], rel=1e-5)
    assert numbers["losses/temperature_loss"] == pytest.approx(case["alpha_loss"], rel=1e-5)
    after = dict(network.state_dict())
    assert float(after.pop("soft.log_alpha")) == pytest.approx(case["log_alpha_after"][0], rel=1e-6)
    expected = weights(case, "after")
    assert after.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(after[name], value, rtol=1e-5, atol=1e-7, msg=name)


def test_densities_are_exact_where_actions_are_at_their_bounds() -> None:
    head = SquashedHead((2,))
    dist = torch.cat([array(DENSITY["mean"]), array(DENSITY["log_std"])], -1)
    action, log_prob = head.draw(dist, array(DENSITY["noise"]))
    torch.testing.assert_close(log_prob, array(DENSITY["log_prob"]), rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(action, array(DENSITY["pre_tanh"]).tanh())
    inside = head.log_prob(dist[:2], action[:2])  # of actions alone, not as near to the bounds
    torch.testing.assert_close(inside, log_prob[:2], rtol=1e-7, atol=1e-7)


def test_a_squashed_gaussian_integrates_to_one_and_acts_within_bounds() -> None:
    head = SquashedHead((1,))
    dist = torch.tensor([[0.4, -0.3]], dtype=torch.float64)
    grid = torch.linspace(-1, 1, 20_001, dtype=torch.float64)[1:-1, None]
    density = head.log_prob(dist.expand(len(grid), -1), grid).exp()
    assert float(density.sum() * 1e-4) == pytest.approx(1.0, abs=1e-4)
    sampled = head.sample(torch.tensor([[0.4, 5.0]]).expand(1000, -1), torch.Generator())
    assert float(sampled.abs().max()) <= 1 and float(sampled.std()) > 0.5
    assert head.mode(dist).item() == pytest.approx(math.tanh(0.4))
    other = torch.tensor([[-1.0, 0.2]], dtype=torch.float64)
    ratio = head.log_prob(dist.expand(len(grid), -1), grid) - head.log_prob(
        other.expand(len(grid), -1), grid
    )
    assert float(head.kl(dist, other)) == pytest.approx(float((density * ratio).sum() * 1e-4), 1e-3)


def test_choices_are_valued_by_their_probabilities() -> None:
    """Targets and losses of three choices, worked out again from the network's own numbers."""
    network = made(box(4), gymnasium.spaces.Discrete(3))
    algorithm = SAC(SACConfig(target_entropy=0.3))
    g = torch.Generator().manual_seed(0)
    rows = Transitions(
        torch.randn(5, 4, generator=g), torch.tensor([0, 1, 2, 0, 1]),
        torch.randn(5, generator=g), torch.tensor([0.9, 0.9, 0.0, 0.9, 0.9]),
        torch.randn(5, 4, generator=g),
    )  # fmt: skip
    soft, empty = network.soft, torch.zeros(2, 5, 0)
    assert soft is not None
    with torch.no_grad():
        soft.log_alpha.fill_(math.log(0.2))
        columns = algorithm.prepare(rows, network, empty)
        p = network(rows.next_obs)[0].softmax(-1)
        q = soft.targets.both(rows.next_obs).amin(0)
        value = (p * (q - 0.2 * p.log())).sum(-1)
        torch.testing.assert_close(columns.target, rows.reward + rows.discount * value)
        now, own = network(rows.obs)[0].softmax(-1), soft.critics.both(rows.obs)
        improve = algorithm.improve(rows, columns, network)
        wanted = (now * (0.2 * now.log() - own.amin(0))).sum(-1).mean()
        torch.testing.assert_close(improve.total, wanted)
        taken = own[:, torch.arange(5), rows.action]
        error = 0.5 * ((taken - columns.target) ** 2).mean(-1).sum()
        entropy = -(now * now.log()).sum(-1).mean()
        temperature = -math.log(0.2) * (0.3 - entropy)
        values = algorithm.learn_values(rows, columns, network)
        torch.testing.assert_close(values.total, error + temperature)
    assert columns.target[2] == rows.reward[2]  # terminated: nothing is expected of what follows


def test_each_step_moves_its_own_parameters_alone() -> None:
    network = made(box(4), box(2))
    mine = learner(network, 6, lr=0.01, tau=0.25, gamma=0.9)
    flat, g = mine._model.flat, torch.Generator().manual_seed(0)
    rows = Transitions(
        torch.randn(6, 4, generator=g), torch.rand(6, 2, generator=g) - 0.5,
        torch.randn(6, generator=g), torch.full((6,), 0.9), torch.randn(6, 4, generator=g),
    )  # fmt: skip
    shown: list[int] = []

    class Watch(Alone):
        def reduce(self, gradient: torch.Tensor) -> None:
            shown.append(len(gradient))
            felt = flat.grad.nonzero().flatten()
            assert gradient[0].data_ptr() <= flat.grad[felt[0]].data_ptr()
            assert flat.grad[felt[-1]].data_ptr() <= gradient[-1].data_ptr()

    before = {name: value.clone() for name, value in network.state_dict().items()}
    mine.step(rows, torch.randn(2, 6, 2, generator=g), Watch())
    soft = sum(p.numel() for name, p in network.named_parameters() if name.startswith("soft."))
    assert shown == [soft, flat.learned - soft], "only what is needed is sent"
    after = network.state_dict()
    for name in (each for each in before if each.startswith("soft.targets")):
        critic = after[name.replace("targets", "critics")]
        torch.testing.assert_close(after[name], before[name].lerp(critic, 0.25))


def test_a_gradient_that_is_not_finite_changes_nothing() -> None:
    network = made(box(4), box(2))
    mine = learner(network, 3)
    batch = filled(torch.zeros(2, 3, 4), torch.zeros(1, 3, 2), 4)
    batch.reward.fill_(float("inf"))
    before = mine._model.flat.weights[: mine.optimizer.half(True).start].clone()
    losses = mine.update(batch)
    assert (losses.steps, int(losses.skipped)) == (1, 1) and losses.numbers() == {}
    assert "losses/value_loss" in losses.spoilt and bool(mine._model.flat.data.isfinite().all())
    assert not torch.equal(before, mine._model.flat.weights[: len(before)])  # by sound critics


def test_an_update_has_as_many_steps_as_its_batch_holds() -> None:
    mine = learner(made(box(4), box(2)), 8)
    batch = filled(torch.randn(2, 24, 4), torch.zeros(1, 24, 2), 4)
    losses = mine.update(batch)
    assert losses.steps == 3 and mine._model.revision == 6
    assert {"losses/value_loss", "losses/entropy", "policy/temperature"} < losses.numbers().keys()
    assert "policy/lag" not in losses.numbers()
    for mixed, revision in ((False, 6), (True, 7)):  # who acts elsewhere hears of a mix
        mine.follow(1, mixed=mixed)
        assert mine._model.revision == revision
    none = mine.update(filled(torch.zeros(2, 0, 4), torch.zeros(1, 0, 2), 4))
    assert none.steps == 0 and none.numbers() == {}


@pytest.mark.parametrize(("others", "steps"), [(0.75, 0), (1.0, 2)])
def test_agents_step_when_all_have_something_to_learn_from(others: float, steps: int) -> None:
    asked: list[float] = []

    class Others(Alone):
        def agree(self, number: float) -> float:
            asked.append(number)
            return others if number else 0.0

    mine = learner(made(box(4), box(2)), 8)
    full = filled(torch.randn(2, 16, 4), torch.zeros(1, 16, 2), 4)
    none = filled(torch.zeros(2, 0, 4), torch.zeros(1, 0, 2), 4)
    assert mine.update(full, Others()).steps == steps
    assert mine.update(none, Others()).steps == 0
    assert asked == [1.0, 0.0]


def test_a_learner_goes_on_from_its_state() -> None:
    batch = filled(torch.randn(2, 16, 4), torch.zeros(1, 16, 2), 4, reward=torch.randn(1, 16))
    first, second = (learner(made(box(4), box(2)), 8, lr=0.01) for _ in range(2))
    first.update(batch)
    second._model.flat.data.copy_(first._model.flat.data)
    second.load_state_dict(first.state_dict())
    for each in (first, second):
        each.update(batch)
    assert torch.equal(first._model.flat.data, second._model.flat.data)


def test_the_temperature_rises_where_entropy_is_missing_and_falls_where_there_is_more() -> None:
    batch = filled(torch.randn(2, 8, 4), torch.zeros(1, 8, 2), 4)
    for goal, sign in ((5.0, 1), (-50.0, -1)):
        mine = learner(made(box(4), box(2)), 8, target_entropy=goal, lr=0.01)
        mine.update(batch)
        soft = mine._model.module.soft
        assert soft is not None and sign * soft.log_alpha.item() > 0


@pytest.mark.parametrize(
    ("observations", "actions", "message"),
    [
        (box(3), box(2, -np.inf, np.inf), "bounds, which this Box does not have"),
        (box(3), gymnasium.spaces.MultiBinary(2), "or one choice, not MultiBinary"),
        (gymnasium.spaces.Box(0, 255, (1, 8, 8), np.uint8), box(2), "from vectors only"),
    ],
)
def test_what_it_cannot_learn_is_refused(observations: Any, actions: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_network(observations, actions, NetworkConfig(), seed=0, values="soft")


def test_pictures_and_numbers_of_states_are_for_choices() -> None:
    for space in (
        gymnasium.spaces.Box(0, 255, (1, 10, 10), np.uint8),
        gymnasium.spaces.Discrete(9),
    ):
        network = build_network(
            space, gymnasium.spaces.Discrete(3), NetworkConfig(), seed=0, values="soft"
        )
        obs = torch.from_numpy(np.ones((2, *(space.shape or ())), space.dtype))
        dist, value = network(obs)
        assert network.soft is not None
        assert dist.shape == (2, 3) and not value.any()
        first, second = network.soft.critics.both(obs)
        assert first.shape == (2, 3) and not torch.equal(first, second)


def test_parameters_are_others_after_a_mix() -> None:
    replayed = learner(made(box(2), box(1)), rows=4)
    for mixed in (False, True):
        before = replayed._model.revision
        replayed.follow(1, mixed=mixed)
        assert replayed._model.revision == before + mixed
