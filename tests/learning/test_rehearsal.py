"""Own algorithms are tried once before a run: what is wrong with one is a line with its place."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from gala.agent.training import train
from gala.config.sections import NetworkConfig
from gala.errors import UserError
from gala.learning.rehearsal import rehearse
from gala.learning.table import ALGORITHMS, UNROLLS, entry_of, make_algorithm, source_of
from gala.networks import Network, build_network
from gala.run.request import read_request

ENVS = 4
VECTOR = gymnasium.spaces.Box(-1.0, 1.0, (3,), np.float32)
PICTURE = gymnasium.spaces.Box(0, 255, (2, 10, 10), np.uint8)
FOUR = gymnasium.spaces.Discrete(4)
OF_UNROLLS = [name for name in ALGORITHMS if source_of(name) == UNROLLS]
NAMES = (f"own_algorithm_{number}" for number in itertools.count())

GOOD = """\
from dataclasses import dataclass
from typing import NamedTuple

import torch

from gala.learning.algorithm import ActorCritic, Loss, Plan
from gala.learning.settings import LearnerConfig

class Columns(NamedTuple):
    action: torch.Tensor
    target: torch.Tensor

class Mine(ActorCritic):
    def targets(self, batch, view):
        return Columns(batch.action, batch.reward)

    def loss(self, columns, out, terms):
        value = (terms.weight * (columns.target - out.value).square()).sum()
        return Loss(value, {"losses/value_loss": value.detach()})
"""
CLASS, TARGETS, LOSS = 13, 14, 17
"""Lines of its class and its methods."""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], str]]:
    """Write a module of a new name into the current folder; returns its name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def module(text: str) -> str:
        name = next(NAMES)
        (tmp_path / f"{name}.py").write_text(text)
        return name

    before = set(sys.modules)
    yield module
    for name in set(sys.modules) - before:
        if name.startswith("own_algorithm"):
            del sys.modules[name]


def network_for(
    observations: gymnasium.Space[object], actions: gymnasium.Space[object], **changes: Any
) -> Network:
    return build_network(observations, actions, NetworkConfig(hidden=(8,), **changes), seed=1)


def try_out(spec: str, **changes: Any) -> None:
    algorithm = make_algorithm(spec, entry_of(spec).config())
    rehearse(spec, algorithm, network_for(VECTOR, FOUR, **changes), VECTOR, envs=ENVS)


def complaint(spec: str) -> str:
    with pytest.raises(UserError) as caught:
        try_out(spec)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", OF_UNROLLS)
