"""Frames over a pair of sockets: whole ones come through, others end the connection unread."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gala.gossip.message import HEADER_BYTES, Refusal, Refused
from gala.gossip.tcp.channel import Channel
from gala.gossip.tcp.frames import MAX_BOOK_BYTES, Frame, Limits, framed
from gala.launch.framing import PREFIX

PAYLOAD = 3000
LIMITS = Limits(agents=2, payload_bytes=PAYLOAD, data=True)
HEAD = bytes(HEADER_BYTES + 16)


class End:
    """One end of a connection that keeps what it takes."""

    def __init__(self, sock: socket.socket, limits: Limits = LIMITS) -> None:
        self.memory = bytearray(limits.payload_bytes)
        self.frames: list[tuple[Frame, bytes, bytes]] = []
        self.channel = Channel(sock, limits, lambda: memoryview(self.memory), self._take)

    def _take(self, frame: Frame, body: bytes) -> None:
        payload = bytes(self.memory) if frame is Frame.DATA else b""
        self.frames.append((frame, body, payload))


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, End]]:
    ours, theirs = socket.socketpair()
    yield ours, End(theirs)
    ours.close()
    theirs.close()


Sent = list[tuple[Frame, bytes, bytes]]
FRAMES = st.one_of(
    st.just((Frame.ALIVE, bytes(16), b"")),
    st.just((Frame.BYE, b"", b"")),
    st.tuples(st.just(Frame.TAKEN), st.binary(min_size=8, max_size=8), st.just(b"")),
    st.tuples(st.just(Frame.BOOK), st.binary(max_size=40), st.just(b"")),
    st.tuples(
        st.just(Frame.DATA), st.just(HEAD), st.integers(0, 255).map(lambda n: bytes([n]) * PAYLOAD)
    ),
)  # fmt: skip


@given(sent=st.lists(FRAMES, max_size=6), cuts=st.lists(st.integers(1, 4000), max_size=20))
def test_frames_come_through_however_they_are_cut(sent: Sent, cuts: list[int]) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        end = End(theirs)
        stream = b"".join(
            framed(kind, body, payload_bytes=len(payload)) + payload for kind, body, payload in sent
        )
        for size in [*cuts, len(stream)]:
            ours.sendall(stream[:size])
            stream = stream[size:]
            end.channel.receive()
        assert end.frames == sent


@given(kind=st.integers(0, 255), size=st.integers(0, 2**32 - 1))
def test_a_size_that_its_kind_does_not_have_is_refused_before_the_body(
    kind: int, size: int
) -> None:
    right = {3: len(HEAD) + PAYLOAD, 4: 16, 5: 8, 7: 0}
    good = size == right.get(kind) or (kind == 6 and size <= MAX_BOOK_BYTES)
    try:
        frame, taken = LIMITS.check(PREFIX.pack(size, kind))
        assert good and (frame, taken) == (kind, size)
    except Refused as refused:
        assert not good and refused.reason is Refusal.SIZE


def test_nobody_is_sent_messages_that_are_not_wanted() -> None:
    limits = Limits(agents=2, payload_bytes=PAYLOAD, data=False)
    with pytest.raises(Refused):
        limits.check(PREFIX.pack(len(HEAD) + PAYLOAD, Frame.DATA))


def test_the_end_of_a_connection_is_no_frame(pair: tuple[socket.socket, End]) -> None:
    ours, end = pair
    ours.sendall(framed(Frame.TAKEN, bytes(8)) + framed(Frame.TAKEN, bytes(8))[:9])
    ours.close()
    with pytest.raises(ConnectionResetError):
        while True:
            end.channel.receive()
    assert end.frames == [(Frame.TAKEN, bytes(8), b"")]


def test_what_the_network_does_not_take_now_is_sent_later(
    pair: tuple[socket.socket, End],
) -> None:
    ours, end = pair
    sent = b"".join(bytes([n]) * 100_000 for n in range(20))
    end.channel.send(b"", sent[:7], memoryview(sent)[7:])
    found = bytearray()
    ours.setblocking(False)
    while end.channel.sending:
        end.channel.flush()
        while True:
            try:
                found += ours.recv(2**16)
            except BlockingIOError:
                break
    assert bytes(found) == sent
