"""Whatever comes over a connection: nothing of it is believed, nobody is down, nothing is left."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from edges import IDENTITY, Open, P, eventually, opening, values
from hypothesis import given, settings
from hypothesis import strategies as st

from gala.gossip import message
from gala.gossip.membership import PeerState
from gala.gossip.message import Header, Refusal
from gala.gossip.notes import Notes
from gala.gossip.tcp import exchange, listener
from gala.gossip.tcp.frames import Frame, framed
from gala.gossip.tcp.hello import Hello, Rejected, hear_hello, say_hello
from gala.gossip.tcp.transport import TcpTransport
from gala.launch.framing import PREFIX

lives = itertools.count(1)
HELLO = Hello(
    identity=IDENTITY, rank=0, agents=2, incarnation=0, payload_bytes=4 * P, host=bytes(16),
    port=9, answers=False,
)  # fmt: skip


class Victim:
    """Agent 1, and what it has to tell."""

    def __init__(self, box: TcpTransport, notes: Notes) -> None:
        self.box, self.notes = box, notes
        self.port = box._port

    def dial(self) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", self.port), 10)
        sock.settimeout(20)
        return sock

    @contextmanager
    def as_agent(self, hello: Hello = HELLO) -> Iterator[socket.socket]:
        """A connection that has said a good hello: all that it sends comes from a neighbour."""
        with self.dial() as sock:
            say_hello(sock, hello, time.monotonic() + 10)
            hear_hello(sock, time.monotonic() + 10)
            yield sock


@pytest.fixture
def victim(open_transport: Open) -> Victim:
    notes = Notes()
    return Victim(open_transport(1, notes=notes), notes)


@pytest.fixture(scope="module")
def module_victim() -> Iterator[Victim]:
    store = dist.TCPStore("127.0.0.1", 0, None, True, wait_for_workers=False)
    notes = Notes()
    with opening(store.port) as open_:
        yield Victim(open_(1, notes=notes), notes)


def ends(sock: socket.socket) -> bool:
    """Whether the other end closes, whatever it says before."""
    try:
        while sock.recv(2**16):
            pass
    except ConnectionError:
        pass
    return True


def a_message(version: int, value: float = 1.0, **changes: object) -> bytes:
    payload = torch.full((P,), value).view(torch.uint8)
    fields = {"identity": IDENTITY, "rank": 0, "version": version, "update": version, "step": 0,
              "time": 1.0}  # fmt: skip
    header = message.sealed(Header(**(fields | changes)), payload)
    head = header.pack() + bytes(16)
    return framed(Frame.DATA, head, payload_bytes=4 * P) + payload.numpy().tobytes()


def still_hears(victim: Victim, value: float = 5.0) -> None:
    """A true agent 0 is heard: nobody is down."""
    life = next(lives)
    with victim.as_agent(replace(HELLO, incarnation=life)) as sock:
        sock.sendall(a_message(10**6 + life, value, incarnation=life))
        eventually(lambda: victim.box.version(0) == 10**6 + life)
        assert torch.equal(values(victim.box, 0), torch.full((P,), value))
    eventually(lambda: victim.box._peers[0].link is None)


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (PREFIX.pack(2**32 - 1, Frame.DATA), Refusal.SIZE),
        (PREFIX.pack(8, Frame.HELLO), Refusal.SIZE),
        (PREFIX.pack(0, 200), Refusal.SIZE),
        (a_message(2**62), Refusal.NUMBERS),
        (a_message(3) + a_message(3), Refusal.REPLAY),
        (a_message(3) + a_message(2), Refusal.REPLAY),
        (a_message(3, incarnation=4), Refusal.REPLAY),
        (a_message(3, rank=1), Refusal.RANK),
        (framed(Frame.ALIVE, struct.pack("<2q", 0, -1)), Refusal.NUMBERS),
        (framed(Frame.ALIVE, struct.pack("<2q", 2**62, 0)), Refusal.NUMBERS),
        (framed(Frame.TAKEN, b"\xff" * 8), Refusal.NUMBERS),
    ],
)
def test_what_an_agent_may_not_send_ends_its_connection(
    victim: Victim, sent: bytes, reason: Refusal
) -> None:
    with victim.as_agent() as sock:
        sock.sendall(sent)
        assert ends(sock)
    eventually(lambda: victim.notes.refused[reason] > 0)
    assert victim.box.version(0) in (0, 3) and victim.box.steps(1) == 0
    still_hears(victim)


def test_a_damaged_payload_is_refused_and_the_next_one_taken(victim: Victim) -> None:
    with victim.as_agent() as sock:
        damaged = bytearray(a_message(1))
        damaged[-7] ^= 16
        sock.sendall(damaged)
        eventually(lambda: victim.box.version(0) == 1)
        with pytest.raises(message.Refused, match="damaged payload"):
            victim.box.latest(0)
        sock.sendall(a_message(2, 2.0))
        eventually(lambda: victim.box.version(0) == 2)
        assert torch.equal(values(victim.box, 0), torch.full((P,), 2.0))


def test_a_message_that_is_cut_short_is_none(victim: Victim) -> None:
    with victim.as_agent() as sock:
        sock.sendall(a_message(1)[:-1])
        eventually(lambda: victim.box._peers[0].link is not None)
    eventually(lambda: victim.box._peers[0].link is None)
    assert victim.box.version(0) == 0 and victim.box.latest(0) is None
    still_hears(victim)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"rank": 1}, Refusal.RANK),
        ({"rank": 2**32 - 1}, Refusal.RANK),
        ({"agents": 3}, Refusal.TOPOLOGY),
        ({"payload_bytes": 2**63}, Refusal.SIZE),
        ({"incarnation": 2**31}, Refusal.NUMBERS),
    ],
)
def test_a_hello_that_cannot_be_gets_a_reason(
    victim: Victim, changes: dict[str, int], reason: Refusal
) -> None:
    with pytest.raises(Rejected, match=reason.name), victim.as_agent(replace(HELLO, **changes)):
        pass
    assert victim.notes.refused[reason] == 1


@settings(max_examples=150, deadline=None)
@given(
    good=st.integers(0, 2),
    # bits of prefix, header and checksum; behind them are zeros, then the steps of others
    flips=st.sets(st.tuples(st.integers(0, 120), st.integers(0, 7)), min_size=1, max_size=3),
)
def test_mutated_frames_change_nothing(
    module_victim: Victim, good: int, flips: set[tuple[int, int]]
) -> None:
    """What a neighbour sends after its hello."""
    victim, life = module_victim, next(lives)
    sent = b"".join(a_message(version, 7.0, incarnation=life) for version in range(1, good + 1))
    frame = bytearray(a_message(good + 1, 666.0, incarnation=life))
    for place, bit in flips:
        frame[place] ^= 1 << bit
    hello = replace(HELLO, incarnation=life)
    with victim.as_agent(hello) as sock, contextlib.suppress(OSError):
        sock.sendall(sent + frame)
        sock.shutdown(socket.SHUT_WR)
        ends(sock)
    eventually(lambda: victim.box._peers[0].link is None)
    assert victim.box.version(0) <= good
    if victim.box.version(0):
        assert torch.equal(values(victim.box, 0), torch.full((P,), 7.0))


@settings(max_examples=150, deadline=None)
@given(words=st.binary(max_size=300))
def test_noise_at_the_door_changes_nothing(module_victim: Victim, words: bytes) -> None:
    with module_victim.dial() as sock, contextlib.suppress(OSError):
        sock.sendall(words)
        sock.shutdown(socket.SHUT_WR)
        ends(sock)


def test_nothing_is_left_of_all_that(module_victim: Victim) -> None:
    victim = module_victim
    still_hears(victim)
    threads, files = threading.active_count(), len(os.listdir("/proc/self/fd"))
    dice = random.Random(0)
    for _ in range(60):
        with victim.dial() as sock, contextlib.suppress(OSError):
            sock.sendall(dice.randbytes(16))
    eventually(lambda: len(victim.box._listener._pending) == 0)
    eventually(lambda: threading.active_count() <= threads)
    eventually(lambda: len(os.listdir("/proc/self/fd")) <= files)
    still_hears(victim)


def mutated(dice: random.Random, life: int) -> bytes:
    """A frame that a neighbour may send, after something happened to it; noise now and then."""
    good = dice.choice([
        a_message(1, 666.0, incarnation=life),
        framed(Frame.ALIVE, struct.pack("<2q", 1, 1)),
        framed(Frame.TAKEN, struct.pack("<q", 1)),
        framed(Frame.BOOK, b'["[]", ""]'),
        framed(Frame.HELLO, replace(HELLO, incarnation=life).pack()),
        framed(Frame.ASKS),
        framed(Frame.BYE),
        dice.randbytes(dice.randrange(200)),
    ])  # fmt: skip
    frame = bytearray(good)
    # bits of prefix, header and checksum: what lies behind them is padding and payload
    bits = 8 * min(len(frame), 121)
    for place in dice.sample(range(bits), min(bits, dice.randrange(1, 4))):
        frame[place // 8] ^= 1 << place % 8
    cut = dice.randrange(4) == 0
    return bytes(frame[: dice.randrange(len(frame) + 1)] if cut else frame * dice.choice([1, 1, 2]))


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_hundred_thousand_mutated_frames(victim: Victim) -> None:
    dice = random.Random(1)
    still_hears(victim)
    threads, files = threading.active_count(), len(os.listdir("/proc/self/fd"))
    before = 0
    for count in range(100_000):
        if count == 10_000:
            before = resident()
        life = next(lives)
        known = dice.randrange(2) == 0  # else it is the first that is heard of whoever dials
        door = victim.as_agent(replace(HELLO, incarnation=life)) if known else victim.dial()
        with door as sock, contextlib.suppress(OSError):
            sock.sendall(mutated(dice, life))
            sock.shutdown(socket.SHUT_WR)
            ends(sock)
        taken = victim.box.latest(0)
        assert taken is None or not torch.equal(
            taken[1].view(torch.float32), torch.full((P,), 666.0)
        )
    still_hears(victim)
    eventually(lambda: threading.active_count() <= threads)
    eventually(lambda: len(os.listdir("/proc/self/fd")) <= files)
    assert resident() - before < 16 * 2**20


def test_who_dawdles_at_the_door_is_shown_out(
    victim: Victim, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A byte now and then is no reason to be waited for."""
    monkeypatch.setattr(exchange, "HELLO_S", 0.5)
    hello, began = framed(Frame.HELLO, HELLO.pack()), time.monotonic()
    with victim.dial() as sock, contextlib.suppress(OSError):
        for byte in hello:
            sock.sendall(bytes([byte]))
            time.sleep(0.05)  # the dawdling itself
        ends(sock)
    assert time.monotonic() - began < 0.05 * len(hello) + 5
    eventually(lambda: victim.notes.refused[Refusal.STRANGER] == 1)
    assert victim.box.state(0) is PeerState.JOINING


def test_a_crowd_at_the_door_keeps_nobody_out(victim: Victim) -> None:
    crowd = [victim.dial() for _ in range(2 * listener.MAX_PENDING)]
    eventually(lambda: len(victim.box._listener._pending) <= listener.MAX_PENDING)
    still_hears(victim)
    for sock in crowd:
        sock.close()
