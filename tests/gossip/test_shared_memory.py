"""Mailboxes in shared memory, with real files and real processes."""

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from gala.errors import UserError
from gala.gossip import message, shared_memory
from gala.gossip.mailbox import STATE, Mailbox, is_locked
from gala.gossip.message import Header, Identity, Refusal, Refused
from gala.gossip.shared_memory import SLOTS, SharedMemoryTransport
from gala.gossip.transport import PeerState

IDENTITY = Identity(run="00112233aabbccdd", topology="0123456789abcdef", layout="fedcba9876543210")
P = 1001


def transport(root: Path, rank: int, identity: Identity = IDENTITY) -> SharedMemoryTransport:
    return SharedMemoryTransport(
        rank=rank, agents=2, payload_bytes=P * 4, identity=identity, root=root
    )


def publish(
    box: SharedMemoryTransport, rank: int, version: int, value: float, identity: Identity = IDENTITY
) -> None:
    payload = torch.full((P,), value).view(torch.uint8)
    header = Header(
        identity=identity, rank=rank, version=version, update=version, step=8 * version, time=1.0
    )
    box.publish(message.sealed(header, payload), payload)


def values(received: tuple[Header, torch.Tensor] | None) -> torch.Tensor:
    assert received is not None
    return received[1].view(torch.float32)


