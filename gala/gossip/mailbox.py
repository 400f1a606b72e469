"""One mailbox file in shared memory, and the folder that it lies in.

The folder belongs to this user alone (mode 0700), or it is refused; files in it are opened below
its descriptor and are regular ones of this user: whoever put a link there first gains nothing.

A file may have no name as well: then it goes with the last process that holds a descriptor of it.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import stat
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gala.errors import UserError
from gala.gossip import message
from gala.gossip.message import HEADER_BYTES, Header, Identity

SLOTS = 3
PAGE = 4096
NEWEST, STATE, STEP = 0, 1, 2
"""64-bit words of the status page: version of the newest message, state and steps of the owner."""
_READ_ATTEMPTS = 4
_LEAVING_S = 1.0  # what the last owner's process, on its way out, is waited for
# the kernel's question about a lock, and where in it the kind of lock stands
if sys.platform == "darwin":
    _FLOCK, _KIND = struct.Struct("qqihh"), 3
else:
    _FLOCK, _KIND = struct.Struct("hhqqi"), 0


def slot_bytes(payload_bytes: int) -> int:
    """Size in bytes of a slot: a page for sequence word and header, and the payload."""
    return -(-(PAGE + payload_bytes) // PAGE) * PAGE


@contextlib.contextmanager
def own_folder(path: Path, *, create: bool = True) -> Iterator[int]:
    """A descriptor of the folder ``path``, which is made if it is not there.

    Raises:
        OSError: it cannot be made, or is not there and shall not be made.
        UserError: it is no folder, or not this user's alone.
    """
    if create:
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except NotADirectoryError:  # or a link to one
        raise _not_ours(path, "is no folder") from None
    try:
        found = os.fstat(fd)
        if found.st_uid != os.geteuid():
            raise _not_ours(path, f"belongs to user {found.st_uid}")
        if stat.S_IMODE(found.st_mode) & 0o077:
            raise _not_ours(path, f"is open to others (mode {stat.S_IMODE(found.st_mode):o})")
        yield fd
    finally:
        os.close(fd)


def _not_ours(path: Path, rule: str) -> UserError:
    hint = "somebody else made it; remove it, and start the run again"
    return UserError(f"{rule}, and is where the mailboxes of this run go", file=path, hint=hint)


def open_in(folder: int, name: str, *, create: bool = False) -> int:
    """A descriptor of the file ``name`` in the folder of a descriptor, for :class:`Mailbox`.

    Raises:
        OSError: it is not there, is a link, or cannot be made.
    """
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    return os.open(name, flags | (os.O_CREAT if create else 0), 0o600, dir_fd=folder)


class Mailbox:
    """A mailbox file in memory, as numpy words and torch payloads.

    Args:
        fd: descriptor of the file; closed by this mailbox.
        size: of the file in bytes.
        payload_bytes: size of a payload.
        path: where it lies; none: it has no name.
        create: make it of its size, or take over what is there; this process owns it.

    Attributes:
        words: Int64, the status page.
        sequence: Int64[1] of each slot.
        header: bytes of each slot.
        payload: Uint8[B] of each slot.

    Raises:
        OSError: there is no room.
        ValueError: it is no file of this user, or has another size.
    """

    def __init__(
        self,
        fd: int,
        size: int,
        payload_bytes: int,
        *,
        path: Path = Path(os.devnull),
        create: bool = False,
    ) -> None:
        self.path, self._size, self._fd = path, size, fd
        try:
            found = os.fstat(self._fd)
            if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
                raise PermissionError(1, f"{path.name} is no file of this user", str(path))
            if create:
                _lock(self._fd)
                os.posix_fallocate(self._fd, 0, size)  # fail now, not with SIGBUS at a later write
            elif found.st_size != size:
                raise ValueError(f"{path} has another size")
            self._map = mmap.mmap(self._fd, size)
        except BaseException:
            os.close(self._fd)
            raise
        each = slot_bytes(payload_bytes)
        first = size - SLOTS * each
        self.words = np.frombuffer(self._map, np.int64, first // 8)
        self.sequence = []
        self.header = []
        self.payload = []
        for start in range(first, size, each):
            self.sequence.append(np.frombuffer(self._map, np.int64, 1, start))
            self.header.append(memoryview(self._map)[start + 64 : start + 64 + HEADER_BYTES])
            data = np.frombuffer(self._map, np.uint8, payload_bytes, start + PAGE)
            self.payload.append(torch.from_numpy(data))

    def publish(self, header: Header, payload: Tensor) -> None:
        """Make ``payload`` (Uint8[B], sealed by ``header``) the newest message; for the owner."""
        version = header.version
        slot = version % SLOTS
        self.sequence[slot][0] = 2 * version + 1
        self.payload[slot].copy_(payload)
        self.header[slot][:] = header.pack()
        self.sequence[slot][0] = 2 * version + 2
        self.words[STEP] = header.step
        self.words[NEWEST] = version

    def newest(self, into: Tensor, *, identity: Identity, rank: int) -> Header | None:
        """Copy the payload of the newest message into ``into``, Uint8[B], and return its header.

        None when there is none, or none that could be read whole: overtaken by the writer again and
        again it is not torn, only late, and the next look finds it.

        Args:
            into: undefined unless a header is returned.
            identity: that the message must have.
            rank: of who must have sent it.

        Raises:
            Refused: the message breaks a rule.
        """
        for _ in range(_READ_ATTEMPTS):
            version = int(self.words[NEWEST])
            if version == 0:
                return None
            slot = version % SLOTS
            if int(self.sequence[slot][0]) != 2 * version + 2:
                continue  # overtaken by the writer: a newer one is there
            packed = bytes(self.header[slot])
            into.copy_(self.payload[slot])
            if int(self.sequence[slot][0]) != 2 * version + 2:
                continue
            header = message.unpack(packed, identity=identity, rank=rank)
            message.verify(header, into)
            return header
        return None

    def whole(self) -> bool:
        """Whether nothing was cut off: reading what was would end this process (SIGBUS)."""
        return os.fstat(self._fd).st_size >= self._size

    def restore(self) -> None:
        """Append what was cut off, as zeros; for the owner.

        Raises:
            OSError: there is no room.
        """
        if not self.whole():
            os.posix_fallocate(self._fd, 0, self._size)

    def copy(self, other: Mailbox) -> None:
        """Take over all that ``other`` holds."""
        self._map[:] = other._map[:]

    def locked(self) -> bool:
        """Whether the owner's process is alive."""
        return _holds_lock(self._fd)

    def replaced(self) -> bool:
        """Whether another file lies at the path."""
        try:
            there = os.lstat(self.path)
        except OSError:
            return False
        return not self._is(there)

    def lost(self) -> bool:
        """Whether this file does not lie at the path any more."""
        try:
            there = os.lstat(self.path)
        except FileNotFoundError:
            return True
        return not self._is(there)

    def close(self) -> None:
        """Release the lock; the memory goes with the last reference to it."""
        os.close(self._fd)

    def _is(self, there: os.stat_result) -> bool:
        mine = os.fstat(self._fd)
        return (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino)


def is_locked(path: Path) -> bool:
    """Whether the owner of the mailbox at ``path`` is alive.

    Raises:
        OSError: there is no such file, or it is a link.
    """
    fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        return _holds_lock(fd)
    finally:
        os.close(fd)


def _lock(fd: int) -> None:
    deadline = time.monotonic() + _LEAVING_S
    while True:
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.001)


def _holds_lock(fd: int) -> bool:
    """Whether another process holds a lock that keeps readers out.

    Asked without taking one: an owner that comes back would be kept out by a reader that is stopped
    at that moment.
    """
    question = [0] * 5
    question[_KIND] = fcntl.F_RDLCK
    answer = fcntl.fcntl(fd, fcntl.F_GETLK, _FLOCK.pack(*question))
    return bool(_FLOCK.unpack(answer)[_KIND] != fcntl.F_UNLCK)
