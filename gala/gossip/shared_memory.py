"""Mailboxes in shared memory, between unrelated processes of one host.

Every agent owns one file below a folder of the run in ``/dev/shm``; the others map it. Layout, all
little-endian:

- a status page: owner's state and, for each agent, the version of its message that the owner took;
- ``SLOTS`` slots of a sequence word, a message header and the payload.

Version v goes to slot ``v % SLOTS``. The writer sets the slot's sequence word to ``2v + 1``, writes
payload and header, sets it to ``2v + 2`` and then advances the file's newest version. A reader
copies the slot of the newest version and accepts it only when the sequence word was ``2v + 2``
before and after, and the checksum fits: a torn read cannot be accepted, neither side ever waits,
and what a killed owner published last stays readable. (Stores keep the program's order on x86;
elsewhere the checksum catches what the sequence word might miss.)

The owner holds a POSIX lock on its file until it ends, so that the others can tell dead from alive
without timeouts. An agent that comes back after a crash takes its old file over; one that comes
back after it left makes a new one, which the others notice. Files are removed when their owner
leaves; a folder whose owners are all dead is removed by the next run on the host.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import shutil
import tempfile
import time
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gala.errors import UserError
from gala.gossip import message
from gala.gossip.message import HEADER_BYTES, Header, Identity
from gala.gossip.transport import PeerState

SLOTS = 3
_PAGE = 4096
_NEWEST, _STATE, _STEP, _TAKEN = 0, 1, 2, 8  # 64-bit words of the status page
_PREFIX = "gala-"
_READ_ATTEMPTS = 4
_REOPEN_S = 0.5  # how often to look for a new mailbox of a peer that is gone


def shared_memory_root() -> Path:
    """Folder in memory where mailboxes live (``/dev/shm`` on Linux)."""
    root = Path("/dev/shm")
    return root if root.is_dir() else Path(tempfile.gettempdir())


def folder_of(run: str, root: Path | None = None) -> Path:
    """The folder of all mailboxes of run ``run`` on this host."""
    return (root or shared_memory_root()) / f"{_PREFIX}{os.getuid()}-{run}"


def path_of(run: str, rank: int, root: Path | None = None) -> Path:
    """The mailbox of agent ``rank`` of run ``run``."""
    return folder_of(run, root) / f"{rank:05d}"


def mailbox_bytes(payload_bytes: int, agents: int) -> int:
    """Size in bytes of the mailbox of one agent."""
    status = -(-(_TAKEN + agents) * 8 // _PAGE) * _PAGE
    return status + SLOTS * _slot_bytes(payload_bytes)


def _slot_bytes(payload_bytes: int) -> int:
    return -(-(_PAGE + payload_bytes) // _PAGE) * _PAGE


def check_room(payload_bytes: int, agents: int, root: Path | None = None) -> None:
    """Refuse a launch whose mailboxes do not fit into shared memory.

    Raises:
        UserError: with the number of agents that would fit.
    """
    root = root or shared_memory_root()
    free = shutil.disk_usage(root).free
    each = mailbox_bytes(payload_bytes, agents)
    if each * agents > free:
        raise UserError(
            f"the mailboxes of {agents} agents need {each * agents / 2**20:.1f} MiB of shared "
            f"memory, {root} has {free / 2**20:.1f} MiB left",
            field="agents",
            hint=f"at most {free // each} agents fit; free or enlarge {root}, or use fewer agents",
        )


def sweep(root: Path | None = None) -> list[Path]:
    """Remove folders of runs whose processes are all dead; returns what was removed."""
    removed = []
    for folder in (root or shared_memory_root()).glob(f"{_PREFIX}{os.getuid()}-*"):
        # A folder that is still being filled has no files yet: leave young ones alone.
        with contextlib.suppress(OSError):
            young = time.time() - folder.stat().st_mtime < 60
            if not young and not any(_is_locked(path) for path in folder.iterdir()):
                shutil.rmtree(folder)
                removed.append(folder)
    return removed


class SharedMemoryTransport:
    """The mailbox of agent ``rank``, and views of everybody else's.

    Args:
        rank: index of this agent.
        agents: number of agents of the run.
        payload_bytes: B, size of the payload of every message.
        identity: what messages must agree on.
        root: folder in memory; only tests give another one.

    Raises:
        UserError: no room in shared memory, or no permission.
    """

    def __init__(
        self,
        *,
        rank: int,
        agents: int,
        payload_bytes: int,
        identity: Identity,
        root: Path | None = None,
    ) -> None:
        self._rank, self._agents, self._payload_bytes = rank, agents, payload_bytes
        self._identity = identity
        self.copies_sent = 0
        self._folder = folder_of(identity.run, root)
        self._bytes = mailbox_bytes(payload_bytes, agents)
        self._peers: dict[int, _Mapped] = {}
        self._staging: dict[int, Tensor] = {}
        self._looked: dict[int, float] = {}
        path = path_of(identity.run, rank, root)
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._own = _Mapped(path, self._bytes, payload_bytes, create=True)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise UserError(
                    f"no shared memory left for the mailbox of agent {rank} "
                    f"({self._bytes / 2**20:.1f} MiB) in {self._folder.parent}",
                    hint="free or enlarge it, or use fewer agents",
                ) from None
            raise UserError(
                f"cannot create a mailbox: {error.strerror}", file=str(self._folder)
            ) from None
        self._own.words[_STATE] = PeerState.JOINING

    def publish(self, header: Header, payload: Tensor, to: Collection[int] | None = None) -> None:
        """See :class:`~gala.gossip.transport.Transport`; one copy of the payload."""
        own, version = self._own, header.version
        slot = version % SLOTS
        own.sequence[slot][0] = 2 * version + 1
        own.payload[slot].copy_(payload)
        own.header[slot][:] = header.pack()
        own.sequence[slot][0] = 2 * version + 2
        own.words[_STEP] = header.step
        own.words[_NEWEST] = version
        own.words[_STATE] = PeerState.ACTIVE
        self.copies_sent += 1

    def copies(self, peers: Sequence[int]) -> list[tuple[int, ...]]:
        """See :class:`~gala.gossip.transport.Transport`; one serves all."""
        return [tuple(peers)] if peers else []

    def version(self, peer: int) -> int:
        """See :class:`~gala.gossip.transport.Transport`."""
        mapped = self._peer(peer)
        return 0 if mapped is None else int(mapped.words[_NEWEST])

    def latest(self, peer: int) -> tuple[Header, Tensor] | None:
        """See :class:`~gala.gossip.transport.Transport`."""
        mapped = self._peer(peer)
        if mapped is None:
            return None
        for _ in range(_READ_ATTEMPTS):
            version = int(mapped.words[_NEWEST])
            if version == 0:
                return None
            slot = version % SLOTS
            if int(mapped.sequence[slot][0]) != 2 * version + 2:
                continue  # overtaken by the writer: a newer one is there
            if peer not in self._staging:
                self._staging[peer] = torch.empty(self._payload_bytes, dtype=torch.uint8)
            staging = self._staging[peer]
            packed = bytes(mapped.header[slot])
            staging.copy_(mapped.payload[slot])
            if int(mapped.sequence[slot][0]) != 2 * version + 2:
                continue
            header = message.unpack(packed, identity=self._identity, rank=peer)
            message.verify(header, staging)
            return header, staging
        return None  # overtaken again and again: not torn, only late; the next look finds it

    def steps(self, peer: int) -> int:
        """See :class:`~gala.gossip.transport.Transport`; of itself: its last incarnation's."""
        mapped = self._peer(peer)
        return 0 if mapped is None else int(mapped.words[_STEP])

    def acknowledge(self, peer: int, version: int) -> None:
        """See :class:`~gala.gossip.transport.Transport`."""
        self._own.words[_TAKEN + peer] = version

    def acknowledged(self, peer: int) -> int:
        """See :class:`~gala.gossip.transport.Transport`."""
        mapped = self._peer(peer)
        return 0 if mapped is None else int(mapped.words[_TAKEN + self._rank])

    def state(self, peer: int) -> PeerState:
        """See :class:`~gala.gossip.transport.Transport`."""
        mapped = self._peer(peer)
        if mapped is None:
            return PeerState.JOINING
        state = PeerState(int(mapped.words[_STATE]))
        if state is not PeerState.LEFT and not mapped.locked():
            state = PeerState.DOWN
        if state in (PeerState.LEFT, PeerState.DOWN) and self._replaced(peer, mapped):
            del self._peers[peer]
            return PeerState.JOINING
        return state

    def close(self) -> None:
        """Mark as left and remove the own file; the last one out removes the folder."""
        self._own.words[_STATE] = PeerState.LEFT
        for mapped in (self._own, *self._peers.values()):
            mapped.close()
        self._peers.clear()
        self._own.path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._folder.rmdir()

    def _peer(self, peer: int) -> _Mapped | None:
        if peer == self._rank:
            return self._own
        if peer not in self._peers:
            try:
                path = self._own.path.with_name(f"{peer:05d}")
                self._peers[peer] = _Mapped(path, self._bytes, self._payload_bytes)
            except (OSError, ValueError):  # not there yet, or not of its full size yet
                return None
        return self._peers[peer]

    def _replaced(self, peer: int, mapped: _Mapped) -> bool:
        """Whether a peer that is gone has made a new mailbox; looked up now and then."""
        now = time.monotonic()
        if now - self._looked.get(peer, 0.0) < _REOPEN_S:
            return False
        self._looked[peer] = now
        return mapped.replaced()


