"""The shared secret of a run, and files that nobody else may read."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from gala.errors import UserError
from gala.files.bounded import read_bounded

MIN_SECRET_BYTES, MAX_SECRET_BYTES = 16, 4096


def read_secret(path: Path) -> bytes:
    """The secret in a file that only its owner can read.

    Raises:
        UserError: there is none, it is open to others, or too short.
    """
    require_private(path)
    return require_long(read_bounded(path, MAX_SECRET_BYTES).strip(), "--secret-file", path)


def require_long(secret: bytes, field: str, path: Path | None = None) -> bytes:
    """Check that a secret cannot be found by trying.

    Raises:
        UserError: it is too short.
    """
    if len(secret) < MIN_SECRET_BYTES:
        rule = f"a secret has at least {MIN_SECRET_BYTES} bytes, this one {len(secret)}"
        raise UserError(rule, file=path, field=field, hint="gala keys secret FILE makes one")
    return secret


def require_private(path: Path) -> None:
    """Check that a file is there, and its owner's alone.

    Raises:
        UserError: it is not.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise UserError(f"cannot be read: {os.strerror(error.errno or 0)}", file=path) from None
    if not stat.S_ISREG(found.st_mode):
        raise UserError("is no file", file=path)
    if stat.S_IMODE(found.st_mode) & 0o077 or found.st_uid != os.geteuid():
        rule = f"holds a secret and is open to others (mode {stat.S_IMODE(found.st_mode):o})"
        raise UserError(rule, file=path, hint=f"chmod 600 {path}, owned by who starts the run")


def write_new(path: Path, text: bytes, mode: int) -> None:
    """Write a file that is not there yet, at no moment open to more than ``mode`` says.

    Raises:
        OSError: it is there, or cannot be written.
    """
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(text)
