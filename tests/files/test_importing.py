"""Own parts by name: what is found, and the one line for whatever goes wrong in a user's module."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gala.errors import UserError
from gala.files.importing import import_object, users_code

names = (f"own_module_{number}" for number in itertools.count())
Write = Callable[[str], str]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write a module of a new name into the current folder; returns its name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)

    def module(text: str) -> str:
        name = next(names)
        (tmp_path / f"{name}.py").write_text(text)
        return name

    yield module
    for name in set(sys.modules) - before:
        del sys.modules[name]


def complaint(spec: str) -> str:
    with pytest.raises(UserError) as caught:
        import_object(spec, field="--part")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_current_folder_is_on_the_path_once(write: Write, tmp_path: Path) -> None:
    first, second = write("def make(): return 1\n"), write("class Make: pass\n")
    assert import_object(f"{first}:make", field="--part")() == 1
    assert import_object(f"{second}:Make", field="--part").__name__ == "Make"
    assert sys.path[0] == str(tmp_path) and sys.path.count(str(tmp_path)) == 1


def test_modules_in_packages_and_installed_ones(write: Write, tmp_path: Path) -> None:
    (tmp_path / "own_package").mkdir()
    (tmp_path / "own_package" / "part.py").write_text("make = 7\n")
    assert import_object("own_package.part:make", field="--part") == 7
    assert import_object("collections:Counter", field="--part").__name__ == "Counter"


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("make", "--part: expected MODULE:NAME, got 'make' (for example make:make)"),
        ("mine.py:make", "got 'mine.py:make' (for example mine:make)"),
        ("./mine.py:make", "(for example mine:make)"),
        ("parts/mine.py:make", "(for example parts.mine:make)"),
        ("mine:", "(for example mine:make)"),
        (":make", "(for example mine:make)"),
        ("mine:a-b", "(for example mine:make)"),
    ],
)
def test_what_is_no_name(spec: str, words: str) -> None:
    assert words in complaint(spec)


def test_names_that_are_not_there(write: Write, tmp_path: Path) -> None:
    name = write("import os\n\ndef make(): ...\n")
    assert complaint(f"{name}:mkae") == (
        f"{name}.py: --part: module {name} has no 'mkae' (did you mean 'make'?)"
    )
    wrong = name.replace("own", "onw")
    (tmp_path / "own_package").mkdir()
    (tmp_path / "own_package" / "__init__.py").write_text("")
    assert "(did you mean 'own_package'?)" in complaint("onw_package:make")
    assert complaint(f"{wrong}:make") == (
        f"--part: there is no module {wrong!r} in the current folder or among those installed "
        f"(did you mean {name!r}?)"
    )


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("x = 1\ny = 1 / 0\n", 2, "raised ZeroDivisionError: division by zero"),
        ("def make(:\n", 1, "raised SyntaxError: "),
        ("import torhc\n", 1, "raised ModuleNotFoundError: No module named 'torhc'"),
        ("import sys\nsys.exit('no')\n", 2, "raised SystemExit: no"),
        ("raise BaseException('bare')\n", 1, "raised BaseException: bare"),
        ("import asyncio\nraise asyncio.CancelledError\n", 2, "raised CancelledError"),
        ("raise ValueError('a\\nb')\n", 1, "raised ValueError: a b"),
        ("import json\n\njson.loads('{')\n", 3, "raised JSONDecodeError: "),
        ("raise KeyError\n", 1, "raised KeyError"),
        ("raise ValueError('x' * 999)\n", 1, "xxx..."),
    ],
)
def test_modules_that_raise(write: Write, text: str, line: int, words: str) -> None:
    name = write(text)
    told = complaint(f"{name}:make")
    assert told.startswith(f"{name}.py:{line}: --part: {name}:make raised ") and words in told


def test_a_module_that_imports_one_that_raises(write: Write) -> None:
    below = write("\n\nassert False, 'below'\n")
    name = write(f"import {below}\n")
    assert complaint(f"{name}:make").startswith(f"{below}.py:3: --part: {name}:make raised Assert")


def test_a_package_that_raises(write: Write, tmp_path: Path) -> None:
    (tmp_path / "own_broken").mkdir()
    (tmp_path / "own_broken" / "__init__.py").write_text("raise OSError('disk')\n")
    (tmp_path / "own_broken" / "part.py").write_text("make = 7\n")
    told = complaint("own_broken.part:make")
    assert told == "own_broken/__init__.py:1: --part: own_broken.part:make raised OSError: disk"


def test_what_it_raises_when_it_is_called(write: Write) -> None:
    name = write("def make(agents):\n    return [][agents]\n")
    make = import_object(f"{name}:make", field="--part")
    with (
        pytest.raises(UserError, match=rf"^{name}.py:2: --part: {name}:make raised IndexError"),
        users_code(f"{name}:make", field="--part"),
    ):
        make(3)
    with (
        pytest.raises(UserError, match=rf"^{name}.py: --part: .* raised TypeError"),
        users_code(f"{name}:make", field="--part"),
    ):
        make()


def test_what_a_part_of_its_package_raises(write: Write, tmp_path: Path) -> None:
    inner = tmp_path / "own_game" / "envs"
    inner.mkdir(parents=True)
    (tmp_path / "own_game" / "__init__.py").write_text("")
    (inner / "grid.py").write_text("def make():\n    return 1 / 0\n")
    make = import_object("own_game.envs.grid:make", field="--part")
    where = "^own_game/envs/grid.py:2: --part: own_game:make raised ZeroDivisionError"
    with pytest.raises(UserError, match=where), users_code("own_game:make", field="--part"):
        make()


def test_what_own_code_raises_under_the_name_of_another_one(write: Write, tmp_path: Path) -> None:
    """An environment of a package, for example, with a wrapper of one's own."""
    name = write("def make():\n    return 1 / 0\n")
    make = import_object(f"{name}:make", field="--part")
    for spec in ("CartPole-v1", "json:Thing-v0"):
        with (
            pytest.raises(UserError, match=rf"^{name}.py:2: --part: {spec} raised ZeroDiv"),
            users_code(spec, field="--part"),
        ):
            make()
    installed = tmp_path / "site-packages"
    installed.mkdir()
    (installed / "own_installed.py").write_text("def fail():\n    raise ValueError\n")
    sys.path.insert(0, str(installed))
    name = write("import own_installed\n\n\ndef make():\n    own_installed.fail()\n")
    make = import_object(f"{name}:make", field="--part")
    with (
        pytest.raises(UserError, match=rf"^{name}.py:5: --part: "),
        users_code("CartPole-v1", field="--part"),
    ):
        make()


def test_interrupts_and_our_own_errors_pass(write: Write) -> None:
    with pytest.raises(KeyboardInterrupt), users_code("mine:make", field="--part"):
        raise KeyboardInterrupt
    with pytest.raises(UserError, match=r"^known$"), users_code("mine:make", field="--part"):
        raise UserError("known")


def test_what_it_prints_is_no_result(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    name = write("print('hello')\nmake = 1\n")
    import_object(f"{name}:make", field="--part")
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err == "hello\n"
