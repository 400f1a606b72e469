"""The thread of one connection: what it sends without being asked again."""

from __future__ import annotations

import socket
import threading

import numpy as np
import pytest
from edges import IDENTITY

from gala.gossip.notes import Notes
from gala.gossip.tcp import addresses, link
from gala.gossip.tcp.addresses import Book
from gala.gossip.tcp.channel import Channel
from gala.gossip.tcp.frames import Frame, Limits
from gala.gossip.tcp.guard import Unguarded
from gala.gossip.tcp.link import Link, Shared
from gala.gossip.tcp.peer import Peer

AGENTS = 200


def book(rank: int) -> Book:
    return Book(run=IDENTITY.run, rank=rank, agents=AGENTS, guard=Unguarded())


def test_a_large_book_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frame after frame, without waiting for the next beat of the heart between them."""
    monkeypatch.setattr(link, "HEARTBEAT_S", 10_000.0)
    monkeypatch.setattr(link, "MAX_SILENCE_S", 10_000.0)
    monkeypatch.setattr(link, "SLACK_S", 10_000.0)
    monkeypatch.setattr(addresses, "MAX_BOOK_BYTES", 4096)
    known, heard = book(0), book(1)
    for rank in range(2, AGENTS):
        known.enter(book(rank).write_own(0, ((f"10.0.0.{rank}", 4000 + rank),)).encode())
    limits = Limits(agents=AGENTS, payload_bytes=4, data=True)
    shared = Shared(
        identity=IDENTITY, limits=limits, lock_step=False, steps=np.zeros(AGENTS, np.int64),
        book=known, notes=Notes(), closing=lambda: False,
    )  # fmt: skip
    mine, theirs = socket.socketpair()
    peer = Peer(1, inbound=True, outbound=True, payload_bytes=4)
    sender = Link(mine, peer, shared, incarnation=0, preferred=True)
    thread = threading.Thread(target=sender.run, daemon=True)
    frames = []

    def take(frame: Frame, body: bytes) -> None:
        frames.append(frame)
        heard.learn(body, Notes())

    other = Channel(theirs, limits, lambda: memoryview(b""), take)
    thread.start()
    while not all(heard.addresses(rank) for rank in range(2, AGENTS)):
        theirs.settimeout(30)
        assert theirs.recv(1, socket.MSG_PEEK)
        theirs.setblocking(False)
        other.receive()
    sender.cut()
    thread.join(30)
    other.close()
    assert len(frames) > 2 and set(frames) == {Frame.BOOK}
