"""Checkpoints of one agent: written atomically, the newest few kept, read as data only.

A folder (``runs/NAME/rank_RR/checkpoints``) holds ``update_000001234.pt`` files. A file appears
under that name only when it is whole and on the disk, and older ones are removed only after that,
so that at any moment, also after a kill or with a full disk, the newest file is a good one. Files
are read with ``weights_only=True``: a checkpoint from elsewhere cannot run code.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
import zipfile
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch

from gala.files.atomic import is_temporary, open_atomic

_NAME = re.compile(r"update_(\d{9,})\.pt")
_ABANDONED_S = 3600.0  # a temporary this old belongs to a writer that was killed
_PLAIN = (int, float, complex, bool, str, type(None))
_DATA = (*_PLAIN, torch.Tensor, torch.nn.Parameter, torch.Size, torch.dtype, torch.device)


class CheckpointError(Exception):
    """A checkpoint could not be written or read; the text says which file and why."""


def path_of(folder: str | Path, update: int) -> Path:
    """Where the checkpoint of ``update`` lies in ``folder``."""
    return Path(folder) / f"update_{update:09d}.pt"


def folder_of(run_dir: str | Path, rank: int) -> Path:
    """The checkpoint folder of agent ``rank`` in a run folder."""
    return Path(run_dir) / f"rank_{rank:02d}" / "checkpoints"


def save(folder: str | Path, update: int, state: Mapping[str, Any], keep: int) -> Path:
    """Write ``state`` as the checkpoint of ``update`` and remove all but the newest ``keep``.

    Args:
        folder: the agent's checkpoint folder; made when missing.
        update: local updates done; names the file.
        state: tensors, numbers, text and plain containers of them, which is what reads back.
        keep: files to keep, at least 1.

    Returns:
        The file written.

    Raises:
        CheckpointError: the file could not be written (full disk, no permission, ...). Older
            checkpoints are untouched and no unfinished file is left.
        TypeError: ``state`` holds something that is not data, e.g. a NumPy array; names it.
    """
    assert update >= 0 and keep >= 1, (update, keep)
    state = dict(state)
    _require_data(state, "state")
    path = path_of(folder, update)
    try:
        with open_atomic(path) as file:
            torch.save(state, file)
    except (OSError, RuntimeError) as error:
        # torch reports a failing disk as a RuntimeError of its zip writer, raised while the
        # original OSError is handled
        raise CheckpointError(f"{path}: cannot be written: {_reason(error)}") from error
    _prune(Path(folder), keep)
    return path


def load(path: str | Path, *, map_location: str = "cpu") -> dict[str, Any]:
    """Read one checkpoint as data, checksums verified.

    Raises:
        CheckpointError: the file is missing, unreadable, damaged, or holds more than data.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()  # torch itself never looks at the checksums
        if damaged is not None:
            raise CheckpointError(f"{path}: is damaged: wrong checksum of {damaged}")
        state = torch.load(path, map_location=map_location, weights_only=True)
    except CheckpointError:
        raise
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such checkpoint") from None
    except Exception as error:  # a damaged file raises nearly anything: RuntimeError, EOFError, ...
        raise CheckpointError(f"{path}: cannot be read: {_reason(error)}") from error
    if not isinstance(state, dict):
        raise CheckpointError(f"{path}: holds a {type(state).__name__}, not a checkpoint")
    return state


def updates(folder: str | Path) -> list[int]:
    """Updates of which ``folder`` holds a checkpoint, damaged ones included, ascending."""
    folder = Path(folder)
    if not folder.is_dir():
        return []
    matches = (_NAME.fullmatch(path.name) for path in folder.iterdir())
    return sorted(int(match[1]) for match in matches if match)


def newest(folder: str | Path) -> Path | None:
    """The newest checkpoint in ``folder`` that can be read, or None."""
    for update in reversed(updates(folder)):
        if readable(path_of(folder, update)):
            return path_of(folder, update)
    return None


def readable(path: str | Path) -> bool:
    """Whether :func:`load` reads ``path``; reads the whole file."""
    try:
        load(path)
    except CheckpointError:
        return False
    return True


def common(run_dir: str | Path, ranks: Iterable[int]) -> int | None:
    """The newest update of which every agent of ``ranks`` has a readable checkpoint, or None."""
    folders = [folder_of(run_dir, rank) for rank in ranks]
    if not folders:
        return None
    shared = set.intersection(*(set(updates(folder)) for folder in folders))
    for update in sorted(shared, reverse=True):
        if all(readable(path_of(folder, update)) for folder in folders):
            return update
    return None


def _prune(folder: Path, keep: int) -> None:
    """Remove old checkpoints and what killed writers left; failing to is no reason to fail."""
    for update in updates(folder)[:-keep]:
        with contextlib.suppress(OSError):
            path_of(folder, update).unlink(missing_ok=True)
    for path in folder.iterdir():
        if is_temporary(path):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > _ABANDONED_S:
                    path.unlink()


def _require_data(value: object, name: str) -> None:
    """Raise TypeError for what ``weights_only=True`` would refuse to read back."""
    # exact types: a NumPy float is a float, a named tuple a tuple, yet they pickle as objects
    if type(value) in (dict, OrderedDict):
        for key, item in cast("dict[object, object]", value).items():
            _require_data(key, f"a key of {name}")
            _require_data(item, f"{name}[{key!r}]")
    elif type(value) in (list, tuple):
        for index, item in enumerate(cast("Sequence[object]", value)):
            _require_data(item, f"{name}[{index}]")
    elif type(value) not in _DATA:
        raise TypeError(f"{name} is a {type(value).__qualname__}, a checkpoint holds only data")


def _reason(error: BaseException) -> str:
    """The root cause in one line: the operating system's words where there are any.

    The root, because what torch wraps around a refused file is advice to trust it.
    """
    root: BaseException = error
    while not isinstance(root, OSError) and (inner := root.__cause__ or root.__context__):
        root = inner
    if isinstance(root, OSError) and root.errno is not None:
        return os.strerror(root.errno)
    lines = str(root).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(root).__name__
