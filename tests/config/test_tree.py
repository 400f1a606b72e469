"""Experiment files and options: one set of rules, one line for every mistake."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gala.config.options import option_names, parse_options, print_help
from gala.config.sections import AtariConfig, EnvConfig
from gala.errors import UserError
from gala.files import shipped
from gala.files.yaml import parse_yaml
from gala.learning.a2c_config import A2CConfig
from gala.run.config import Config, from_document, load
from gala.run.request import LAUNCH_HELP, LAUNCH_OPTIONS

FROZEN = Path(__file__).with_name("options.json")


def read(text: str, *arguments: str) -> Config:
    _, options = parse_options(Config, arguments)
    return from_document(parse_yaml(text, "run.yaml"), options)


def test_the_list_of_options_is_frozen() -> None:
    """Other programs rely on these names: add to options.json freely, remove nothing."""
    assert option_names(Config) == json.loads(FROZEN.read_text())


@pytest.mark.parametrize(
    "name",
    ["--seed", "--total-steps", "--topology", "--coupling", "--env.id", "--env.num-envs",
     "--a2c.lr", "--network.kind", "--gossip.max-staleness", "--log.every-s"],
)  # fmt: skip
def test_names_that_are_promised(name: str) -> None:
    assert name in option_names(Config)


def test_an_option_means_what_the_file_means() -> None:
    from_file = read(
        "total_steps: 1e6\na2c: {lr: 1e-4}\n"
        "network: {filters: [1, 2, 3]}\ngossip: {max_staleness: 0}"
    )
    from_options = read(
        "{}", "--total-steps", "1e6", "--a2c.lr=1e-4", "--network.filters", "[1, 2, 3]",
        "--gossip.max-staleness", "0",
    )  # fmt: skip
    assert from_file == from_options
    assert from_file.total_steps == 1_000_000 and from_file.network.filters == (1, 2, 3)


def test_options_win_over_the_file_and_leave_the_rest() -> None:
    config = read("a2c: {lr: 1, gamma: 0.5}", "--a2c.lr", "2")
    assert (config.a2c.lr, config.a2c.gamma) == (2.0, 0.5)


def test_switches_and_null() -> None:
    assert read("{}", "--env.reward-clip").env.reward_clip is True
    for word, value in {"true": True, "yes": True, "1": True, "off": False, "No": False}.items():
        assert read("{}", "--env.reward-clip", word).env.reward_clip is value
        assert read("{}", f"--env.reward-clip={word}").env.reward_clip is value
    with pytest.raises(UserError, match="^--env.reward-clip: must be true or false, got 'maybe'$"):
        read("{}", "--env.reward-clip=maybe")
    assert read("env: {reward_clip: true}", "--env.no-reward-clip").env.reward_clip is False
    assert read("{}", "--env.reward-clip", "false").env.reward_clip is False
    assert read("a2c: {max_grad_norm: 1}", "--a2c.max-grad-norm", "null").a2c.max_grad_norm is None


def test_mappings_take_any_name() -> None:
    config = read(
        "env: {kwargs: {size: 3, colour: red}, wrappers: [a:b]}",
        "--env.kwargs.size", "5", "--env.kwargs.max-speed=2.5", "--env.options.level.name", "deep",
    )  # fmt: skip
    assert config.env.kwargs == {"size": 5, "colour": "red", "max_speed": 2.5}
    assert config.env.options == {"level": {"name": "deep"}} and config.env.wrappers == ("a:b",)
    assert read("env: {kwargs: {a: 1}}", "--env.kwargs", '{"b": [2]}').env.kwargs == {"b": [2]}
    assert read("{}", "--env.wrappers", "a:b").env.wrappers == ("a:b",)


@given(
    st.dictionaries(
        st.text(min_size=1),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
            lambda inner: (
                st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
            ),
            max_leaves=6,
        ),
        max_size=3,
    )
)
@settings(max_examples=50, deadline=None)
def test_arguments_read_back_equal(kwargs: dict[str, Any]) -> None:
    config = Config(env=EnvConfig(kwargs=kwargs))
    assert from_document(parse_yaml(config.to_yaml(), "back.yaml")) == config


def test_positional_arguments_are_kept_apart() -> None:
    assert parse_options(Config, ["pong", "--seed", "3"]) == (["pong"], [("seed", 3)])
    assert parse_options(Config, ["--run-dir", "x"], {"run_dir": str}) == ([], [("run_dir", "x")])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a2c:\n  lrr: 1", "run.yaml:2: a2c.lrr: unknown field (did you mean 'lr'?)"),
        ("seeds: 1", "run.yaml:1: seeds: unknown field (did you mean 'seed'?)"),
        ("a2c:\n\n  lr: -1", "run.yaml:3: a2c.lr: must be greater than 0, got -1"),
        ("a2c: 3", "run.yaml:1: a2c: must be a mapping of fields, got 3"),
        ("- 1", "run.yaml:1: must be a mapping of fields"),
        ("seed: 1.5", "run.yaml:1: seed: must be a valid integer"),
        (
            "coupling: gosip",
            "coupling: must be 'gossip', 'allreduce', 'shared', 'distil', 'repel' or 'none', got",
        ),
        ("network: {filters: []}", "network.filters"),
        (
            "network: {kind: natur-cnn}",
            "network.kind: no such network (did you mean 'nature-cnn'?), got 'natur-cnn'",
        ),
        ("a2c: {gamma: 1.5}", "a2c.gamma: must be less than or equal to 1, got 1.5"),
        ("a2c: {lr: .nan}", "a2c.lr"),
        ("a2c: {lr: .inf}", "a2c.lr"),
        ("env:\n  kwargs: 5", "run.yaml:2: env.kwargs: must be a valid dictionary, got 5"),
        ("env: {num_envs: 0}", "env.num_envs: must be greater than 0, got 0"),
    ],
)
def test_mistakes_in_a_file(text: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        read(text)
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--a2c.lrr", "1"], "--a2c.lrr: unknown option (did you mean '--a2c.lr'?)"),
        (["--a2c.lr"], "--a2c.lr: needs a value"),
        (["--a2c.lr", "-1"], "--a2c.lr: must be greater than 0, got -1"),
        (["--a2c.lr", "fast"], "--a2c.lr: must be a valid number"),
        (["--a2c.lr", "["], "--a2c.lr: must be a valid number, got '['"),
        (["--network.hidden", "[64"], "--network.hidden: cannot read the value '[64'"),
        (["--env.kwargs.size"], "--env.kwargs.size: needs a value"),
        (["--env.kwarg.size", "1"], "unknown option (did you mean '--env.kwargs'?)"),
        (["--no-seed"], "--no-seed: unknown option"),
    ],
)
def test_mistakes_in_options(arguments: list[str], message: str) -> None:
    with pytest.raises(UserError) as error:
        read("{}", *arguments)
    assert message in str(error.value) and "\n" not in str(error.value)


@given(
    st.builds(
        Config,
        env=st.builds(EnvConfig, num_envs=st.integers(1, 10**6), reward_clip=st.booleans()),
        a2c=st.builds(
            A2CConfig,
            lr=st.floats(1e-12, 1e12),
            gamma=st.floats(0, 1),
            max_grad_norm=st.none() | st.floats(1e-9, 1e9),
        ),
        topology=st.text(min_size=1, max_size=30).filter(lambda s: s.isprintable()),
        seed=st.integers(0, 2**63),
    )
)
@settings(max_examples=30, deadline=None)
def test_a_written_file_reads_back_equal(config: Config) -> None:
    assert from_document(parse_yaml(config.to_yaml(), "back.yaml")) == config


@pytest.mark.parametrize("name", shipped.names("experiments"))
def test_shipped_experiments_load(name: str) -> None:
    assert load(shipped.resolve("experiments", name)).total_steps > 0


def test_the_promised_experiments_are_shipped() -> None:
    assert {"cartpole", "pong", "pong-paper"} <= set(shipped.names("experiments"))


@pytest.mark.parametrize("game", ["BeamRider", "Breakout", "Qbert", "Seaquest", "SpaceInvaders"])
def test_the_games_of_the_paper_differ_in_nothing_but_the_game(game: str) -> None:
    """Found by the name of the game, whatever its case and hyphens."""
    paper, found = (load(shipped.resolve("experiments", n)) for n in ("pong-paper", game))
    assert found.env.id == f"ALE/{game}-v5"
    env = dataclasses.replace(found.env, id=paper.env.id)
    assert dataclasses.replace(found, env=env) == paper


@pytest.mark.parametrize("game", ["Asterix", "Freeway", "Seaquest", "SpaceInvaders"])
def test_the_games_of_minatar_differ_in_nothing_but_the_game(game: str) -> None:
    names = ("minatar-breakout", f"minatar-{game}")
    first, found = (load(shipped.resolve("experiments", name)) for name in names)
    assert found.env.id == f"MinAtar/{game}-v1"
    env = dataclasses.replace(found.env, id=first.env.id)
    assert dataclasses.replace(found, env=env) == first


def test_the_pong_experiment_states_the_whole_protocol() -> None:
    text = shipped.resolve("experiments", "pong").read_text()
    for choice in ("sticky_actions", "noop_max", "episodic_life", "reward_clip", "frame_skip",
                   "frame_stack", "fire_reset", "max_frames", "noop_min", "fire_second",
                   "life_reset", "clear_stack"):  # fmt: skip
        assert f"{choice}:" in text


def test_the_paper_experiment_is_the_papers() -> None:
    """Assran et al. 2019, section 4 and appendix: 7e-4 x sqrt(environments / 16)."""
    paper, ours = (load(shipped.resolve("experiments", n)) for n in ("pong-paper", "pong"))
    assert paper.env.num_envs == 16 and paper.env.atari == AtariConfig()
    assert ours.env.atari == AtariConfig(noop_min=0, noop_max=29, fire_second=False)
    assert paper.network == dataclasses.replace(ours.network, background=0)
    assert (paper.total_steps, paper.coupling, paper.topology) == (
        40_000_000, "gossip", "directed-ring",
    )  # fmt: skip
    assert paper.a2c == A2CConfig(
        n_step=5, gamma=0.99, gae_lambda=1.0, lr=7e-4, lr_scaling="sqrt", lr_schedule="constant",
        optimizer="rmsprop", optimizer_eps=1e-5, rmsprop_alpha=0.99, value_coef=0.5,
        entropy_coef=0.01, max_grad_norm=0.5,
    )  # fmt: skip


def test_help_names_every_section(capsys: pytest.CaptureFixture[str]) -> None:
    print_help(Config, "gala train", LAUNCH_HELP)
    shown = capsys.readouterr().out
    for name in {*LAUNCH_OPTIONS, "agents", "no_supervisor"} - {"supervisor"}:
        assert f"\n  --{name.replace('_', '-')} " in shown
    for word in (
        "--a2c.lr",
        "--env.kwargs",
        "--env.atari.sticky-actions",
        "--gossip.max-staleness",
        "--seed",
    ):
        assert word in shown