@pytest.mark.parametrize("observations", [VECTOR, PICTURE, gymnasium.spaces.Discrete(5)])
@pytest.mark.parametrize(
    "actions",
    [FOUR, gymnasium.spaces.MultiDiscrete([2, 3]), gymnasium.spaces.MultiBinary(3),
     gymnasium.spaces.Box(-2.0, 2.0, (2,), np.float32)],
)  # fmt: skip
def test_the_algorithms_of_the_house_pass_and_nothing_changes(
    name: str, observations: gymnasium.Space[object], actions: gymnasium.Space[object]
) -> None:
    network = network_for(observations, actions)
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    random = torch.get_rng_state()
    algorithm = make_algorithm(name, ALGORITHMS[name].config())
    rehearse(name, algorithm, network, observations, envs=ENVS)
    assert all(torch.equal(before[key], now) for key, now in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert torch.equal(random, torch.get_rng_state()) and network.training


def test_a_good_one_passes_and_its_dice_are_its_own(write: Callable[[str], str]) -> None:
    name = write(GOOD.replace("        value =", "        torch.rand(3)\n        value ="))
    network = network_for(VECTOR, FOUR)
    random = torch.get_rng_state()
    algorithm = make_algorithm(f"{name}:Mine", entry_of(f"{name}:Mine").config())
    rehearse(f"{name}:Mine", algorithm, network, VECTOR, envs=ENVS)
    assert torch.equal(random, torch.get_rng_state())


def test_parameters_that_are_held_fast_are_no_mistake(write: Callable[[str], str]) -> None:
    """As those of a trunk that was trained before."""
    name, network = write(GOOD), network_for(VECTOR, FOUR)
    network.actor.requires_grad_(False)
    algorithm = make_algorithm(f"{name}:Mine", entry_of(f"{name}:Mine").config())
    rehearse(f"{name}:Mine", algorithm, network, VECTOR, envs=ENVS)
    assert all(parameter.grad is None for parameter in network.parameters())


RETURN = "return Columns(batch.action, batch.reward)"
RETURNED = 'return Loss(value, {"losses/value_loss": value.detach()})'


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("def loss(", "def lose(", CLASS, "has no loss (def loss(self, columns, out, terms))"),
        ("def targets(", "def aims(", CLASS, "has no targets (def targets(self, batch, view))"),
        (RETURN, "return {'action': batch.action}", TARGETS,
         "targets gives a dict of 1, wanted a NamedTuple of tensors [T, B, ...]"),
        (RETURN, "return batch.action, batch.reward", TARGETS, "targets gives a tuple"),
        (RETURN, "return Columns(batch.action.flatten(), batch.reward)", TARGETS,
         "column action is [20], wanted [T, B, ...] = [5, 4, ...]"),
        (RETURN, "return Columns(batch.action, batch.reward[..., None])", TARGETS,
         "column target is [5, 4, 1], wanted [T, B] = [5, 4]"),
        (RETURN, "return Columns(batch.action, 1.0)", TARGETS, "column target is a float"),
        (RETURN, "return Columns(batch.action, batch.rewards)", TARGETS + 1,
         "raised AttributeError: 'Batch' object has no attribute 'rewards'"),
        (RETURNED, "return value", LOSS, "loss gives a tensor [], wanted"),
        (RETURNED, "return None", LOSS, "loss gives None, wanted"),
        (RETURNED, "return Loss(out.value, {})", LOSS, "its total is a tensor [20]"),
        (RETURNED, "return Loss(value.detach(), {})", LOSS, "its total does not depend on out"),
        (RETURNED, "return Loss(value, {'losses/a': 1.0})", LOSS, "losses/a is a float"),
        (RETURNED, "return Loss(value, {'losses/a': value})", LOSS,
         "losses/a must not have a gradient (.detach())"),
        (RETURNED, "return Loss(value, {f'losses/{k}': value.detach() for k in range(16)})", LOSS,
         "wanted a dict of at most 15 metrics, got a dict of 16"),
        ("        value =", "        value = columns.tarjet\n        value =", LOSS + 1,
         "raised AttributeError: 'Columns' object has no attribute 'tarjet'"),
        ("    def targets(", "    plan = 3\n    def targets(", CLASS, "its plan is a int"),
        ("    def targets(", "    plan = Plan(epochs=0)\n    def targets(", CLASS, "has 0 epochs"),
        ("    def targets(", "    plan = Plan(minibatches=8)\n    def targets(", CLASS,
         "n_step x num_envs = 20 (minibatches=5)"),
        ("    def targets(", "    plan = Plan(epochs=2, stop_kl=0.1)\n    def targets(", LOSS + 1,
         "stop_kl needs policy/kl"),
        ("    def targets(", "    def __init__(self, config): pass\n    def targets(", CLASS + 1,
         "its attribute config is not the section of the configuration (super()."),
        ("    def targets(", "    def __init__(self, config): config.alpha\n    def targets(",
         CLASS + 1, "raised AttributeError: 'LearnerConfig' object has no attribute 'alpha'"),
        ("    def targets(", "    def coefficients(self, left): return 0.1\n    def targets(",
         CLASS + 1, "coefficients gives a float, wanted a NamedTuple of numbers"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_with_its_place(
    write: Callable[[str], str], old: str, new: str, line: int, words: str
) -> None:
    assert GOOD.count(old) == 1
    name = write(GOOD.replace(old, new))
    told = complaint(f"{name}:Mine")
    assert told.startswith(f"{name}.py:{line}: algorithm: ") and words in told


def test_a_network_with_a_memory_rehearses_whole_environments(
    write: Callable[[str], str],
) -> None:
    try_out(f"{write(GOOD)}:Mine", memory="gru")
    parts = "    plan = Plan(minibatches=5)\n    def targets("
    name = write(GOOD.replace("    def targets(", parts))
    try_out(f"{name}:Mine")  # n_step x num_envs is 20
    with pytest.raises(UserError, match="must divide num_envs .* = 4"):
        try_out(f"{name}:Mine", memory="gru")


@pytest.mark.parametrize(
    ("text", "name", "words"),
    [
        ("class Config(LearnerConfig):\n        alpha: float = 1.0", "Mine",
         "is no dataclass (@dataclass(frozen=True, kw_only=True) above it)"),
        ("@dataclass(frozen=True, kw_only=True)\n"
         "    class Config(LearnerConfig):\n        alpha: float", "Mine",
         "missing 1 required keyword-only argument: 'alpha'"),
        ("Config = dict", "Mine", "is no settings of a learner"),
        ("pass", "Env", "the section of {}:Env would be 'env', which there is"),
        ("pass", "Seed", "would be 'seed', which there is (give the class another name)"),
    ],
)  # fmt: skip
def test_a_section_that_cannot_be(
    write: Callable[[str], str], text: str, name: str, words: str
) -> None:
    head = f"class {name}(ActorCritic):\n    {text}\n"
    module = write(GOOD.replace("class Mine(ActorCritic):\n", head))
    assert words.format(module) in complaint(f"{module}:{name}")


def test_a_run_is_refused_before_its_folder_is_made(
    write: Callable[[str], str], tmp_path: Path
) -> None:
    name = write(GOOD.replace(RETURNED, "return value"))
    request = read_request(
        ["--algorithm", f"{name}:Mine", "--env.id", "gala/Identity-v0", "--run-dir", "run"]
    )
    with pytest.raises(UserError, match=rf"^{name}.py:{LOSS}: algorithm: loss gives a tensor"):
        train(request)
    assert not (tmp_path / "run").exists()
