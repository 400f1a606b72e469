"""Standard output and error of a command, wherever they lead: a terminal, a file, a pipe, nowhere.

Letters that the terminal cannot show are replaced; descriptors that came closed lead to the null
device, so that no file of ours is opened in their place and written to by accident. A command whose
output cannot be written ends; training does not: there :func:`prepare` makes writes that cannot
fail, and :func:`failure` says whether the last one was lost.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import select
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from gala.files import text_log

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

PIECE = 4096
"""Bytes written at once: a pipe that can be written to has room for so many (POSIX PIPE_BUF)."""

PATIENCE_S = 1.0
"""How long a reader who does not read holds training up, once."""

NAMES = {1: "standard output", 2: "standard error"}


class Output(io.FileIO):
    """Descriptor 1 or 2.

    Args:
        descriptor: is not closed with this object.

    Attributes:
        forgiving: what cannot be written is dropped, and nobody waits for long.
        error: why the last write failed; None when it did not.
        log: file that gets a copy of what is written; None: nobody does.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self.forgiving = False
        self.error: OSError | None = None
        self.log: Path | None = None
        self._ready = select.poll()
        self._ready.register(descriptor, select.POLLOUT)

    def write(self, data: ReadableBuffer, /) -> int:
        """Write a piece of ``data``; all of it counts as written when forgiven.

        Raises:
            OSError: it cannot be written, and is not forgiven.
        """
        view = memoryview(data).cast("B")
        try:
            written, self.error = self._written(view), None
        except OSError as error:
            self.error = error
            if not self.forgiving:
                raise
            written = len(view)
        if self.log is not None:
            text_log.append(self.log, bytes(view[:written]))
        return written

    def _written(self, view: memoryview) -> int:
        if not self.forgiving:
            deadline = None
        else:
            deadline = time.monotonic() + (PATIENCE_S if self.error is None else 0.0)
        while True:
            left = None if deadline is None else 1e3 * max(deadline - time.monotonic(), 0.0)
            if not self._ready.poll(left):
                raise BlockingIOError(errno.EAGAIN, "nobody reads it")
            written = super().write(view[:PIECE])
            if written is not None:  # None: another writer was faster, and the pipe does not wait
                return written


def prepare(*, forgiving: bool = False) -> None:
    """Make standard output and error fit to be written to; once more does no harm.

    Args:
        forgiving: no write to them fails or waits for long from now on.
    """
    _open_closed()
    for name, descriptor, errors in (("stdout", 1, "replace"), ("stderr", 2, "backslashreplace")):
        stream = getattr(sys, name)
        output = _output(stream)
        if output is None:
            if stream is not getattr(sys, f"__{name}__"):
                continue  # somebody else has taken it over
            output = Output(descriptor)
            setattr(sys, name, _replaced(stream, output, errors))
        # a complaint that cannot be heard is no reason for another one
        output.forgiving |= forgiving or descriptor == 2


def failure(stream: TextIO | None) -> OSError | None:
    """Why the last write to ``stream`` failed; None when it did not, or nobody knows."""
    output = _output(stream)
    return output.error if output is not None else None


def copy_errors(log: Path) -> None:
    """Let a file have what goes to standard error from now on, as long as the process lives."""
    output = _output(sys.stderr)
    if output is not None:
        output.log = log


def give_up(stream: TextIO | None) -> None:
    """Write no more to ``stream``: what is pending is dropped when the interpreter flushes it."""
    output = _output(stream)
    if output is not None:
        output.forgiving = True


def _output(stream: TextIO | None) -> Output | None:
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    return raw if isinstance(raw, Output) else None


def _replaced(stream: TextIO | None, output: Output, errors: str) -> TextIO:
    if stream is not None:
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(output),
        encoding=stream.encoding if stream is not None else "utf-8",
        errors=errors,
        line_buffering=output.isatty() or output.fileno() == 2,
    )


def _open_closed() -> None:
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)  # the lowest free number, hence this one
            assert null == descriptor, (null, descriptor)
            os.set_inheritable(null, True)
