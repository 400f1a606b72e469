"""Files that are either the old ones or the new ones, whatever happens while they are written.

A file is written under a temporary name in its own folder, forced to the disk, renamed over the
final name, and the rename is forced to the disk too. A reader never sees half a file; a crash, a
kill or a full disk leaves the old one. Temporary names start with a dot and end with ``.tmp``, so
that readers can pass over what a killed writer left behind.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

TEMPORARY_SUFFIX = ".tmp"

faults: list[Callable[[Path], None]] = []
"""Faults on purpose: called with each file that a run is about to write; they raise OSError, or do
not return. Empty but where somebody asked for them."""


def meet_faults(path: Path) -> None:
    """Let faults on purpose happen to ``path``; nothing where there are none.

    Raises:
        OSError: as if the disk was full.
    """
    for fault in faults:
        fault(path)


def is_temporary(path: Path) -> bool:
    """Whether ``path`` has the name of an unfinished file of :func:`open_atomic`."""
    return path.name.startswith(".") and path.name.endswith(TEMPORARY_SUFFIX)


@contextlib.contextmanager
def open_atomic(path: str | Path) -> Iterator[BinaryIO]:
    """Open ``path`` for writing; it appears, whole and durable, when the block ends well.

    When the block raises, or the disk is full, the temporary file is removed and an older file of
    that name stays as it was. The folder is made when it is missing.

    Raises:
        OSError: the file cannot be written, as the operating system says it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{TEMPORARY_SUFFIX}")
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        meet_faults(path)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_atomic(path: str | Path, content: str | bytes) -> Path:
    """Write ``content`` (text as UTF-8) to ``path`` as :func:`open_atomic` does; returns the path.

    Raises:
        OSError: the file cannot be written.
    """
    path = Path(path)
    with open_atomic(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)
    return path


def sync_folder(folder: Path) -> None:
    """Force the names in ``folder`` to the disk, where the file system can."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network file systems cannot sync a folder
            os.fsync(handle)
    finally:
        os.close(handle)
