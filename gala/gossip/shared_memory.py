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

Owners look after their files twice a second: one that was deleted is made again, which the others
notice, too. Nobody touches what was cut off a file: each looks at its size first, and the owner
appends what is missing. A folder that is not this user's alone is refused, and no link in it is
followed (:mod:`gala.gossip.mailbox`).
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
import time
from collections.abc import Collection, Sequence
from pathlib import Path

import torch
from torch import Tensor

from gala.errors import UserError
from gala.gossip.mailbox import (
    NEWEST,
    PAGE,
    SLOTS,
    STATE,
    STEP,
    Mailbox,
    is_locked,
    open_in,
    own_folder,
    slot_bytes,
)
from gala.gossip.message import MAX_COUNT, Header, Identity
from gala.gossip.transport import PeerState

_TAKEN = 8  # 64-bit word of the status page from which on there is one for each agent
_PREFIX = "gala-"
_REOPEN_S = 0.5  # how often to look for a new mailbox of a peer that is gone, and after the own


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
    status = -(-(_TAKEN + agents) * 8 // PAGE) * PAGE
    return status + SLOTS * slot_bytes(payload_bytes)


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
            young = time.time() - folder.lstat().st_mtime < 60
            if not young and not any(map(is_locked, folder.iterdir())):
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
        UserError: no room in shared memory, no permission, or a folder that others may write to.
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
        self._peers: dict[int, Mailbox] = {}
        self._staging: dict[int, Tensor] = {}
        self._looked: dict[int, float] = {}
        self._taken: dict[int, int] = {}
        try:
            self._own = self._make()
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
        self._own.words[STATE] = PeerState.JOINING

    def publish(self, header: Header, payload: Tensor, to: Collection[int] | None = None) -> None:
        """See :class:`~gala.gossip.transport.Transport`; one copy of the payload."""
        self._look_after_own()
        if not self._may_write():
            return
        if not self._own.words[NEWEST]:  # no word yet: who reads one must know whose it is
            self._own.words[STATE] = PeerState.ACTIVE
        self._own.publish(header, payload)
        self._own.words[STATE] = PeerState.ACTIVE
        self.copies_sent += 1

    def copies(self, peers: Sequence[int]) -> list[tuple[int, ...]]:
        """See :class:`~gala.gossip.transport.Transport`; one serves all."""
        return [tuple(peers)] if peers else []

    def version(self, peer: int) -> int:
        """See :class:`~gala.gossip.transport.Transport`."""
        mapped = self._peer(peer)
        return 0 if mapped is None else int(mapped.words[NEWEST])

    def latest(self, peer: int) -> tuple[Header, Tensor] | None:
        """See :class:`~gala.gossip.transport.Transport`."""
        mapped = self._peer(peer)
        if mapped is None:
            return None
        if peer not in self._staging:
            self._staging[peer] = torch.empty(self._payload_bytes, dtype=torch.uint8)
        staging = self._staging[peer]
        header = mapped.newest(staging, identity=self._identity, rank=peer)
        return None if header is None else (header, staging)

    def steps(self, peer: int) -> int:
        """See :class:`~gala.gossip.transport.Transport`; of itself: its last incarnation's."""
        mapped = self._peer(peer)
        word = 0 if mapped is None else int(mapped.words[STEP])
        return word if 0 <= word < MAX_COUNT else 0  # memory that was damaged says nothing

    def acknowledge(self, peer: int, version: int) -> None:
        """See :class:`~gala.gossip.transport.Transport`."""
        self._taken[peer] = version
        if self._may_write():
            self._own.words[_TAKEN + peer] = version

    def acknowledged(self, peer: int) -> int:
        """See :class:`~gala.gossip.transport.Transport`."""
        mapped = self._peer(peer)
        return 0 if mapped is None else int(mapped.words[_TAKEN + self._rank])

    def state(self, peer: int) -> PeerState:
        """See :class:`~gala.gossip.transport.Transport`."""
        self._look_after_own()
        mapped = self._peer(peer)
        if mapped is None:
            return PeerState.JOINING
        state = self._state(mapped)
        if peer == self._rank:
            return state
        if state not in (PeerState.LEFT, PeerState.DOWN):
            self._looked.pop(peer, None)  # once it is gone its place is looked at without delay
        elif self._replaced(peer, mapped):
            self._drop(peer)
            mapped = self._peer(peer)
            state = PeerState.JOINING if mapped is None else self._state(mapped)
        return state

    def _state(self, mapped: Mailbox) -> PeerState:
        word = int(mapped.words[STATE])
        # whoever wrote anything else there is not one of us
        state = PeerState(word) if 0 <= word < len(PeerState) else PeerState.DOWN
        # the own lock is none to this process
        alive = state is PeerState.LEFT or mapped is self._own or mapped.locked()
        return state if alive else PeerState.DOWN

    def close(self) -> None:
        """Mark as left and remove the own file; the last one out removes the folder."""
        if self._may_write():
            self._own.words[STATE] = PeerState.LEFT
        for peer in list(self._peers):
            self._drop(peer)
        with contextlib.suppress(OSError):
            if not self._own.replaced():
                self._own.path.unlink()
        self._own.close()
        with contextlib.suppress(OSError):
            self._folder.rmdir()

    def _make(self) -> Mailbox:
        """The own file, made or taken over."""
        with own_folder(self._folder) as folder:
            path = self._folder / f"{self._rank:05d}"
            fd = open_in(folder, path.name, create=True)
            return Mailbox(fd, self._bytes, self._payload_bytes, path=path, create=True)

    def _may_write(self) -> bool:
        """Whether the own file is whole; what was cut off is appended, without its messages."""
        if self._own.whole():
            return True
        try:
            self._own.restore()
        except OSError:  # no room
            return False
        for peer, version in self._taken.items():
            self._own.words[_TAKEN + peer] = version
        return True

    def _look_after_own(self) -> None:
        """Now and then: make the own file again if somebody has deleted it."""
        now = time.monotonic()
        if now - self._looked.get(self._rank, 0.0) < _REOPEN_S:
            return
        self._looked[self._rank] = now
        with contextlib.suppress(OSError, UserError):  # no room, or a folder of others: later
            if self._may_write() and self._own.lost():
                new, old = self._make(), self._own
                new.copy(old)
                self._own = new  # from now on: who sees the lock of the old one gone looks again
                old.close()

    def _peer(self, peer: int) -> Mailbox | None:
        if peer == self._rank:
            return self._own if self._may_write() else None
        mapped = self._peers.get(peer)
        if mapped is not None and mapped.whole():
            return mapped
        self._drop(peer)
        try:
            with own_folder(self._folder, create=False) as folder:
                path = self._folder / f"{peer:05d}"
                fd = open_in(folder, path.name)
                self._peers[peer] = Mailbox(fd, self._bytes, self._payload_bytes, path=path)
        except (OSError, UserError, ValueError):  # not there yet, or not of its full size yet
            return None
        return self._peers[peer]

    def _drop(self, peer: int) -> None:
        mapped = self._peers.pop(peer, None)
        if mapped is not None:
            mapped.close()

    def _replaced(self, peer: int, mapped: Mailbox) -> bool:
        """Whether a peer that is gone has made a new mailbox; looked up now and then."""
        now = time.monotonic()
        if now - self._looked.get(peer, 0.0) < _REOPEN_S:
            return False
        self._looked[peer] = now
        return mapped.replaced()
