"""Files that grow by whole records, and notice when they are no longer where they should be."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from gala.files.atomic import meet_faults


def open_to_append(path: str | Path) -> int:
    """A descriptor to append to ``path`` with; folders are made as needed.

    Raises:
        OSError: it cannot be opened.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)


def require_at(descriptor: int, path: str | Path) -> None:
    """Before each write: a file that was deleted, or its folder, takes all and keeps nothing.

    Faults on purpose happen here (:mod:`gala.files.atomic`).

    Raises:
        OSError: the open file is not the one at ``path``.
    """
    meet_faults(Path(path))
    if not os.path.samestat(os.fstat(descriptor), os.stat(path)):
        raise FileNotFoundError(errno.ENOENT, "another file is in its place", str(path))


def append_whole(descriptor: int, data: bytes) -> None:
    """Append all of ``data``, or nothing.

    Raises:
        OSError: it cannot be written; what was written of it is taken back.
    """
    size = os.fstat(descriptor).st_size
    view = memoryview(data)
    try:
        while view:  # the second attempt tells why the first one was cut short
            view = view[os.write(descriptor, view) :]
    except OSError:
        os.ftruncate(descriptor, size)
        raise
