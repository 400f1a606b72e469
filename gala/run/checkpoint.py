"""Checkpoints of one agent: written atomically, the newest few kept, read as data only.

A folder (``runs/NAME/rank_RR/checkpoints``) holds ``update_000001234.pt`` files. A file appears
under that name only when it is whole and on the disk, and older ones are removed only after that,
so that at any moment, also after a kill or with a full disk, the newest file is a good one. What is
not finite is never written, and never gone on from. Files are read with ``weights_only=True``: a
checkpoint from elsewhere cannot run code.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch

from gala.errors import NotFinite, UserError
from gala.files.atomic import is_temporary, open_atomic
from gala.files.bounded import open_regular

_NAME = re.compile(r"update_(\d{9,})\.pt")
_ABANDONED_S = 3600.0  # a temporary this old belongs to a writer that was killed
_PLAIN = (int, float, complex, bool, str, type(None))
_DATA = (*_PLAIN, torch.Tensor, torch.nn.Parameter, torch.Size, torch.dtype, torch.device)


_PARTS = {"params": "its parameters are", "learner": "the state of its optimizer is"}
"""What has to be finite in a state. Environments may hold what they like."""
_NOT_FINITE = f"{_PARTS['params']} not finite"


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
        NotFinite: parameters or optimizer are not; nothing is written or removed.
        TypeError: ``state`` holds something that is not data, e.g. a NumPy array; names it.
    """
    assert update >= 0 and keep >= 1, (update, keep)
    state = dict(state)
    _require_data(state, "state")
    for part, name in _PARTS.items():
        if not finite(state.get(part)):
            raise NotFinite(f"{name} not finite after update {update}")
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
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
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


@contextlib.contextmanager
def going_on_from(path: str | Path) -> Iterator[None]:
    """Name the checkpoint where it reads, and yet does not hold what an agent goes on from.

    Args:
        path: whose state is taken over.

    Raises:
        UserError: a part is missing, of another kind or of another shape.
    """
    try:
        yield
    except KeyError as error:
        rule = f"is not a checkpoint of an agent: it lacks {error}"
        raise UserError(rule, file=path, hint="move it away") from error
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
        rule = f"is not a checkpoint of an agent: {_reason(error)}"
        raise UserError(rule, file=path, hint="move it away") from error


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


def newest_finite(folder: str | Path, passed_over: Callable[[Path, str], None]) -> Path | None:
    """The newest checkpoint in ``folder`` that one can go on from, or None.

    Newer ones that are not finite get another name, or they would count among those that are kept
    and push out the good ones.

    Args:
        folder: the agent's checkpoint folder; nobody else may write there.
        passed_over: called with each newer file that is not it, and why.
    """
    for update in reversed(updates(folder)):
        path = path_of(folder, update)
        reason = _unusable(path)
        if reason is None:
            return path
        if reason == _NOT_FINITE:
            with contextlib.suppress(OSError):
                path.rename(path.with_name(f"{path.name}.not-finite"))
        passed_over(path, reason)
    return None


def finite(value: object) -> bool:
    """Whether all numbers in the tensors of a (part of a) state are finite."""
    return all(bool(tensor.isfinite().all()) for tensor in _floats(value))


def readable(path: str | Path) -> bool:
    """Whether :func:`load` reads ``path``; reads the whole file."""
    try:
        load(path)
    except CheckpointError:
        return False
    return True


def common(run_dir: str | Path, ranks: Iterable[int]) -> int | None:
    """The newest update from which every agent of ``ranks`` can go on, or None."""
    folders = [folder_of(run_dir, rank) for rank in ranks]
    if not folders:
        return None
    shared = set.intersection(*(set(updates(folder)) for folder in folders))
    for update in sorted(shared, reverse=True):
        if all(_unusable(path_of(folder, update)) is None for folder in folders):
            return update
    return None


def _unusable(path: Path) -> str | None:
    """Why one cannot go on from a checkpoint; None if one can."""
    try:
        state = load(path)
    except CheckpointError as error:
        return str(error).removeprefix(f"{path}: ")
    return None if finite(state.get("params")) else _NOT_FINITE


def _floats(value: object) -> Iterator[torch.Tensor]:
    """The tensors of floats in plain containers."""
    if isinstance(value, torch.Tensor):
        if value.is_floating_point():
            yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _floats(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _floats(item)


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
        return root.strerror or os.strerror(root.errno)
    lines = str(root).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(root).__name__
