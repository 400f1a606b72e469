"""One-line messages and nearest names."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gala.errors import UserError, did_you_mean, nearest, printable


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (UserError("is wrong"), "is wrong"),
        (UserError("is wrong", file="a.yaml"), "a.yaml: is wrong"),
        (UserError("is wrong", file="a.yaml", line=3, field="b.c"), "a.yaml:3: b.c: is wrong"),
        (UserError("is wrong", field="--lr", hint="try 1"), "--lr: is wrong (try 1)"),
    ],
)
def test_messages(error: UserError, text: str) -> None:
    assert str(error) == text


@given(st.text(), st.text())
def test_a_message_is_one_line(rule: str, hint: str) -> None:
    assert len(str(UserError(rule, hint=hint)).splitlines()) <= 1


@given(st.text())
def test_no_letter_of_a_message_steers_a_terminal(text: str) -> None:
    shown = printable(text).replace("\n", "").replace("\t", "")
    assert not any(unicodedata.category(letter) == "Cc" for letter in shown)
    assert "\x1b" not in str(UserError(text, hint="\x1b[31m", file="\x9b2J"))


def test_nearest() -> None:
    assert nearest("rign", ["ring", "star"]) == "ring"
    assert nearest("RING", ["ring", "star"]) == "ring"
    assert nearest("zzzzz", ["ring", "star"]) is None


def test_hints() -> None:
    assert did_you_mean("rign", ["ring", "star"]) == "did you mean 'ring'?"
    assert did_you_mean("zzzzz", ["ring", "star"]) == "known: ring, star"
    assert did_you_mean("zzzzz", map(str, range(20))).endswith("7, ...")
