"""What --algorithm names: the table, own classes, and a line for whatever is wrong with them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gala.config.options import option_names
from gala.errors import UserError
from gala.learning.table import (
    ALGORITHMS,
    ALL_ACTIONS,
    entry_of,
    make_algorithm,
    sections,
    source_of,
)
from gala.run.config import config_type, load
from gala.run.request import read_request

OWN = """
import functools
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from gala.learning.algorithm import ActorCritic, Loss
from gala.learning.ppo import PPO
from gala.learning.r2d2 import R2D2
from gala.learning.sac import SAC
from gala.learning.settings import LearnerConfig


@dataclass(frozen=True, kw_only=True)
class Settings(LearnerConfig):
    lr: float = 0.125
    share: float = 1.0


class Columns(NamedTuple):
    action: Tensor
    target: Tensor


class Reinforce(ActorCritic):
    Config = Settings

    def targets(self, batch, view):
        return Columns(batch.action, batch.reward + batch.discount * view.next_value)

    def loss(self, columns, out, terms):
        gain = self.config.share * columns.target - out.value.detach()
        policy = -(terms.weight * gain * out.log_prob(columns.action)).sum()
        value = (terms.weight * (columns.target - out.value).square()).sum()
        return Loss(policy + value, {"losses/policy_loss": policy.detach()})


class Plain(Reinforce):
    class Config:
        lr = 1.0


class Env(Reinforce):
    pass


class Cautious(PPO):
    pass


class Softer(SAC):
    pass


class Deeper(R2D2):
    pass


class Odd(Reinforce):
    source = "dreams"


@dataclass(frozen=True, kw_only=True)
class Loose(LearnerConfig):
    n_step: int = 5
    share: float = 1.0


class Loosely(Reinforce):
    Config = Loose


@dataclass(frozen=True, kw_only=True)
class Negative(LearnerConfig):
    n_step: int = -4


class Backwards(Reinforce):
    Config = Negative


@dataclass(frozen=True, kw_only=True)
class Untyped(LearnerConfig):
    share: "Nonsense" = 1.0


class Vague(Reinforce):
    Config = Untyped


@dataclass(frozen=True, kw_only=True)
class Tensors(LearnerConfig):
    start: Tensor | None = None


class Unwritable(Reinforce):
    Config = Tensors


class Tempered(Reinforce):
    def __init__(self, config, temperature=1.0):
        super().__init__(config)
        self.temperature = temperature


