"""Which runs there are: the folder that was named, or those below it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from gala.errors import UserError
from gala.telemetry.reader import rank_folders

DEPTH = 3
"""Folders below the named one that are searched."""

MANY = 500
"""Runs beyond which the search ends."""


def find_runs(folder: Path) -> dict[str, Path]:
    """Run folders by name: ``folder`` itself, or those below it, by their relative path.

    A run folder holds ``meta.json`` or the folder of an agent. Links to folders are followed, as
    who put them there wants it, but each folder is searched once.
    """
    if _is_run(folder):
        return {folder.resolve().name: folder}
    found: dict[str, Path] = {}
    seen = {os.path.realpath(folder)}
    level = [folder]
    for _ in range(DEPTH):
        entries = [entry for parent in level for entry in _folders(parent)]
        level = []
        for entry in sorted(entries, key=os.path.islink):  # a folder itself before links to it
            if (real := os.path.realpath(entry)) in seen:
                continue
            seen.add(real)
            if not _is_run(entry):
                level.append(entry)
            elif len(found) < MANY:
                found[str(entry.relative_to(folder))] = entry
    return found


def require_runs(folder: Path) -> Mapping[str, Path]:
    """:func:`find_runs`, for a folder that must be there.

    Raises:
        UserError: there is no such folder, or no run in it.
    """
    if not folder.is_dir():
        raise UserError("no such folder", file=folder)
    runs = find_runs(folder)
    if not runs:
        raise UserError(
            "holds no run", file=folder, hint="a run folder has a meta.json, e.g. runs/NAME"
        )
    return runs


def _is_run(folder: Path) -> bool:
    return os.path.isfile(folder / "meta.json") or bool(rank_folders(folder))


def _folders(parent: Path) -> list[Path]:
    try:
        with os.scandir(parent) as entries:
            names = [entry.name for entry in entries if entry.is_dir()]
    except OSError:
        return []
    return [parent / name for name in sorted(names) if not name.startswith(".")]
