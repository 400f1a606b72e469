"""Numbers of command lines: one grammar for all commands."""

import argparse

import pytest

from gala.config.arguments import at_least_one, number, whole


@pytest.mark.parametrize(("text", "value"), [("7", 7), ("1e3", 1000), ("1_000", 1000), ("5.", 5)])
def test_whole_numbers_of_people(text: str, value: int) -> None:
    assert whole(text) == at_least_one(text) == number(text) == value


@pytest.mark.parametrize(
    "text", ["010", "10\n", "0x10", "1:30", "²", "١٢", "2.5", "-1", "nan", "inf", "1e999", "1_",
             " 5", "", "9" * 399, "9" * 9000, "9223372036854775808"],
)  # fmt: skip
def test_what_is_no_whole_number(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="must be a whole number from 0"):
        whole(text)


@pytest.mark.parametrize("text", ["nan", ".inf", "-1e999", "0x1p3", "9" * 399, "1,5", "on"])
def test_what_is_no_number(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="must be a number"):
        number(text)
