"""Ready-made files: ``experiments/pong.yaml`` works in any folder, also from an installed package.

A name on the command line means the file that is there. When none is there, it means the file of
that name that gala ships: ``pong``, ``Pong``, ``pong.yaml`` and ``experiments/pong.yaml`` are one.
The shipped files travel in ``gala/shipped``, which in a checkout links to the folders at its root.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from gala.errors import UserError, did_you_mean

Kind = Literal["experiments", "topologies"]

SUFFIXES = (".yaml", ".yml")


def folder(kind: Kind) -> Path:
    """The folder of the shipped files of ``kind``; it may be missing in a damaged installation."""
    package = Path(__file__).resolve().parents[1]
    shipped = package / "shipped" / kind
    # a checkout on a file system without links
    return shipped if shipped.is_dir() else package.parent / kind


def names(kind: Kind) -> list[str]:
    """Names, without suffix, of the shipped files of ``kind``, sorted."""
    return sorted(path.stem for path in folder(kind).glob("*.yaml"))


def shipped(kind: Kind, name: str | Path) -> Path | None:
    """The shipped file that ``name`` means (``pong``, ``experiments/pong.yaml``), or None."""
    path = Path(name)
    if path.is_absolute() or path.parent not in (Path(), Path(kind)):
        return None
    stem = path.stem if path.suffix in SUFFIXES else path.name
    found = {_letters(each): each for each in names(kind)}.get(_letters(stem))
    return folder(kind) / f"{found}.yaml" if found is not None else None


def _letters(name: str) -> str:
    """As people write it: SpaceInvaders, space_invaders and space-invaders are one."""
    return "".join(each for each in name.lower() if each.isalnum())


def resolve(kind: Kind, name: str | Path) -> Path:
    """The file that ``name`` means: a file that is there, else the shipped file of that name.

    Args:
        kind: "experiments" or "topologies".
        name: a path, or the bare name of a shipped file.

    Raises:
        UserError: there is no such file and none of that name is shipped.
    """
    path = Path(name)
    if path.exists() and not path.is_dir():  # whoever reads it says what it is, if it is no file
        return path
    preset = shipped(kind, path)
    if preset is not None:
        return preset
    if path.is_dir():
        raise UserError("is a folder, expected a YAML file", file=path)
    raise UserError("no such file", file=path, hint=did_you_mean(path.stem, names(kind)))
