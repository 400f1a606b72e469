"""Edges over sockets of our own: real sockets, real threads."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest
import torch
from edges import IDENTITY, Open, P, eventually, publish, values

from gala.gossip.membership import PeerState
from gala.gossip.message import VERSIONS_PER_INCARNATION, Refusal
from gala.gossip.notes import Notes
from gala.launch.pages import Page


def test_messages_arrive_and_the_newest_wins(open_transport: Open) -> None:
    a, b = open_transport(0), open_transport(1)
    assert b.version(0) == 0 and b.latest(0) is None and b.state(0) is PeerState.JOINING
    for version in range(1, 50):
        publish(a, 0, version, float(version))
    eventually(lambda: b.version(0) == 49)
    received = b.latest(0)
    assert received is not None and received[0].version == 49
    assert torch.equal(values(b, 0), torch.full((P,), 49.0))
    assert b.state(0) is PeerState.ACTIVE and b.steps(0) == 8 * 49
    publish(b, 1, 1, 0.5)
    eventually(lambda: a.version(1) == 1)


def test_a_message_is_left_alone_until_the_next_look(open_transport: Open) -> None:
    a, b = open_transport(0), open_transport(1)
    publish(a, 0, 1, 1.0)
    eventually(lambda: b.version(0) == 1)
    held = values(b, 0)
    for version in range(2, 40):
        publish(a, 0, version, float(version))
        eventually(lambda v=version: b.version(0) == v)
    assert torch.equal(held, torch.full((P,), 1.0))
    assert torch.equal(values(b, 0), torch.full((P,), 39.0))


def test_large_messages_pass_in_both_directions_at_once(open_transport: Open) -> None:
    parameters = 1_700_000
    a, b = (open_transport(rank, payload_bytes=4 * parameters) for rank in range(2))
    for version in range(1, 4):
        publish(a, 0, version, 1.0 * version, parameters=parameters)
        publish(b, 1, version, 2.0 * version, parameters=parameters)
        eventually(lambda v=version: a.version(1) == v and b.version(0) == v)
    assert torch.equal(values(a, 1), torch.full((parameters,), 6.0))
    assert torch.equal(values(b, 0), torch.full((parameters,), 3.0))
    assert a.copies_sent == b.copies_sent == 3


def test_answers_say_what_was_taken(open_transport: Open) -> None:
    a, b = open_transport(0, answers=True), open_transport(1, answers=True)
    for version in range(1, 20):
        publish(a, 0, version)
        eventually(lambda v=version: b.version(0) == v)
        assert a.acknowledged(1) == version - 1
        b.acknowledge(0, version)
        eventually(lambda v=version: a.acknowledged(1) == v)


def test_what_was_published_last_arrives_before_the_goodbye(
    open_transport: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("link", "transport"):
        monkeypatch.setattr(f"gala.gossip.tcp.{place}.GOODBYE_S", 40.0)
    a, b = open_transport(0), open_transport(1)
    publish(a, 0, 1)
    eventually(lambda: b.version(0) == 1)
    publish(a, 0, 2, 2.0)
    began = time.monotonic()
    a.close()
    assert time.monotonic() - began < 20.0, "the other end says that it has read the goodbye"
    eventually(lambda: b.state(0) is PeerState.LEFT)
    assert b.version(0) == 2


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"identity": replace(IDENTITY, layout="ab" * 8)}, Refusal.LAYOUT),
        ({"identity": replace(IDENTITY, topology="ab" * 8)}, Refusal.TOPOLOGY),
        ({"identity": replace(IDENTITY, wire=2)}, Refusal.DTYPE),
        ({"payload_bytes": P * 400}, Refusal.SIZE),
        ({"answers": True}, Refusal.TOPOLOGY),
    ],
)
def test_who_mixes_something_else_is_refused_and_both_say_so(
    open_transport: Open, options: dict[str, object], reason: Refusal
) -> None:
    ours, theirs = Notes(), Notes()
    a, b = open_transport(0, notes=ours), open_transport(1, notes=theirs, **options)
    publish(a, 0, 1)
    eventually(lambda: ours.refused[reason] > 0 or theirs.refused[reason] > 0)
    eventually(lambda: bool(ours.events) and bool(theirs.events))
    assert all(reason in text for _, text in (*ours.events, *theirs.events))
    assert b.version(0) == 0 and b.state(0) is a.state(1) is PeerState.JOINING


def test_neighbours_on_the_same_host_are_left_to_others(open_transport: Open) -> None:
    a, b = open_transport(0, nearby=True), open_transport(1, nearby=True)
    eventually(lambda: a.local == {1} and b.local == {0})
    c = open_transport(0, nearby=True, host="another", incarnation=1)
    publish(a, 0, 1)
    assert b.version(0) == 0 and c.local == set()


def test_a_new_incarnation_is_received_again(open_transport: Open) -> None:
    a, b = open_transport(0), open_transport(1)
    publish(a, 0, 1)
    eventually(lambda: b.version(0) == 1)
    a.close()
    again = open_transport(0, incarnation=1)
    publish(again, 0, VERSIONS_PER_INCARNATION + 1, 2.0)
    eventually(lambda: b.version(0) == VERSIONS_PER_INCARNATION + 1)
    publish(b, 1, 1, 3.0)
    eventually(lambda: again.version(1) == 1)


def test_a_life_that_is_over_does_not_push_out_the_one_after(open_transport: Open) -> None:
    a, b = open_transport(0, incarnation=1), open_transport(1)
    publish(a, 0, VERSIONS_PER_INCARNATION + 1, 2.0)
    eventually(lambda: b.version(0) == VERSIONS_PER_INCARNATION + 1)
    before = open_transport(0)
    publish(before, 0, 9, 9.0)
    publish(a, 0, VERSIONS_PER_INCARNATION + 2, 3.0)
    eventually(lambda: b.version(0) == VERSIONS_PER_INCARNATION + 2)
    assert torch.equal(values(b, 0), torch.full((P,), 3.0))


def test_copies_go_to_those_alone_whom_they_are_for_and_each_is_counted(
    open_transport: Open,
) -> None:
    a, b, c = (open_transport(rank, agents=3) for rank in range(3))
    assert a.copies([2, 1]) == [(2,), (1,)] and a.copies([]) == []
    publish(a, 0, 1)
    eventually(lambda: b.version(0) == c.version(0) == 1)
    publish(a, 0, 2, 2.0, to=[2])
    eventually(lambda: c.version(0) == 2)
    publish(a, 0, 3, 3.0, to=[1])
    eventually(lambda: b.version(0) == 3)
    assert c.version(0) == 2 and values(c, 0)[0] == 2.0, "version 3 was not for agent 2"
    eventually(lambda: a.copies_sent == 4)  # counted once they have left


def test_what_does_not_leave_is_not_counted(open_transport: Open) -> None:
    a = open_transport(0, agents=3)  # agent 2 is not there
    for version in range(1, 30):
        publish(a, 0, version, float(version))
    assert a.copies_sent == 0
    b = open_transport(1, agents=3)
    eventually(lambda: b.version(0) == 29)
    eventually(lambda: a.copies_sent == 1)  # the newest alone, and to agent 1 alone


def test_many_addresses_pass_over_a_connection(open_transport: Open) -> None:
    """More than one frame carries: while messages go on, and no later than a heartbeat."""
    agents = 600
    a, b = (open_transport(rank, agents=agents, peers=[1 - rank]) for rank in (0, 1))
    long = tuple((f"{'h' * 240}{k}", 1) for k in range(3))
    for rank in range(2, agents):
        page = Page(run=IDENTITY.run, rank=rank, incarnation=0, serial=1, addresses=long)
        a.book.enter(json.dumps([page.text(), ""]).encode())
    publish(a, 0, 1)
    eventually(lambda: all(b.book.addresses(rank) == long for rank in range(2, agents)))
    publish(a, 0, 2)
    eventually(lambda: b.version(0) == 2)


def test_one_way_edges_use_the_same_connection(open_transport: Open) -> None:
    a = open_transport(0, in_neighbours=[], out_neighbours=[1])
    b = open_transport(1, in_neighbours=[0], out_neighbours=[])
    publish(a, 0, 1)
    publish(b, 1, 1)
    eventually(lambda: b.version(0) == 1)
    assert a.version(1) == 0 and b.copies_sent == 0
    eventually(lambda: a.state(1) is PeerState.ACTIVE)
