"""Edges over gloo: real sockets, real threads, real processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace

import pytest
import torch
import torch.distributed as dist
from fake_transport import identity

from gala.gossip import message, network
from gala.gossip.membership import PeerState
from gala.gossip.message import Header, Identity
from gala.gossip.network import Endpoint, NetworkTransport
from gala.launch.rendezvous import Rendezvous

P = 1001


@pytest.fixture
def store() -> dist.TCPStore:
    return dist.TCPStore("127.0.0.1", 0, None, True, wait_for_workers=False)


@pytest.fixture
def open_transport(
    store: dist.TCPStore, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., NetworkTransport]]:
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    opened = []

    def open_(rank: int, *, who: Identity | None = None, **options: object) -> NetworkTransport:
        connect = lambda: dist.TCPStore("127.0.0.1", store.port, None, False)  # noqa: E731
        rendezvous = Rendezvous(connect(), connect)
        settings = {"host": "here", "incarnation": 0, "answers": False, "nearby": False} | options
        peers = settings.pop("peers", [1 - rank])
        endpoint = Endpoint(
            rank=rank, agents=1 + len(peers), incarnation=settings.pop("incarnation"),
            host=settings.pop("host"), rendezvous=rendezvous,
        )  # fmt: skip
        size = settings.pop("payload_bytes", P * 4)
        transport = NetworkTransport(
            endpoint=endpoint, in_neighbours=peers, out_neighbours=peers, payload_bytes=size,
            identity=who or identity(), **settings,
        )  # fmt: skip
        opened.append(transport)
        return transport

    yield open_
    for transport in opened:
        transport.close()


def publish(
    box: NetworkTransport,
    rank: int,
    version: int,
    value: float,
    who: Identity | None = None,
    to: Collection[int] | None = None,
) -> None:
    payload = torch.full((P,), value).view(torch.uint8)
    update = version % message.VERSIONS_PER_INCARNATION
    header = Header(
        identity=who or identity(), rank=rank, version=version, update=update,
        step=8 * update, time=1.0,
    )  # fmt: skip
    box.publish(message.sealed(header, payload), payload, to)


def eventually(condition: Callable[[], bool], box: NetworkTransport) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        problems = [e.problem for e in (*box._in.values(), *box._out.values())]
        assert time.monotonic() < deadline, f"did not happen in time: {problems}"
        time.sleep(0.002)


def test_messages_arrive_and_the_newest_wins(
    open_transport: Callable[..., NetworkTransport],
) -> None:
    a, b = open_transport(0), open_transport(1)
    assert b.version(0) == 0 and b.latest(0) is None and b.state(0) is PeerState.JOINING
    for version in range(1, 50):
        publish(a, 0, version, float(version))
    eventually(lambda: b.version(0) == 49, b)
    received = b.latest(0)
    assert received is not None and received[0].version == 49
    assert torch.equal(received[1].view(torch.float32), torch.full((P,), 49.0))
    assert b.state(0) is PeerState.ACTIVE and b.steps(0) == 8 * 49
    publish(b, 1, 1, 0.5)
    eventually(lambda: a.version(1) == 1, a)


def test_steps_that_cannot_be_are_not_passed_on(
    open_transport: Callable[..., NetworkTransport],
) -> None:
    a, b = open_transport(0), open_transport(1)
    a._steps[1] = 2**50
    publish(a, 0, 1, 1.0)
    eventually(lambda: b.version(0) == 1, b)
    assert b.steps(0) == 8 and b.steps(1) == 0


def test_answers_say_what_was_taken(open_transport: Callable[..., NetworkTransport]) -> None:
    a, b = open_transport(0, answers=True), open_transport(1, answers=True)
    for version in range(1, 20):
        publish(a, 0, version, 1.0)
        eventually(lambda v=version: b.version(0) == v, b)
        assert a.acknowledged(1) == version - 1
        b.acknowledge(0, version)
        eventually(lambda v=version: a.acknowledged(1) == v, a)


def test_an_end_that_says_nothing_for_long_is_given_up_and_formed_anew(
    open_transport: Callable[..., NetworkTransport], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that lost its power says no goodbye, and comes back."""
    monkeypatch.setattr(network, "HEARTBEAT_S", 0.05)
    monkeypatch.setattr(network, "SILENCE_S", 1.0)
    a, b = open_transport(0, answers=True), open_transport(1, answers=True)
    publish(a, 0, 1, 1.0)
    eventually(lambda: b.version(0) == 1, b)
    with b._in[0].condition:  # whoever answers needs it
        eventually(lambda: a._out[1].state is PeerState.DOWN, a)
    b.acknowledge(0, 1)
    publish(a, 0, 2, 2.0)
    eventually(lambda: b.version(0) == 2, b)
    b.acknowledge(0, 2)
    eventually(lambda: a.acknowledged(1) == 2, a)