warm = functools.partial(Tempered, temperature=2.0)
"""
NEGATIVE = OWN[: OWN.index("class Negative")].count("\n")
"""Line of its decorator."""


@pytest.fixture(autouse=True)
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current folder holds mine.py."""
    (tmp_path / "mine.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "mine", raising=False)


def options(*words: object) -> Any:
    return read_request([*map(str, words)], agents=1).config


def complaint(*words: object) -> str:
    with pytest.raises(UserError) as error:
        options(*words)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_line_of_the_table_is_true(name: str) -> None:
    entry = entry_of(name)
    algorithm = make_algorithm(name, entry.config())
    assert algorithm.config == entry.config() and algorithm.plan.epochs >= 1
    kinds = {"replay": ("discrete", "box"), "sequences": ("discrete",)}.get(
        source_of(name), ALL_ACTIONS
    )
    assert entry.actions == kinds and ("arXiv" in entry.paper or "openreview" in entry.paper)
    assert all(f"--{name}.{field}" in option_names(config_type()) for field in ("lr", "gamma"))


def test_the_memory_is_what_the_algorithm_needs_unless_asked_otherwise() -> None:
    assert options().network.memory == options("--algorithm", "sac").network.memory == "none"
    assert options("--algorithm", "r2d2").network.memory == "lstm"
    for memory in ("none", "gru"):
        asked = options("--algorithm", "r2d2", "--network.memory", memory)
        assert asked.network.memory == memory


def test_the_chosen_section_is_the_one_that_is_learned_with() -> None:
    config = options("--algorithm", "ppo", "--ppo.lr", "0.5")
    assert config.learning is config.ppo and config.learning.lr == 0.5
    assert options().learning == options("--algorithm", "a2c").a2c


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--algorithm", "pp0"], "--algorithm: no algorithm is named 'pp0' (did you mean 'ppo'?)"),
        (["--algorithm", "ppo", "--ppo.clp", 1], "--ppo.clp: unknown option (did you mean"),
        (["--algorithm", "ppo", "--vtrace.lr", 1],
         "is of vtrace, and this run learns with ppo (--algorithm vtrace, or --ppo.lr)"),
        (["--vtrace.rho-clip", 2], "--vtrace.rho-clip: is of vtrace, and this run learns with a2c "
         "(--algorithm vtrace)"),
        (["--replay.batch", 32],
         "--replay.batch: is of learners that replay, and a2c learns from unrolls"),
        (["--algorithm", "sac", "--replay.capacity", 50],
         "--replay.warm-up: is never reached by 50 steps (--replay.capacity) (50)"),
        (["--algorithm", "r2d2", "--replay.batch", 32],
         "--replay.batch: is of transitions, and r2d2 learns from sequences (--r2d2.sequences)"),
        (["--algorithm", "r2d2", "--r2d2.burn-in", 50],
         "--r2d2.burn-in: must be a multiple of r2d2.n_step = 40, got 50 (80)"),
        (["--algorithm", "r2d2", "--replay.capacity", 1000, "--env.num-envs", 16],
         "--replay.capacity: has no room for a sequence of each environment and its burn-in, 1,280 "
         "steps (1280)"),
        (["--algorithm", "r2d2", "--env.num-envs", 1, "--replay.capacity", 1010, "--replay.warm-up",
          1010], "--replay.warm-up: is never reached by whole sequences of 40 steps (1000)"),
        (["--algorithm", "sac", "--env.num-envs", 8, "--replay.updates-per-step", 0.3],
         "--replay.updates-per-step: times n_step x num_envs = 8 must be a whole number, got 2.4 "
         "(0.25)"),
        (["--algorithm", "sac", "--env.normalize-reward"], "--env.normalize-reward: changes with"),
        (["--algorithm", "sac", "--network.memory", "gru"], "sac learns without a memory (none)"),
        (["--gossip.every", 8, "--gossip.max-staleness", 3],
         "--gossip.max-staleness: is over before anything is sent, which is every 8 updates (8)"),
        (["--gossip.every", 8, "--gossip.trigger", "kl"], "--gossip.every: decides when to"),
        (["--algorithm", "ppo", "--ppo.dual-clip", 0.5], "--ppo.dual-clip: must be greater than 1"),
        (["--algorithm", "ppo", "--ppo.minibatches", 3], "--ppo.minibatches: must divide"),
        (["--algorithm", "ppo", "--network.memory", "gru", "--env.num-envs", 6],
         "--ppo.minibatches: must divide num_envs (a memory learns from whole sequences) = 6"),
        (["--network.memory", "grue"], "--network.memory: "),
        (["--algorithm", "mine:Reinforced"], "has no 'Reinforced' (did you mean 'Reinforce'?)"),
        (["--algorithm", "mien:Reinforce"], "no module 'mien'"),
        (["--algorithm", "mine:Plain"], "the Config of mine:Plain is no settings of a learner"),
        (["--algorithm", "mine:Odd"], "the source of mine:Odd is 'dreams' (unrolls, replay, seque"),
        (["--algorithm", "mine:Env"], "the section of mine:Env would be 'env', which there is"),
        (["--algorithm", "mine:Reinforce", "--reinforce.shar", 1],
         "--reinforce.shar: unknown option (did you mean '--reinforce.share'?)"),
        (["--algorithm", "mine:Reinforce", "--a2c.lr", 1], "--a2c.lr: is of a2c, and this run"),
        (["--algorithm", "mine:Loosely", "--loosely.n-step", 0],
         "--loosely.n-step: must be greater than 0, got 0"),
        (["--algorithm", "mine:Backwards"],
         f"mine.py:{NEGATIVE}: backwards.n_step: its default must be greater than 0, got -4"),
        (["--algorithm", "mine:Vague"],
         "--algorithm: mine:Vague raised NameError: name 'Nonsense' is not defined"),
        (["--algorithm", "mine:Unwritable"],
         "--algorithm: mine:Unwritable raised PydanticSchemaGenerationError: Unable to generate"),
    ],
)  # fmt: skip
def test_mistakes_on_the_command_line(words: list[object], message: str) -> None:
    assert message in complaint(*words)


