"""Names of ready-made files: what is there comes first, what is shipped second."""

from __future__ import annotations

from pathlib import Path

import pytest

from gala.errors import UserError
from gala.files import shipped
from gala.files.shipped import resolve


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with shipped files, and an empty working directory far from it."""
    package = tmp_path / "site-packages" / "gala"
    for kind, names in {"experiments": ["pong", "cartpole"], "topologies": ["ring"]}.items():
        (package / "shipped" / kind).mkdir(parents=True)
        for name in names:
            (package / "shipped" / kind / f"{name}.yaml").write_text(f"name: {name}\n")
    monkeypatch.setattr(shipped, "__file__", str(package / "files" / "shipped.py"))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return work


@pytest.mark.parametrize(
    "name",
    ["pong", "PONG", "pong.yaml", "experiments/pong.yaml", "experiments/pong", "./pong"],
)
def test_a_shipped_file_by_each_of_its_names(name: str) -> None:
    assert resolve("experiments", name) == shipped.folder("experiments") / "pong.yaml"


def test_a_file_that_is_there_wins(elsewhere: Path) -> None:
    mine = elsewhere / "experiments" / "pong.yaml"
    mine.parent.mkdir()
    mine.write_text("mine: true\n")
    assert resolve("experiments", "experiments/pong.yaml").resolve() == mine
    assert resolve("experiments", mine) == mine
    assert resolve("experiments", "pong") == shipped.folder("experiments") / "pong.yaml"


@pytest.mark.parametrize(
    "name", ["other/pong.yaml", "/experiments/pong.yaml", "../pong.yaml", "pong.json", "ring"]
)
def test_another_place_is_not_the_shipped_file(name: str) -> None:
    with pytest.raises(UserError, match="no such file"):
        resolve("experiments", name)


def test_the_nearest_name_is_told() -> None:
    with pytest.raises(UserError, match=r"pogn\.yaml: no such file \(did you mean 'pong'\?\)"):
        resolve("experiments", "pogn.yaml")


def test_a_folder_is_not_a_file(elsewhere: Path) -> None:
    (elsewhere / "mine").mkdir()
    with pytest.raises(UserError, match="mine: is a folder"):
        resolve("topologies", "mine")


def test_names_of_an_installed_package() -> None:
    assert shipped.names("experiments") == ["cartpole", "pong"]


def test_in_a_checkout_the_files_are_those_at_its_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    root = Path(shipped.__file__).resolve().parents[2]
    if not (root / "setup.cfg").exists():
        pytest.skip("gala is installed, this is not a checkout")
    assert shipped.folder("topologies").samefile(root / "topologies")
    assert shipped.folder("experiments").samefile(root / "experiments")


def test_without_links_a_checkout_works_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        shipped, "__file__", str(tmp_path / "checkout" / "gala" / "files" / "shipped.py")
    )
    assert shipped.folder("topologies") == tmp_path / "checkout" / "topologies"
    assert shipped.names("topologies") == []
