"""Addresses: pages that were written are read, and nothing else is."""

from __future__ import annotations

import json
import socket
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gala.errors import UserError
from gala.gossip.message import Refusal, Refused
from gala.gossip.notes import Notes
from gala.gossip.tcp.addresses import Book, is_loopback, own_addresses
from gala.gossip.tcp.frames import MAX_BOOK_BYTES
from gala.gossip.tcp.guard import Unguarded
from gala.gossip.tcp.listener import listen, split
from gala.launch.pages import Page

RUN = "0123456789abcdef"
PAGE = Page(run=RUN, rank=1, incarnation=0, serial=5, addresses=(("10.0.0.1", 29500),))


def book(rank: int = 0, run: str = RUN) -> Book:
    return Book(run=run, rank=rank, agents=3, guard=Unguarded())


def line(page: Page) -> bytes:
    return json.dumps([page.text(), ""]).encode()


def test_agents_pass_on_what_others_said() -> None:
    first, second, third = (book(rank) for rank in range(3))
    first.write_own(0, (("10.0.0.1", 1), ("fd00::1", 1)))
    second.write_own(0, (("host-b", 2),))
    second.learn(first.pages(0)[0], Notes())
    third.learn(second.pages(0)[0], Notes())
    assert third.addresses(0) == (("10.0.0.1", 1), ("fd00::1", 1))
    assert third.addresses(1) == (("host-b", 2),) and third.addresses(2) == ()
    before = second.edition
    first.write_own(1, (("10.0.0.9", 1),))
    second.learn(first.pages(0)[0], Notes())
    assert second.pages(before)[0] and second.pages(second.edition) == (b"", second.edition)
    assert second.addresses(0) == (("10.0.0.9", 1),)


def test_a_book_larger_than_a_frame_is_told_in_several() -> None:
    agents = 700
    first, second = (Book(run=RUN, rank=rank, agents=agents, guard=Unguarded()) for rank in (0, 1))
    long = tuple((f"{'h' * 240}{k}", 1) for k in range(3))
    for rank in range(2, agents):
        first.enter(line(replace(PAGE, rank=rank, addresses=long)))
    told, frames = 0, 0
    while told < first.edition:
        body, told = first.pages(told)
        assert 0 < len(body) <= MAX_BOOK_BYTES
        second.learn(body, Notes())
        frames += 1
    assert 2 <= frames < 5
    assert all(second.addresses(rank) == long for rank in range(2, agents))


def test_an_older_page_changes_nothing() -> None:
    known = book()
    assert known.enter(line(PAGE))
    for old in (replace(PAGE, serial=4), PAGE, replace(PAGE, addresses=(("6.6.6.6", 6),))):
        assert not known.enter(line(old))
    assert known.addresses(1) == PAGE.addresses
    assert known.enter(line(replace(PAGE, incarnation=1, serial=0, addresses=())))


def test_nobody_else_says_where_this_agent_is() -> None:
    known = book(rank=1)
    assert not known.enter(line(PAGE)) and known.addresses(1) == ()


@pytest.mark.parametrize(
    ("damaged", "reason"),
    [
        (line(replace(PAGE, run="ab" * 8)), Refusal.RUN),
        (line(replace(PAGE, rank=3)), Refusal.RANK),
        (line(replace(PAGE, addresses=(("h", 0),))), Refusal.HEADER),
        (line(replace(PAGE, addresses=(("h" * 300, 1),))), Refusal.HEADER),
        (line(replace(PAGE, incarnation=2**40)), Refusal.HEADER),
        (b"[" * 4000, Refusal.HEADER),
        (b'["1", ""]', Refusal.HEADER),
        (b"\xff", Refusal.HEADER),
        (b" " * 5000 + line(PAGE), Refusal.HEADER),
    ],
)
def test_pages_that_cannot_be_are_refused(damaged: bytes, reason: Refusal) -> None:
    with pytest.raises(Refused) as caught:
        book().enter(damaged)
    assert caught.value.reason is reason


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=6),
    )
)
def test_whatever_is_in_a_page_it_is_read_or_refused(facts: object) -> None:
    known, notes = book(), Notes()
    known.learn(json.dumps([json.dumps(facts), ""]).encode(), notes)
    known.learn(json.dumps(facts).encode(), notes)
    assert all(known.addresses(rank) == () for rank in range(3))


def test_the_way_to_the_store_says_who_this_host_is() -> None:
    assert own_addresses("127.0.0.1") == ("127.0.0.1",)
    assert own_addresses("no.such.host.invalid") == ("127.0.0.1",)
    assert is_loopback("::1") and is_loopback("localhost") and not is_loopback("10.0.0.1")


@pytest.mark.parametrize(
    ("at", "host", "port"),
    [
        ("h", "h", 0), ("h:1", "h", 1), ("::1", "::1", 0), ("[::1]:80", "::1", 80),
        ("[::1]", "::1", 0),
    ],
)  # fmt: skip
def test_addresses_to_listen_at(at: str, host: str, port: int) -> None:
    assert split(at) == (host, port)


@pytest.mark.parametrize("at", ["", ":1", "h:x", "h:70000"])
def test_what_is_no_address_is_a_line(at: str) -> None:
    with pytest.raises(UserError, match="--listen"):
        listen(at, ("127.0.0.1",))


def test_loopback_only_stays_inside() -> None:
    for each in listen(None, ("127.0.0.1",)) + listen("localhost:0", ("10.0.0.1",)):
        assert is_loopback(each.getsockname()[0])
        each.close()
    (wide,) = listen(None, ("10.0.0.1",))
    with socket.create_connection(("127.0.0.1", wide.getsockname()[1]), 5):
        wide.close()
