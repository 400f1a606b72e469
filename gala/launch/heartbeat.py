"""Heartbeats: a word in memory for each agent of a process, by which others see that it lives.

A beat is a store into shared memory, about a tenth of a microsecond: no system call, no thread, no
file. The word says how many updates were begun, and whether the agent is acting in its
environments (where it answers soon or never) or does anything else (learning, waiting for
neighbours, saving: all of which may take long and has limits of its own).
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Mapping

HEARTBEAT_VARIABLE = "GALA_HEARTBEAT_FD"
"""File descriptor of the page, in the environment of a supervisor's child."""

WORDS = mmap.PAGESIZE // 8
"""Agents of one process that are looked after."""


def new_page() -> int:
    """File descriptor of a page of words that are zero: nobody has begun."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("gala-heartbeat")
    else:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    os.ftruncate(fd, 8 * WORDS)
    return fd


def open_page(environment: Mapping[str, str] = os.environ) -> memoryview:
    """The words Int64[WORDS] of this process, which its supervisor sees if it has one."""
    fd = environment.get(HEARTBEAT_VARIABLE)
    page = mmap.mmap(int(fd) if fd is not None else -1, 8 * WORDS)
    return memoryview(page).cast("q")


def words_of(fd: int) -> list[int]:
    """The words of a page, up to the last one that is used."""
    used = memoryview(os.pread(fd, 8 * WORDS, 0).rstrip(b"\0").ljust(8 * WORDS, b"\0")).cast("q")
    words = used.tolist()
    while words and not words[-1]:
        words.pop()
    return words


_own: memoryview | None = None


def own_page() -> memoryview:
    """The page of this process, opened once."""
    global _own
    if _own is None:
        _own = open_page()
    return _own


class Heartbeat:
    """Heartbeat of one agent.

    Args:
        index: of the agent among those of its process.
        page: the words of the process; None: :func:`own_page`.
    """

    def __init__(self, index: int = 0, page: memoryview | None = None) -> None:
        page = own_page() if page is None else page
        # nobody looks at the word of an agent beyond the page
        self._word = (
            page[index : index + 1] if index < WORDS else memoryview(bytearray(8)).cast("q")
        )
        self._beats = 0

    def act(self) -> None:
        """An update begins: the environments are stepped now."""
        self._beats += 1
        self._word[0] = self._beats << 1

    def rest(self) -> None:
        """The environments have answered; what comes now may take long."""
        self._word[0] = self._beats << 1 | 1
