"""YAML of people: lines of fields, numbers as people write them, and nothing dangerous."""

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gala.errors import UserError
from gala.files import shipped
from gala.files.yaml import MAX_BYTES, load_yaml, parse_yaml


def complaint(text: str) -> str:
    with pytest.raises(UserError) as error:
        parse_yaml(text, "x.yaml")
    assert "\n" not in str(error.value)
    return str(error.value)


def test_lines_of_fields() -> None:
    document = parse_yaml("a: 1\nb:\n  - 5\n  - c: 2\n    d: 3\n", "x.yaml")
    assert document.data == {"a": 1, "b": [5, {"c": 2, "d": 3}]}
    assert document.line("a") == 1 and document.line("b", 1, "d") == 5
    assert document.line("b", 1, "missing") == 4  # the nearest enclosing field
    error = document.error("is wrong", "b", 0, hint="try 6")
    assert str(error) == "x.yaml:3: b.0: is wrong (try 6)"


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-4", 1e-4), ("7E+2", 700.0), ("1e6", 1e6), ("-2e3", -2000.0), ("1.5", 1.5), (".5", 0.5),
     ("108_000", 108000), ("e5", "e5"), ("1e", "1e")],
)  # fmt: skip
def test_numbers(text: str, value: object) -> None:
    assert parse_yaml(f"a: {text}", "x").data["a"] == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "x.yaml: is empty"),
        ("# only a comment\n", "x.yaml: is empty"),
        ("a: [1,\nb: 2", "x.yaml:2: malformed YAML"),
        ("a: 1\na: 2", "x.yaml:2: a: is given twice"),
        ("b: {a: 1, a: 2}", "b.a: is given twice"),
        ("a: &x [1]\nb: *x", "x.yaml:2: aliases"),
        ("a: !!python/object/apply:os.system ['true']", "malformed YAML"),
        ("a: 1\n---\nb: 2", "malformed YAML"),
        ("a: [1\n", "x.yaml:2: malformed YAML"),
        ("a:\n\t- 1", "x.yaml:2: malformed YAML: found character"),
        ("a:\n\t- 1", "(indent with spaces instead of tabs)"),
        ("a: " + "1" * 5000, "correct the number"),
        ("a:\n " + "[" * 5000, "x.yaml:2: malformed YAML: nested too deeply, the limit is 32"),
    ],
)
def test_what_is_refused(text: str, message: str) -> None:
    assert message in complaint(text)


def test_a_bomb_costs_nothing() -> None:
    start = time.process_time()
    for opened in ("[", "{a: ", "- "):
        assert "nested too deeply" in complaint("a:\n  " + opened * 50_000)
    assert time.process_time() - start < 2
    bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(9)
    )
    assert "aliases" in complaint(bomb)


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    for make, message in (
        (lambda: None, "no such file"),
        (path.mkdir, "is a folder"),
    ):
        make()
        with pytest.raises(UserError, match=message):
            load_yaml(path)
    path.rmdir()
    os.mkfifo(path)
    with pytest.raises(UserError, match="is no regular file"):
        load_yaml(shipped.resolve("experiments", path))
    path.unlink()
    path.write_bytes(b"\xef\xbb\xbfa: 1")  # the mark that some editors write
    assert load_yaml(path).data == {"a": 1}
    path.write_bytes("a: 1".encode("utf-16"))
    with pytest.raises(UserError, match=r"not UTF-8 text \(byte 0\) \(save it as UTF-8\)"):
        load_yaml(path)
    path.write_bytes(b"a: \xff\xfe")
    with pytest.raises(UserError, match="not UTF-8"):
        load_yaml(path)
    with open(path, "wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(UserError, match="the limit is 16 MiB"):
        load_yaml(path)
    path.write_text("a: 1")
    assert load_yaml(path).data == {"a": 1}


@given(st.text(max_size=200))
def test_any_text_is_data_or_one_line(text: str) -> None:
    try:
        parse_yaml(text, "x.yaml")
    except UserError as error:
        assert "\n" not in str(error)
