"""The package as users get it: a wheel that holds everything, and runs far from the checkout."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of what is (or could be) committed, so that no build folder is left."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=repository,
        capture_output=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    source, output = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in listed.stdout.decode().split("\0"):
        path = repository / name
        if name and (path.is_file() or path.is_symlink()) and not name.startswith("tests/"):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, source / name, follow_symlinks=False)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    command += ["--no-build-isolation", "--wheel-dir", str(output), str(source)]
    built = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert built.returncode == 0, built.stderr
    (path,) = output.glob("gala_rl-*.whl")
    return path


@pytest.fixture(scope="module")
def run(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run a command with the installed wheel instead of the checkout, in an empty folder."""
    target, work = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("work")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target"]
    subprocess.run([*command, str(target), str(wheel)], check=True, timeout=100)
    environment = {**os.environ, "PYTHONPATH": str(target)}

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=work,
            env=environment,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    where = call("-c", "import gala; print(gala.__file__)")
    assert where.stdout.startswith(str(target)), where
    return call


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path, repository: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    expected = {
        str(path.relative_to(repository))
        for path in (repository / "gala").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    shipped = {
        f"gala/shipped/{kind}/{path.name}"
        for kind, suffixes in (("experiments", {".yaml"}), ("topologies", {".yaml", ".json"}))
        for path in (repository / kind).iterdir()
        if path.suffix in suffixes
    }
    assert held == expected | shipped


def test_the_wheel_carries_licence_and_command(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        facts = next(name for name in names if name.endswith(".dist-info/METADATA"))
        scripts = next(name for name in names if name.endswith("entry_points.txt"))
        assert any(name.endswith("licenses/LICENSE") for name in names)
        metadata = archive.read(facts).decode()
        assert "gala = gala.cli:main" in archive.read(scripts).decode()
    assert "License-Expression: MIT" in metadata or "License: MIT" in metadata
    assert "Requires-Python: >=3.11" in metadata
    assert "Provides-Extra: video" in metadata


def test_the_command_runs_in_another_folder(run: Run) -> None:
    for arguments in (["--help"], ["--version"], ["topology", "ring", "--agents", "4"]):
        result = run("-m", "gala", *arguments)
        assert result.returncode == 0, result.stderr
        assert result.stdout.strip()


def test_shipped_files_are_found_in_another_folder(run: Run) -> None:
    script = (
        "from gala.files import shipped\n"
        "from gala.run.config import load\n"
        "for name in ('pong', 'experiments/pong.yaml', 'cartpole'):\n"
        "    print(load(shipped.resolve('experiments', name)).env.id)\n"
        "print(len(shipped.names('topologies')))\n"
    )
    result = run("-c", script)
    assert result.returncode == 0, result.stderr
    *ids, topologies = result.stdout.split()
    assert ids == ["ALE/Pong-v5", "ALE/Pong-v5", "CartPole-v1"]
    assert int(topologies) >= 8


PAGE = Path(__file__).parents[2] / "docs" / "bring-your-own.md"
FILES = re.findall(r"`(\w+\.py)`:\n\n```python\n(.*?)```", PAGE.read_text(), re.S)
COMMANDS = [
    line
    for block in re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.S)
    for line in block.strip().splitlines()
]


@pytest.mark.long
@pytest.mark.timeout(600)
def test_own_parts_work_as_the_page_says(run: Run) -> None:
    """Every file and every command of docs/bring-your-own.md, as printed, in an empty folder."""
    assert len(FILES) == 5 and len(COMMANDS) == 9
    for name, text in FILES:
        run("-c", "import sys; open(sys.argv[1], 'w').write(sys.argv[2])", name, text)
    for command in COMMANDS:
        program, *arguments = shlex.split(command)
        assert program == "gala"
        done = run("-m", "gala", *arguments)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        if arguments[0] == "train":
            assert "finished after" in done.stdout, command
    shown = run("-c", "print(open('returns.txt').read())").stdout.split()
    assert len(shown) >= 2


def test_the_algorithm_of_the_page_is_short() -> None:
    assert dict(FILES)["reinforce.py"].strip().count("\n") < 45
    loss = dict(FILES)["reinforce.py"].partition("class Columns")[2]
    assert loss.count("\n") < 40
