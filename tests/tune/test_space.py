"""What may be tried of an option, as it is typed."""

from __future__ import annotations

from typing import Any

import pytest

from gala.errors import UserError
from gala.files.yaml import parse_yaml
from gala.learning.table import ALGORITHMS
from gala.run.config import config_type, from_document
from gala.tune.space import Parameter, parse, space_of


class Lowest:
    """An Optuna trial that takes the first of everything."""

    def suggest_categorical(self, name: str, choices: tuple[str, ...]) -> str:
        return choices[0]

    def suggest_int(self, name: str, low: int, high: int, log: bool) -> int:
        assert type(low) is type(high) is int
        return low

    def suggest_float(self, name: str, low: float, high: float, log: bool) -> float:
        return low * 1.00001


def configured(text: str = "{}") -> Any:
    return from_document(parse_yaml(text, "x.yaml"))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a2c.lr=1e-5..1e-2:log", "1e-05"),
        ("a2c.n_step=5..40", "5"),
        ("a2c.value-coef=0.25..1", "0.25"),
        ("--a2c.optimizer=adam,rmsprop", "adam"),
        ("network.hidden=[64],[128]", "[64]"),
    ],
)
def test_what_is_suggested_is_as_it_would_be_typed(text: str, value: str) -> None:
    assert parse(text).suggest(Lowest()) == value


def test_a_range_says_what_it_is() -> None:
    found = parse("ppo.n-step=32..256:log")
    assert found == Parameter(name="ppo.n_step", low=32, high=256, log=True)
    assert found.ends == ("32", "256") and found.option("64") == ["--ppo.n-step", "64"]
    assert parse("x.y=0.5..2").low == 0.5 and isinstance(parse("x.y=0.5..2").high, float)


@pytest.mark.parametrize("text", ["a2c.lr=1e-05..0.01:log", "ppo.epochs=3..10", "a2c.n_step=5,8"])
def test_written_and_read_again_it_is_the_same(text: str) -> None:
    assert str(parse(text)) == text and parse(str(parse(text))) == parse(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a2c.lr", "must be NAME=LOW..HIGH or NAME=A,B, got 'a2c.lr'"),
        ("a2c.lr=", "must be NAME=LOW..HIGH"),
        ("a2c.lr=1e-3", "needs several different values, got '1e-3'"),
        ("a2c.lr=1,1", "needs several different values"),
        ("a2c.lr=1,2,", "needs several different values"),
        ("a2c.lr=2..1", "needs two numbers, the smaller first, got '2..1'"),
        ("a2c.lr=low..1", "needs two numbers"),
        ("a2c.lr=1...inf", "needs two numbers"),
        ("a2c.lr=0..1:log", "on a log scale all is above 0"),
        ("a2c.lr=0.1..1:ln", "no scale is named 'ln' (log)"),
    ],
)
def test_mistakes(text: str, words: str) -> None:
    with pytest.raises(UserError) as caught:
        parse(text)
    assert str(caught.value).startswith("--parameter: ") and words in str(caught.value)


def test_what_a_configuration_has_is_known_to_the_range() -> None:
    config = configured("a2c: {lr: 1e-3, n_step: 8, optimizer: adam, normalize_advantage: true}")
    assert parse("a2c.lr=1e-4..1e-2").current(config) == 1e-3
    assert parse("a2c.lr=1e-6..1e-4").current(config) is None
    assert parse("a2c.n_step=5,8.0").current(config) == "8.0"
    assert parse("a2c.optimizer=rmsprop,adam").current(config) == "adam"
    assert parse("a2c.normalize_advantage=true,false").current(config) == "true"
    assert parse("threads=null,1").current(config) == "null"
    assert parse("env.kwargs.size=1..3").current(configured("env: {kwargs: {size: 2}}")) == 2
    assert parse("env.kwargs.size=1..3").current(configured()) is None


@pytest.mark.parametrize("name", ALGORITHMS)
def test_what_an_algorithm_states_is_there_and_allowed(name: str) -> None:
    from gala.config.options import parse_options

    document = parse_yaml(f"algorithm: {name}", "x.yaml")
    space = space_of(from_document(document), [])
    assert {f"{name}.lr", f"{name}.gamma"} <= {each.name for each in space}
    for each in space:
        for text in each.ends:
            _, options = parse_options(config_type(name), each.option(text))
            from_document(document, options)


def test_what_is_asked_for_stands_instead_of_it() -> None:
    assert [each.name for each in space_of(configured(), ["threads=1,2"])] == ["threads"]
    with pytest.raises(UserError, match="threads is named twice"):
        space_of(configured(), ["threads=1,2", "threads=1..2"])
