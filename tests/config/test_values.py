"""The type of a field decides how it is read: text as it stands, numbers as people mean them."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gala.config import loading
from gala.config.options import parse_options
from gala.config.tree import with_sections
from gala.errors import UserError
from gala.files.yaml import parse_yaml
from gala.run.config import Config, from_document
from gala.run.request import LAUNCH_OPTIONS, read_request

LOOKS_ELSE = [
    "1e3", "on", "off", "yes", "no", "y", "007", "~", "[a]", "{a: b}", "017", "0o17", "0x1F",
    "1:30", "1_000", "2020-01-01", "true", "False", ".inf", "3.", "a: b", "#1", "'x'", "- a", "!x",
]  # fmt: skip


def option(*arguments: str) -> Any:
    return from_document(parse_yaml("{}", "x.yaml"), parse_options(Config, arguments)[1])


def in_file(text: str) -> Any:
    return from_document(parse_yaml(text, "x.yaml"))


@pytest.mark.parametrize("text", [*LOOKS_ELSE, "null"])
def test_names_of_folders_are_taken_as_they_stand(text: str) -> None:
    assert read_request(["--run-dir", text]).run_dir == Path(text)
    assert option("--env.id", text).env.id == text


@pytest.mark.parametrize("text", LOOKS_ELSE)
def test_text_may_also_be_none(text: str) -> None:
    assert option("--log.wandb", text).log.wandb == text
    assert option("--log.wandb", "null").log.wandb is None


@given(st.text(min_size=1).filter(lambda text: "\0" not in text))
def test_any_text_is_itself(text: str) -> None:
    _, options = parse_options(Config, [f"--run-dir={text}"], LAUNCH_OPTIONS)
    assert options == [("run_dir", text)]


@pytest.mark.parametrize(
    "text", ["1e3", "on", "yes", "no", "007", "017", "0o17", "1:30", "1_000", "2020-01-01", "true",
             "~", "null", "3.", ".inf", "12"],
)  # fmt: skip
def test_text_in_a_file_needs_no_quotes(text: str) -> None:
    config = in_file(f"env:\n  id: {text}\n  wrappers: [{text}]\ntopology: {text}\n")
    assert (config.env.id, config.env.wrappers, config.topology) == (text, (text,), text)


def test_nothing_in_a_file_is_no_text() -> None:
    assert in_file("log: {wandb: null}").log.wandb is None
    assert in_file("log: {wandb: 123}").log.wandb == "123"
    with pytest.raises(UserError, match="env.id: must be a valid string, got None"):
        in_file("env: {id: }")


@pytest.mark.parametrize(
    ("text", "number"),
    [("1e6", 10**6), ("1_000_000", 10**6), ("2.5e3", 2500), ("+7", 7), ("100.", 100), ("12", 12)],
)
def test_numbers_of_people(text: str, number: int) -> None:
    for config in (
        option("--total-steps", text),
        in_file(f"total_steps: {text}"),
        in_file(f"total_steps: '{text}'"),
    ):
        assert config.total_steps == number and type(config.total_steps) is int
    assert option("--a2c.lr", text).a2c.lr == number
    assert option("--network.hidden", f"[{text}, 3]").network.hidden == (number, 3)


@pytest.mark.parametrize(
    "text", ["010", "0o10", "0x10", "1:30", "1:30:00", "true", "on", "1__0", "1_", "2.5", "1e-3",
             "0b11", "nan", "", "²", "١٢", "1,000", "9" * 5000, "2020-01-01"],
)  # fmt: skip
def test_what_is_no_number_of_people(text: str) -> None:
    with pytest.raises(UserError, match="--total-steps: must be a") as error:
        option("--total-steps", text)
    assert len(str(error.value)) < 200
    with pytest.raises(UserError, match="x.yaml:1: total_steps: must be a|malformed"):
        in_file(f"total_steps: {text}")
    with pytest.raises(UserError, match="--network.hidden|cannot read"):
        option("--network.hidden", f"[8, {text or '~'}]")


@pytest.mark.parametrize(
    "name", ["gossip.trust_radius", "faults.slowdown", "gossip.timeout_s", "checkpoint.every_s"]
)
def test_numbers_too_large_to_be_finite_are_refused(name: str) -> None:
    for text in ("1e400", ".inf", ".nan"):
        with pytest.raises(UserError, match="must be a finite number"):
            option("--" + name.replace("_", "-"), text)


def test_octal_numbers_say_how_to_write_them() -> None:
    with pytest.raises(UserError, match=r"got '0_10' \(decimal, such as 10\)"):
        option("--seed", "0_10")


def test_values_of_free_mappings_are_numbers_only_where_people_mean_them() -> None:
    kwargs = option("--env.kwargs", "{a: 010, b: on, c: 1e3, d: true, e: 1:30}").env.kwargs
    assert kwargs == {"a": "010", "b": "on", "c": 1000.0, "d": True, "e": "1:30"}
    assert option("--env.kwargs.day", "2020-01-01").env.kwargs == {"day": "2020-01-01"}


@pytest.mark.parametrize("text", [str(2**64), "-1", "1e30"])
def test_seeds_that_do_not_fit(text: str) -> None:
    with pytest.raises(UserError, match="--seed: must be (less|greater) than"):
        option("--seed", text)
    assert option("--seed", str(2**64 - 1)).seed == 2**64 - 1
    with pytest.raises(UserError, match="--total-steps: must be less than"):
        option("--total-steps", str(2**63))


@dataclass(frozen=True, kw_only=True)
class Own:
    """Settings as the author of an own algorithm may type them."""

    layers: list[int] = field(default_factory=list)
    rates: list[float] | None = None
    names: list[str] = field(default_factory=list)
    kinds: set[str] = field(default_factory=set)
    loose: list = field(default_factory=list)  # type: ignore[type-arg]


def test_lists_of_own_settings_are_read_like_ours() -> None:
    kind = with_sections({"own": Own})
    words = ["--own.layers", "[2, 1e3]", "--own.rates=[1e-3, 2]", "--own.names", "[on, 007]"]
    words += ["--own.kinds", "[on, off]", "--own.loose", "[1, a]"]
    config = loading.from_document(kind, parse_yaml("{}", "x.yaml"), parse_options(kind, words)[1])
    mine: dict[str, Any] = {"kinds": {"on", "off"}, "loose": [1, "a"]}
    wanted = Own(layers=[2, 1000], rates=[0.001, 2.0], names=["on", "007"], **mine)
    assert config.own == wanted
    text = "own: {layers: [2, 1e3], rates: [1e-3, 2], names: [on, 007], kinds: [on, off], "
    text += "loose: [1, a]}"
    assert loading.from_document(kind, parse_yaml(text, "x.yaml")).own == wanted
    assert parse_options(kind, ["--own.rates", "null"])[1] == [("own.rates", None)]
    with pytest.raises(UserError, match="^--own.layers: must be a valid integer, got 'a'"):
        parse_options(kind, ["--own.layers", "[a]"])