class _Mapped:
    """A mailbox file in memory, as numpy words and torch payloads."""

    def __init__(self, path: Path, size: int, payload_bytes: int, *, create: bool = False) -> None:
        self.path = path
        flags = os.O_RDWR | (os.O_CREAT if create else 0)
        self._fd = os.open(path, flags, 0o600)
        try:
            if create:
                _lock(self._fd)
                os.posix_fallocate(self._fd, 0, size)  # fail now, not with SIGBUS at a later write
            elif os.fstat(self._fd).st_size != size:
                raise ValueError(f"{path} has another size")
            self._map = mmap.mmap(self._fd, size)
        except BaseException:
            os.close(self._fd)
            raise
        slot_bytes = _slot_bytes(payload_bytes)
        first = size - SLOTS * slot_bytes
        self.words = np.frombuffer(self._map, np.int64, first // 8)
        self.sequence = []
        self.header = []
        self.payload = []
        for index in range(SLOTS):
            start = first + index * slot_bytes
            self.sequence.append(np.frombuffer(self._map, np.int64, 1, start))
            self.header.append(memoryview(self._map)[start + 64 : start + 64 + HEADER_BYTES])
            data = np.frombuffer(self._map, np.uint8, payload_bytes, start + _PAGE)
            self.payload.append(torch.from_numpy(data))

    def locked(self) -> bool:
        """Whether the owner's process is alive."""
        return _holds_lock(self._fd)

    def replaced(self) -> bool:
        """Whether another file lies at the path."""
        try:
            there, mine = os.stat(self.path), os.fstat(self._fd)
        except OSError:
            return False
        return (there.st_dev, there.st_ino) != (mine.st_dev, mine.st_ino)

    def close(self) -> None:
        """Release the lock; the memory goes with the last reference to it."""
        os.close(self._fd)


def _lock(fd: int) -> None:
    # A reader that probes the lock holds it for an instant: try again for a while.
    for attempt in range(200):
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError:
            if attempt == 199:
                raise
            time.sleep(0.001)


def _holds_lock(fd: int) -> bool:
    try:
        fcntl.lockf(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    fcntl.lockf(fd, fcntl.LOCK_UN)
    return False


def _is_locked(path: Path) -> bool:
    fd = os.open(path, os.O_RDWR)
    try:
        return _holds_lock(fd)
    finally:
        os.close(fd)
