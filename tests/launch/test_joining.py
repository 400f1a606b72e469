"""What an agent tells whoever joins through it, and how much of that is believed."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

from gala.errors import UserError
from gala.launch import joining
from gala.launch.authority import derive
from gala.launch.credentials import Credentials
from gala.launch.environment import JOIN, STORE_VARIABLE, agents_at, check_agents
from gala.launch.framing import PREFIX
from gala.launch.joining import answer, join, pages_key
from gala.launch.launch import open_rendezvous
from gala.launch.pages import MAX_PAGE_BYTES, Page, parse_signed, signed_page

OURS = Credentials(derive(b"correct horse battery staple"))
THEIRS = Credentials(derive(b"another secret, as long"))
RUN = "aa" * 8


def page(rank: int, incarnation: int, by: Credentials = OURS) -> str:
    said = Page(run=RUN, rank=rank, incarnation=incarnation, serial=1, addresses=(("h", 29500),))
    return signed_page(said, by.sign(said.text().encode()))


def serve(reply: bytes | Callable[[socket.socket], None]) -> tuple[str, socket.socket]:
    """Answers one caller; the address, and what listens."""
    listening = socket.create_server(("127.0.0.1", 0))

    def talk() -> None:
        connection, _ = listening.accept()
        with connection:
            if callable(reply):
                return reply(connection)
            assert connection.recv(PREFIX.size) == PREFIX.pack(0, joining.ASKS)
            connection.sendall(reply)

    threading.Thread(target=talk, daemon=True).start()
    return f"127.0.0.1:{listening.getsockname()[1]}", listening


def encrypted(guard: Credentials, reply: bytes) -> Callable[[socket.socket], None]:
    def talk(plain: socket.socket) -> None:
        with guard.as_server(plain) as sock:
            try:
                assert sock.recv(PREFIX.size)
                sock.sendall(reply)
            except OSError:  # whoever dialled does not belong to the run
                return

    return talk


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("host:29500", [("host", 29500)]),
        ("[fd77::1]:1", [("fd77::1", 1)]),
        ("a:1,10.0.0.2:65535", [("a", 1), ("10.0.0.2", 65535)]),
    ],
)
def test_addresses_of_agents(text: str, found: list[tuple[str, int]]) -> None:
    assert agents_at(JOIN + text) == found
    check_agents(JOIN + text)


@pytest.mark.parametrize(
    "text",
    ["", "host", "host:", ":29500", "host:0", "host:65536", "host:x", "a:1,", "a:1/b", "u@h:1"],
)
def test_what_is_no_address_is_one_line(text: str) -> None:
    with pytest.raises(UserError, match="is no address of an agent") as caught:
        check_agents(JOIN + text)
    assert caught.value.field == "--join" and "host:29500" in str(caught.value)


def test_what_is_told_is_what_the_store_held() -> None:
    told = {"gala/plan": '{"a": 1}', "bytes": bytes(range(256)), "piece": bytes(2**20)}
    at, listening = serve(answer(told))
    with listening:
        store: Any = join(JOIN + at, None, 2)
    assert store.get("gala/plan") == b'{"a": 1}' and store.get("bytes") == bytes(range(256))
    assert not store.check(["piece"])  # starting parameters, which nobody joins with


def test_an_agent_counts_on_from_the_page_that_the_others_keep_of_it() -> None:
    told = {pages_key(RUN, 2): page(2, 4), pages_key(RUN, 1): page(1, 9)}
    at, listening = serve(encrypted(OURS, answer(told)))
    with listening:
        store: Any = join(JOIN + at, OURS, 2)
    assert OURS.open("incarnation/2/4", store.get("incarnation/2/4"), 2) == b"begun"
    assert not store.check(["incarnation/2/5"]) and not store.check(["incarnation/1/0"])


@pytest.mark.parametrize("by", [THEIRS, OURS])
def test_a_page_that_is_not_its_own_counts_for_nothing(by: Credentials) -> None:
    """Of a stranger, or of another agent under its key."""
    lie = page(2, 1000, by) if by is THEIRS else page(1, 1000)
    at, listening = serve(encrypted(OURS, answer({pages_key(RUN, 2): lie})))
    with listening:
        store: Any = join(JOIN + at, OURS, 2)
    assert not store.check(["incarnation/2/0"])


def test_strangers_tell_and_hear_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[bytes] = []
    told = answer({"gala/plan": "{}"})
    monkeypatch.setattr(joining, "ANSWER_S", 5.0)
    at, listening = serve(encrypted(THEIRS, told))
    with listening, pytest.raises(RuntimeError, match=at):
        join(JOIN + at, OURS, 2)
    at, listening = serve(encrypted(OURS, told))
    with listening, pytest.raises(RuntimeError):
        heard.append(join(JOIN + at, THEIRS, 2).get("gala/plan"))  # type: ignore[arg-type]
    assert heard == []


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        PREFIX.pack(2**32 - 1, joining.KNOWN),
        PREFIX.pack(4, joining.KNOWN) + b"[12]",
        PREFIX.pack(4, joining.KNOWN) + b"\xff\xff\xff\xff",
        PREFIX.pack(10, joining.KNOWN) + b'{"a": "?"}',
        PREFIX.pack(8, joining.KNOWN) + b'{"a": 1}',
        PREFIX.pack(100, joining.KNOWN) + b"{}",
    ],
)
def test_nonsense_is_one_line_and_the_next_agent_is_asked(reply: bytes) -> None:
    at, listening = serve(reply)
    with listening, pytest.raises(RuntimeError) as caught:
        join(JOIN + at, None, 2)
    assert str(caught.value).startswith(f"{at}: ") and "\n" not in str(caught.value)
    bad, first = serve(reply)
    good, second = serve(answer({"gala/plan": "{}"}))
    with first, second:
        assert join(f"{JOIN}{bad},{good}", None, 2).get("gala/plan") == b"{}"


def test_nobody_there_is_one_line_for_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        at = f"127.0.0.1:{probe.getsockname()[1]}"
    monkeypatch.setenv(STORE_VARIABLE, JOIN + at)
    monkeypatch.delenv("GALA_INCARNATION", raising=False)
    with pytest.raises(UserError, match=rf"nobody there tells of a run: {at}: .*refused") as caught:
        open_rendezvous(1, None, 1)
    assert caught.value.field == "--join"
    monkeypatch.setenv("GALA_INCARNATION", "1")  # it was there before: wait until it is back
    with pytest.raises(SystemExit, match="75"):
        open_rendezvous(1, None, 1)


def test_pages_read_back_and_others_do_not() -> None:
    said, text, signature = parse_signed(page(3, 7).encode())
    assert (said.rank, said.incarnation, said.addresses) == (3, 7, (("h", 29500),))
    assert OURS.is_signed(text, signature, 3) and not THEIRS.is_signed(text, signature, 3)
    for line in (b"[1, 2]", b'["[]", ""]', b"{}", b"3", b"\xff", b" " * MAX_PAGE_BYTES + b"[]",
                 b'["[]", 3]', b"[" * 4000):  # fmt: skip
        with pytest.raises(ValueError):
            parse_signed(line)