def test_mistakes_in_a_file_are_told_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("seed: 1\nalgorithm: vtrac\n")
    assert "run.yaml:2: algorithm: no algorithm is named 'vtrac'" in complaint(path)
    path.write_text("algorithm: mine:Reinforce\nreinforce:\n  share: x\n")
    assert "run.yaml:3: reinforce.share: must be a valid number" in complaint(path)


def test_a_module_that_raises_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "raising.py").write_text("half = 1\nhalf /= 0\n\n\nclass Mine: ...\n")
    found = complaint("--algorithm", "raising:Mine")
    assert (
        found == "raising.py:2: algorithm: raising:Mine raised ZeroDivisionError: division by zero"
    )
    path = tmp_path / "run.yaml"
    path.write_text("algorithm: raising:Mine\n")
    assert complaint(path) == found


def test_looser_types_keep_the_rules_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("algorithm: mine:Loosely\nloosely:\n  share: 2\n  n_step: -1\n")
    assert "run.yaml:4: loosely.n_step: must be greater than 0, got -1" in complaint(path)
    assert options("--algorithm", "mine:Loosely").learning.n_step == 5


def test_a_file_may_hold_sections_of_several_algorithms(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("a2c: {lr: 0.1}\nppo: {lr: 0.2}\nreinforce: {share: 0.5}\n")
    assert "reinforce: unknown field" in complaint(path)  # of no algorithm that is known here
    config = options(path, "--algorithm", "mine:Reinforce")
    assert (config.learning.share, config.learning.lr, config.ppo.lr) == (0.5, 0.125, 0.2)


def test_an_own_class_brings_its_section() -> None:
    config = options("--algorithm", "mine:Reinforce", "--reinforce.lr", "0.25")
    assert (config.learning.lr, config.learning.share) == (0.25, 1.0)
    assert "reinforce" in sections("mine:Reinforce") and "reinforce" not in sections("a2c")
    assert type(make_algorithm("mine:Reinforce", config.learning)).__module__ == "mine"


def test_a_class_with_arguments_of_its_own_has_the_settings_of_the_class() -> None:
    config = options("--algorithm", "mine:warm", "--warm.share", "0.5").learning
    made = make_algorithm("mine:warm", config)
    assert (made.temperature, made.config.share, made.config.lr) == (2.0, 0.5, 0.125)


def test_a_subclass_has_the_section_of_what_it_extends() -> None:
    config = options("--algorithm", "mine:Cautious", "--cautious.clip", "0.05")
    assert (config.learning.clip, config.learning.epochs) == (0.05, 4)
    assert make_algorithm("mine:Cautious", config.learning).plan.epochs == 4
    config = options("--algorithm", "mine:Softer", "--softer.tau", "0.1", "--replay.batch", "8")
    assert (config.learning.tau, config.replay.batch) == (0.1, 8)
    assert source_of("mine:Softer") == "replay"
    assert make_algorithm("mine:Softer", config.learning).plan.once
    config = options("--algorithm", "mine:Deeper", "--deeper.horizon", "2")
    assert (config.learning.horizon, config.network.memory) == (2, "lstm")
    assert source_of("mine:Deeper") == "sequences" and entry_of("mine:Deeper").memory
    for name, entry in ALGORITHMS.items():
        assert entry_of(entry.code).config is entry.config, name


@pytest.mark.parametrize(
    ("words", "section"),
    [
        (["--algorithm", "vtrace", "--vtrace.rho-clip", "3"], "vtrace"),
        (["--algorithm", "mine:Reinforce", "--reinforce.share", "0.5"], "reinforce"),
    ],
)
def test_a_run_writes_the_chosen_section_alone_and_runs_again_from_it(
    train_here: Callable[..., Any], tmp_path: Path, words: list[str], section: str
) -> None:
    small = ["--env.id", "gala/Identity-v0", "--env.num-envs", "4", "--total-steps", "400",
             "--log.no-tensorboard"]  # fmt: skip
    config = options(*small, *words)
    first = train_here(config, "first")
    path = tmp_path / "first" / "config.yaml"
    top = [line.partition(":")[0] for line in path.read_text().splitlines() if line[0] != " "]
    assert {"a2c", "ppo", "vtrace", "reinforce"} & set(top) == {section}
    again = load(path)
    assert again.learning == config.learning and again.algorithm == config.algorithm
    second = train_here(again, "second")
    assert (tmp_path / "second" / "config.yaml").read_text() == path.read_text()
    assert first.model.flat.data.equal(second.model.flat.data)
