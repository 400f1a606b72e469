"""The packaging files agree with the tree, with the imports and with one another."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import gala
from gala.files.commands import DISTRIBUTION

# Distribution that provides an import, where the names differ.
PROVIDED_BY = {"yaml": "pyyaml", "ale_py": "ale-py", "stable_baselines3": "stable-baselines3"}
PROVIDED_BY |= {"imageio_ffmpeg": "imageio-ffmpeg", "Box2D": "box2d", "pkg_resources": "setuptools"}
PROVIDED_BY |= {"pynvml": "nvidia-ml-py", "pygame": "pygame-ce"}


@pytest.fixture(scope="module")
def setup(repository: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(repository / "setup.cfg", encoding="utf-8")
    return parser


def requirements(text: str) -> list[Requirement]:
    return [Requirement(line) for line in text.splitlines() if line.strip()]


def core(setup: configparser.ConfigParser) -> dict[str, Requirement]:
    found = requirements(setup["options"]["install_requires"])
    return {canonicalize_name(each.name): each for each in found}


def extras(setup: configparser.ConfigParser) -> dict[str, list[Requirement]]:
    section = setup["options.extras_require"]
    return {name: requirements(text) for name, text in section.items()}


@pytest.fixture(scope="module")
def pins(repository: Path) -> dict[str, Version]:
    found = {}
    for line in (repository / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, separator, version = line.partition("==")
            assert separator, line
            found[canonicalize_name(name)] = Version(version)
    return found


def test_every_module_lies_in_a_package(modules: list[Any]) -> None:
    assert [m.name for m in modules if not (m.path.parent / "__init__.py").is_file()] == []


def test_data_files_are_matched_by_a_pattern(
    setup: configparser.ConfigParser, repository: Path
) -> None:
    section = setup["options.package_data"]
    patterns = {name: re.split(r"[,\s]+", text.strip()) for name, text in section.items()}
    package = repository / "gala"
    wanted = [p for p in package.rglob("*") if p.is_file() and p.suffix not in {".py", ".pyc"}]
    wanted += (package / "shipped" / "experiments").glob("*.yaml")
    wanted += (package / "shipped" / "topologies").glob("*.*")
    assert len(wanted) > 10
    for path in wanted:
        home = path.parent
        while not (home / "__init__.py").is_file():
            home = home.parent
        name = ".".join(home.relative_to(repository).parts)
        matched = {each for pattern in patterns.get(name, []) for each in home.glob(pattern)}
        assert path in matched, f"{path} is not in package_data of {name}"


def test_every_import_is_declared(setup: configparser.ConfigParser, modules: list[Any]) -> None:
    declared = set(core(setup))
    optional = {canonicalize_name(r.name) for each in extras(setup).values() for r in each}
    undeclared = []
    for module in modules:
        for node, name in module.imports():
            top = name.split(".")[0]
            if top in sys.stdlib_module_names or top == "gala":
                continue
            distribution = canonicalize_name(PROVIDED_BY.get(top, top))
            if distribution not in declared | optional:
                undeclared.append(f"{module.place(node)} imports {top}")
    assert undeclared == []


def test_extras_are_imported_where_they_are_used(
    setup: configparser.ConfigParser, modules: list[Any]
) -> None:
    """A missing extra stops only the command that needs it: no import of it at module level."""
    declared = set(core(setup))
    wrong = []
    for module in modules:
        for statement in module.tree.body:
            if module.room == "dashboard" or type(statement).__name__ not in {
                "Import",
                "ImportFrom",
            }:
                continue
            for node, name in module.imports(statement):
                top = name.split(".")[0]
                distribution = canonicalize_name(PROVIDED_BY.get(top, top))
                known = top in sys.stdlib_module_names or top == "gala"
                if not known and distribution not in declared:
                    wrong.append(f"{module.place(node)} imports {top}")
    assert wrong == []


def test_pins_fit_the_ranges(setup: configparser.ConfigParser, pins: dict[str, Version]) -> None:
    for requirement in [*core(setup).values(), *extras(setup)["dev"]]:
        if requirement.name != DISTRIBUTION:
            name = canonicalize_name(requirement.name)
            assert name in pins, f"{name} has no pin in constraints.txt"
            assert requirement.specifier.contains(pins[name]), f"{requirement} but =={pins[name]}"


def test_everything_installed_for_development_is_pinned(pins: dict[str, Version]) -> None:
    """Also what is needed only by what is needed: two machines install the same versions."""
    from importlib.metadata import PackageNotFoundError, requires

    waiting, seen = [f"{DISTRIBUTION}[dev]"], set()
    while waiting:
        each = Requirement(waiting.pop())
        name = canonicalize_name(each.name)
        if (name, frozenset(each.extras)) in seen:
            continue
        seen.add((name, frozenset(each.extras)))
        try:
            needed = requires(name) or []
        except PackageNotFoundError:
            continue
        for text in needed:
            marker = Requirement(text).marker
            environments = [{"extra": extra} for extra in [*each.extras, ""]]
            if marker is None or any(marker.evaluate(e) for e in environments):
                waiting.append(text.partition(";")[0])
    names = {name for name, _ in seen} - {DISTRIBUTION}
    unpinned = {
        name for name in names - set(pins) if not name.startswith(("nvidia", "cuda", "triton"))
    }
    assert len(names) > 30, "gala is not installed with its development extra"
    assert unpinned == set()


def test_no_pin_is_bound_to_one_build(pins: dict[str, Version]) -> None:
    assert {name for name, version in pins.items() if version.local} == set()


def test_versions_agree(setup: configparser.ConfigParser, repository: Path) -> None:
    assert setup["metadata"]["version"] == "attr: gala.__version__"
    assert f"\nversion: {gala.__version__}\n" in (repository / "CITATION.cff").read_text()
    project = tomllib.loads((repository / "pyproject.toml").read_text())
    assert project["tool"]["ruff"]["target-version"] == "py311"
    assert setup["options"]["python_requires"] == ">=3.11"
    assert sys.version_info >= (3, 11)


def test_the_console_script_is_the_command(setup: configparser.ConfigParser) -> None:
    assert setup["options.entry_points"]["console_scripts"].strip() == "gala = gala.cli:main"


@pytest.mark.process
@pytest.mark.skipif(shutil.which("make") is None, reason="NO MAKE: the two commands go untested")
def test_make_train_shows_a_command_that_people_can_type_themselves(repository: Path) -> None:
    command = ["make", "-n", "-o", ".venv/.installed", "train", "AGENTS=3", "ARGS=--seed 7"]
    # These tests may run under a make of their own, which another make would take after.
    env = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    ask = {"cwd": repository, "env": env, "capture_output": True, "text": True}
    shown = subprocess.run(command, check=True, **ask).stdout.splitlines()[-1].split()
    assert shown[1:] == [
        "train", "experiments/pong.yaml", "--agents", "3", "--total-steps", "1500000",
        "--seed", "7",
    ]  # fmt: skip
