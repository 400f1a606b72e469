"""The two ways to read a file that somebody else wrote: whole, up to a limit, or a piece of it.

A pipe would be waited for until somebody writes into it, a device may have no end, and a file may
grow while it is read.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

from gala.errors import UserError

FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


def open_regular(path: str | Path) -> BinaryIO:
    """A regular file, open for reading bytes; waits for nobody.

    Raises:
        OSError: it is missing, no regular file, or cannot be read.
    """
    fd = os.open(path, FLAGS)
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return open(fd, "rb")
    os.close(fd)
    raise OSError(errno.EINVAL, "it is no regular file", str(path))


def read_bounded(path: str | Path, limit: int) -> bytes:
    """The content of a regular file of at most ``limit`` bytes; waits for nobody.

    Raises:
        UserError: it is missing, no regular file, too large, or cannot be read.
    """
    try:
        with open(os.open(path, FLAGS), "rb") as file:
            found = os.fstat(file.fileno())
            if stat.S_ISDIR(found.st_mode):
                raise UserError("is a folder, expected a file", file=path)
            if not stat.S_ISREG(found.st_mode):
                raise UserError("is no regular file", file=path, hint="copy it into one")
            content = file.read(limit + 1) if found.st_size <= limit else b""
            if max(len(content), found.st_size) > limit:
                size = f"{max(len(content), found.st_size) / 2**20:.0f} MiB"
                raise UserError(f"is {size}, the limit is {limit // 2**20} MiB", file=path)
            return content
    except FileNotFoundError:
        raise UserError("no such file", file=path) from None
    except IsADirectoryError:
        raise UserError("is a folder, expected a file", file=path) from None
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", file=path) from None
    except ValueError as error:  # a name that no file can have
        raise UserError(f"cannot be read: {error}", file=path) from None
