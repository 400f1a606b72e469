"""One vector of parameters, and of squared gradients, that processes of one host step together.

Both lie in a file in memory, in the folder of the run's mailboxes, and nothing guards them while
agents learn. Beside it each agent holds a lock on a file of its own, in which it counts its steps:
the kernel releases it however the agent ends. The last one out removes all of it; where all were
killed the next run on the host does.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gala.errors import UserError
from gala.gossip.mailbox import PAGE, is_locked, open_in, own_folder
from gala.gossip.shared_memory import folder_of

NAME = "parameters"
_FLOAT = 4


class Segment:
    """What the agents of a run on one host share.

    Args:
        run: 16 hex digits of the launch.
        rank: of this agent.
        root: folder in memory; only tests give another one.
    """

    def __init__(self, run: str, rank: int, root: Path | None = None) -> None:
        self._folder, self._rank = folder_of(run, root), rank
        self._own: int | None = None
        self._counts: dict[int, NDArray[np.int64]] = {}

    def attach(self, parameters: Tensor, square: Tensor) -> tuple[Tensor, Tensor, bool]:
        """Come in: with these numbers where nobody is there, else to those that are there.

        What the dead left, or what is not finite, is nobody's.

        Args:
            parameters: Float32[P].
            square: Float32[P].

        Returns:
            Both in shared memory, and whether they were there before.

        Raises:
            UserError: there is no room, or the folder is not this user's alone.
        """
        try:
            return self._attach(torch.cat([parameters, square]))
        except FileNotFoundError:  # the last one of before left while this one came, with all
            return self._attach(torch.cat([parameters, square]))
        except OSError as error:
            full = error.errno == errno.ENOSPC
            raise UserError(
                f"the shared parameters cannot be made: {error.strerror}",
                file=str(self._folder),
                hint="free or enlarge it" if full else None,
            ) from None

    def _attach(self, numbers: Tensor) -> tuple[Tensor, Tensor, bool]:
        size = _FLOAT * numbers.numel()
        with self._guarded() as folder:
            there = self._map(folder, size) if self._others() else None
            found = there is not None and bool(there.isfinite().all())
            if there is None or not found:
                there = self._make(folder, numbers, size)
            self._own = open_in(folder, f"{self._rank:05d}", create=True)
            fcntl.lockf(self._own, fcntl.LOCK_EX)
            os.posix_fallocate(self._own, 0, PAGE)
            self._counts[self._rank] = np.frombuffer(mmap.mmap(self._own, PAGE), np.int64)
        mine, squares = there.view(2, -1)
        return mine, squares, found

    def count(self, steps: int) -> None:
        """This agent has done so many steps."""
        assert self._own is not None, "attach first"
        self._counts[self._rank][0] = steps

    def steps_of(self, rank: int) -> int:
        """Steps that an agent has counted, 0 where it is not known."""
        if rank not in self._counts:
            try:
                fd = os.open(self._folder / f"{rank:05d}", os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            except OSError:
                return 0
            with contextlib.closing(os.fdopen(fd, "rb")):
                if os.fstat(fd).st_size < PAGE:
                    return 0
                self._counts[rank] = np.frombuffer(mmap.mmap(fd, PAGE), np.int64)
        return int(self._counts[rank][0])

    def close(self) -> None:
        """Leave; the last one removes what is shared."""
        if self._own is None:
            return
        with contextlib.suppress(OSError, UserError), self._guarded(create=False):
            (self._folder / f"{self._rank:05d}").unlink()
            if not self._others():
                for path in list(self._folder.iterdir()):
                    path.unlink()
                self._folder.rmdir()
        os.close(self._own)
        self._own = None

    @contextlib.contextmanager
    def _guarded(self, *, create: bool = True) -> Iterator[int]:
        """A descriptor of the folder, for one agent at a time."""
        with own_folder(self._folder, create=create) as folder:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield folder

    def _others(self) -> bool:
        """Whether another agent is in."""
        # asking for the own lock would release it
        own = f"{self._rank:05d}"
        names = (path for path in self._folder.iterdir() if path.name.isdigit())
        return any(is_locked(path) for path in names if path.name != own)

    def _map(self, folder: int, size: int) -> Tensor | None:
        try:
            fd = open_in(folder, NAME)
        except FileNotFoundError:
            return None
        try:
            if os.fstat(fd).st_size != size:
                return None
            return torch.from_numpy(np.frombuffer(mmap.mmap(fd, size), np.float32))
        finally:
            os.close(fd)

    def _make(self, folder: int, numbers: Tensor, size: int) -> Tensor:
        """A file of its own that replaces what was there: who holds that one keeps it."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(NAME, dir_fd=folder)
        fd = open_in(folder, NAME, create=True)
        try:
            os.posix_fallocate(fd, 0, size)  # fail now, not with SIGBUS at a later write
            memory = torch.from_numpy(np.frombuffer(mmap.mmap(fd, size), np.float32))
        finally:
            os.close(fd)
        return memory.copy_(numbers)