@contextmanager
def owner(root: Path, body: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that owns the mailbox of rank 1, says "ready", and runs ``body``."""
    program = f"""
    import sys, torch
    from pathlib import Path
    from gala.gossip.message import Header, Identity, sealed
    from gala.gossip.shared_memory import SharedMemoryTransport
    identity = {IDENTITY!r}
    box = SharedMemoryTransport(
        rank=1, agents=2, payload_bytes={P * 4}, identity=identity, root=Path({str(root)!r})
    )
    def publish(version):
        fields = dict(rank=1, version=version, update=version, step=0, time=1.0)
        payload = torch.full(({P},), float(version)).view(torch.uint8)
        box.publish(sealed(Header(identity=identity, **fields), payload), payload)
    """
    code = textwrap.dedent(program) + textwrap.dedent(body)
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None and process.stdin is not None
        process.stdout.close()
        process.stdin.close()


def test_the_newest_message_wins(tmp_path: Path) -> None:
    a, b = transport(tmp_path, 0), transport(tmp_path, 1)
    assert b.version(0) == 0 and b.latest(0) is None
    for version in (1, 2, 3, 4, 5):
        publish(a, 0, version, float(version))
    received = b.latest(0)
    assert received is not None
    assert received[0].version == 5 and b.version(0) == 5
    assert a.copies_sent == 5 and a.copies([1, 0]) == [(1, 0)] and a.copies([]) == []
    assert torch.equal(values(received), torch.full((P,), 5.0))


def test_received_vectors_are_private_copies(tmp_path: Path) -> None:
    a, b = transport(tmp_path, 0), transport(tmp_path, 1)
    publish(a, 0, 1, 1.0)
    first = b.latest(0)
    for version in range(2, 2 + SLOTS):
        publish(a, 0, version, 0.0)
    assert torch.equal(values(first), torch.ones(P))


@pytest.mark.parametrize("word", [-1, 2**40, 2**63 - 1])
def test_steps_that_cannot_be_are_none(tmp_path: Path, word: int) -> None:
    a, b = transport(tmp_path, 0), transport(tmp_path, 1)
    publish(a, 0, 1, 1.0)
    assert b.steps(0) > 0
    a._own.words[shared_memory.STEP] = word
    assert b.steps(0) == 0


def test_a_torn_slot_is_never_returned(tmp_path: Path) -> None:
    a, b = transport(tmp_path, 0), transport(tmp_path, 1)
    publish(a, 0, 1, 1.0)
    mapped = b._peer(0)
    assert mapped is not None
    mapped.sequence[1][0] = 2 * 1 + 1  # the writer is inside this slot
    assert b.latest(0) is None
    mapped.sequence[1][0] = 2 * 1 + 2
    mapped.payload[1][500] = 7  # damaged behind the sequence word's back
    with pytest.raises(Refused) as refused:
        b.latest(0)
    assert refused.value.reason is Refusal.CHECKSUM


@pytest.mark.parametrize(
    ("field", "reason"), [("topology", Refusal.TOPOLOGY), ("layout", Refusal.LAYOUT)]
)
def test_messages_of_another_network_are_refused(
    tmp_path: Path, field: str, reason: Refusal
) -> None:
    other = Identity(**{"run": IDENTITY.run, "topology": IDENTITY.topology,
                        "layout": IDENTITY.layout, field: "ab" * 8})  # fmt: skip
    a, b = transport(tmp_path, 0, other), transport(tmp_path, 1)
    publish(a, 0, 1, 1.0, other)
    with pytest.raises(Refused) as refused:
        b.latest(0)
    assert refused.value.reason is reason


def test_a_mailbox_of_another_size_is_not_opened(tmp_path: Path) -> None:
    SharedMemoryTransport(rank=0, agents=2, payload_bytes=P * 100, identity=IDENTITY, root=tmp_path)
    b = transport(tmp_path, 1)
    assert b.latest(0) is None and b.state(0) is PeerState.JOINING


def test_acknowledgements_travel_back(tmp_path: Path) -> None:
    a, b = transport(tmp_path, 0), transport(tmp_path, 1)
    assert a.acknowledged(1) == 0
    b.acknowledge(0, 41)
    assert a.acknowledged(1) == 41


def test_states_of_a_peer_from_joining_to_left(tmp_path: Path) -> None:
    a = transport(tmp_path, 0)
    assert a.state(1) is PeerState.JOINING
    body = "print('ready', flush=True)\nsys.stdin.read()\nbox.close()"
    with owner(tmp_path, body) as process:
        assert a.state(1) is PeerState.JOINING, "nothing published yet"
        assert process.stdin is not None
        process.stdin.close()
        process.wait()
        assert a.state(1) is PeerState.LEFT


def test_a_killed_owner_is_down_and_its_last_message_stays(tmp_path: Path) -> None:
    a = transport(tmp_path, 0)
    with owner(tmp_path, "publish(3)\nprint('ready', flush=True)\nsys.stdin.read()") as process:
        assert a.state(1) is PeerState.ACTIVE
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert a.state(1) is PeerState.DOWN
        assert float(values(a.latest(1))[0]) == 3.0


def test_an_owner_whose_mailbox_was_deleted_is_gone_at_no_time(tmp_path: Path) -> None:
    """In lock-step who is gone is not waited for: one look between two files would cost a mix."""
    body = """
    publish(1)
    print('ready', flush=True)
    for line in sys.stdin:
        box._looked.clear()  # as after half a second
        publish(int(line))
        print('published', flush=True)
    """
    a = transport(tmp_path, 0)
    with owner(tmp_path, body) as process:
        assert process.stdin is not None and process.stdout is not None
        for version in range(2, 5):
            assert a.state(1) is PeerState.ACTIVE
            shared_memory.path_of(IDENTITY.run, 1, tmp_path).unlink()
            print(version, file=process.stdin, flush=True)
            assert process.stdout.readline() == "published\n"
            assert a.state(1) is PeerState.ACTIVE and a.version(1) == version


@pytest.mark.parametrize("known", [False, True])
def test_a_first_word_is_signed_before_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    """Who sees a version sees no agent that is yet to join, unless it has come back."""
    if known:
        publish(transport(tmp_path, 1), 1, 4, 1.0)
    b, seen = transport(tmp_path, 1), []
    whole = Mailbox.publish

    def watched(box: Mailbox, header: Header, payload: torch.Tensor) -> None:
        seen.append(PeerState(int(box.words[STATE])))
        whole(box, header, payload)

    monkeypatch.setattr(Mailbox, "publish", watched)
    publish(b, 1, 5, 1.0)
    publish(b, 1, 6, 1.0)
    assert seen == [PeerState.JOINING if known else PeerState.ACTIVE, PeerState.ACTIVE]


def test_who_looks_whether_an_owner_lives_takes_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader may be stopped at any moment: it would keep out an owner that comes back."""

    def fail(*arguments: object) -> None:
        raise AssertionError("a lock was asked for")

    path = shared_memory.path_of(IDENTITY.run, 1, tmp_path)
    with owner(tmp_path, "print('ready', flush=True)\nsys.stdin.read()") as process:
        monkeypatch.setattr("fcntl.lockf", fail)
        assert is_locked(path)
        process.kill()
        process.wait()
        assert path.exists() and not is_locked(path)


@pytest.mark.parametrize("victim", range(4))
def test_kills_in_the_middle_of_writes_tear_nothing(tmp_path: Path, victim: int) -> None:
    a = transport(tmp_path, 0)
    body = """
    print('ready', flush=True)
    version = 0
    while True:
        version += 1
        publish(version)
    """
    with owner(tmp_path, body) as process:
        while a.version(1) < 50 + 37 * victim:
            pass
        reads = 0
        for attempt in range(400):
            if attempt == 200:
                process.kill()
                process.wait()
            received = a.latest(1)
            if received is None:
                continue  # overtaken again and again
            assert bool((values(received) == float(received[0].version)).all())
            reads += 1
        assert reads >= 200  # after the kill nothing is overtaken


def test_leaving_removes_the_files(tmp_path: Path) -> None:
    a, b = transport(tmp_path, 0), transport(tmp_path, 1)
    a.close()
    assert b.state(0) in (PeerState.JOINING, PeerState.LEFT)
    b.close()
    assert list(tmp_path.iterdir()) == []


def test_sweep_removes_only_the_dead(tmp_path: Path) -> None:
    run = shared_memory.folder_of(IDENTITY.run, tmp_path)
    with owner(tmp_path, "print('ready', flush=True)\nsys.stdin.read()") as process:
        os.utime(run, (0, 0))
        assert shared_memory.sweep(tmp_path) == [] and run.exists()
        process.kill()
        process.wait()
        os.utime(run, (0, 0))
        assert shared_memory.sweep(tmp_path) == [run] and not run.exists()


def test_sweep_leaves_a_folder_that_is_being_filled(tmp_path: Path) -> None:
    run = shared_memory.folder_of(IDENTITY.run, tmp_path)
    run.mkdir()
    assert shared_memory.sweep(tmp_path) == [] and run.exists()


def test_more_agents_than_memory_holds_is_said_in_numbers() -> None:
    with pytest.raises(UserError, match=r"need .* MiB of shared memory.*at most \d+ agents fit"):
        shared_memory.check_room(payload_bytes=10**9, agents=10**6)
    shared_memory.check_room(payload_bytes=10, agents=2)


def test_no_memory_left_is_an_error_of_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no shared memory left|cannot create a mailbox") as error:
        SharedMemoryTransport(
            rank=0, agents=1, payload_bytes=2**50, identity=IDENTITY, root=tmp_path
        )
    assert "\n" not in str(error.value)