def test_bye_is_received(open_transport: Callable[..., NetworkTransport]) -> None:
    a, b = open_transport(0), open_transport(1)
    publish(a, 0, 1, 1.0)
    eventually(lambda: b.version(0) == 1, b)
    publish(a, 0, 2, 2.0)
    a.close()
    eventually(lambda: b.state(0) is PeerState.LEFT, b)
    assert b.version(0) == 2, "what was published last arrives before the goodbye"


def test_another_network_never_connects(open_transport: Callable[..., NetworkTransport]) -> None:
    other = replace(identity(), layout="ab" * 8)
    a, b = open_transport(0, who=other, payload_bytes=P * 400), open_transport(1)
    publish(b, 1, 1, 1.0)
    time.sleep(0.5)  # nothing to wait for: nothing may happen
    assert a.version(1) == 0 and b.state(0) is PeerState.JOINING


def test_neighbours_on_the_same_host_are_left_to_others(
    open_transport: Callable[..., NetworkTransport],
) -> None:
    a, b = open_transport(0, nearby=True), open_transport(1, nearby=True)
    eventually(lambda: a.local == {1} and b.local == {0}, a)
    publish(a, 0, 1, 1.0)
    assert b.version(0) == 0


def test_a_new_incarnation_is_received_again(
    open_transport: Callable[..., NetworkTransport],
) -> None:
    a, b = open_transport(0), open_transport(1)
    publish(a, 0, 1, 1.0)
    eventually(lambda: b.version(0) == 1, b)
    a.close()
    again = open_transport(0, incarnation=1)
    publish(again, 0, message.VERSIONS_PER_INCARNATION + 1, 2.0)
    eventually(lambda: b.version(0) == message.VERSIONS_PER_INCARNATION + 1, b)
    publish(b, 1, 1, 3.0)
    eventually(lambda: again.version(1) == 1, again)


def test_copies_go_to_those_alone_whom_they_are_for_and_each_is_counted(
    open_transport: Callable[..., NetworkTransport],
) -> None:
    a, b, c = (open_transport(i, peers=[j for j in range(3) if j != i]) for i in range(3))
    assert a.copies([2, 1]) == [(2,), (1,)] and a.copies([]) == []
    publish(a, 0, 1, 1.0)
    eventually(lambda: b.version(0) == c.version(0) == 1, a)
    publish(a, 0, 2, 2.0, to=[2])
    eventually(lambda: c.version(0) == 2, c)
    publish(a, 0, 3, 3.0, to=[1])
    eventually(lambda: b.version(0) == 3, b)
    assert c.version(0) == 2, "version 3 was not for agent 2"
    received = c.latest(0)
    assert received is not None and received[1].view(torch.float32)[0] == 2.0
    eventually(lambda: a.copies_sent == 4, a)  # counted once they have left


def test_what_does_not_leave_is_not_counted(
    open_transport: Callable[..., NetworkTransport],
) -> None:
    a = open_transport(0, peers=[1, 2])  # agent 2 is not there
    for version in range(1, 30):
        publish(a, 0, version, float(version))
    assert a.copies_sent == 0
    b = open_transport(1, peers=[0, 2])
    eventually(lambda: b.version(0) == 29, b)
    eventually(lambda: a.copies_sent == 1, a)  # the newest alone, and to agent 1 alone
