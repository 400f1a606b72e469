"""Where workers of other machines come in: who is let in, who is not, and what both are told."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gala.actors.remote_workers import RemoteWorkerPool
from gala.envs import handshake
from gala.envs.handshake import admit, introduce
from gala.envs.wire import HEADER, MAGIC, PROTOCOL, Gone, Kind, Link
from gala.errors import UserError
from gala.launch.token import TOKEN_VARIABLE, read_address, read_token

TOKEN, OTHER = b"a token of ours 1", b"a token of theirs"
DEADLINE_S = 60.0


def in_thread(function: Callable[[], object]) -> Callable[[], object]:
    """Call it in a thread; returns what waits for its result, or raises what it raised."""
    found: list[object] = []

    def work() -> None:
        try:
            found.append(function())
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=work)
    thread.start()

    def result() -> object:
        thread.join()
        if isinstance(found[0], Exception):
            raise found[0]
        return found[0]

    return result


@pytest.fixture
def ends() -> Iterator[tuple[Link, Link]]:
    pair = tuple(map(Link, socket.socketpair()))
    yield pair  # type: ignore[misc]
    for link in pair:
        link.close()


def test_both_sides_show_that_they_hold_the_token(ends: tuple[Link, Link]) -> None:
    agent, worker = ends
    done = in_thread(lambda: introduce(worker, TOKEN))
    admit(agent, TOKEN)
    done()
    agent.send(Kind.STEP, bytes(10_000))
    assert worker.receive().payload.nbytes == 10_000, "now frames may be large"


def test_another_token_is_told_to_the_worker(ends: tuple[Link, Link]) -> None:
    agent, worker = ends
    done = in_thread(lambda: introduce(worker, OTHER))
    with pytest.raises(UserError, match="another token"):
        admit(agent, TOKEN)
    with pytest.raises(UserError, match="--token-file: the token here is another one"):
        done()


def test_a_worker_does_not_work_for_strangers(ends: tuple[Link, Link]) -> None:
    agent, worker = ends
    done = in_thread(lambda: introduce(worker, TOKEN))
    agent.send(Kind.NONCE, bytes(32))
    theirs = bytes(agent.receive().payload)
    agent.send(Kind.PROOF, theirs[32:])  # its own proof, sent back
    with pytest.raises(UserError, match="cannot show that it holds the token"):
        done()


def test_who_says_nothing_is_not_waited_for(
    ends: tuple[Link, Link], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handshake, "HANDSHAKE_S", 0.05)
    with pytest.raises(Gone):
        admit(ends[0], TOKEN)
    with pytest.raises(UserError, match="kind 1, not 2"):  # two agents
        admit(ends[1], TOKEN)


class Opened:
    """A door, and who comes to it."""

    def __init__(self, workers: int) -> None:
        self.door = RemoteWorkerPool("127.0.0.1", 0, TOKEN, workers)
        self.told = [text for _, text in self.door.events()]
        self.port = int(self.told[0].rpartition(":")[2])

    def connect(self) -> Link:
        return Link(socket.create_connection(("127.0.0.1", self.port)))

    def worker(self) -> Link:
        link = self.connect()
        introduce(link, TOKEN)
        return link

    def until(self, words: str) -> str:
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            for kind, text in self.door.events():
                assert kind == "actor"
                if words in text:
                    return text
            time.sleep(0.001)
        raise AssertionError(f"nobody has told {words!r}")

    def come(self, count: int) -> list[tuple[int, Link]]:
        found: list[tuple[int, Link]] = []
        deadline = time.monotonic() + DEADLINE_S
        while len(found) < count:
            assert time.monotonic() < deadline
            found += self.door.come()
        return found


def test_places_are_given_in_turn_and_spare_workers_wait() -> None:
    opened = Opened(2)
    assert opened.told == [f"waits for 2 workers at 127.0.0.1:{opened.port}"]
    workers, came = [], []
    for _ in range(2):  # one by one: they are looked at side by side, in any order
        workers.append(opened.worker())
        came += opened.come(1)
    workers.append(opened.worker())
    assert [index for index, _ in came] == [0, 1] and opened.door.come() == []
    came[1][1].send(Kind.ORDERS, b"first")
    assert workers[1].receive().text == "first"
    assert opened.door.over(1, None) == "actor 1: its link is closed; another may take its number"
    ((index, link),) = opened.come(1)
    link.send(Kind.ORDERS, b"second")
    assert index == 1 and workers[2].receive().text == "second" and opened.door.replaced == 1
    workers.append(opened.worker())
    opened.door.close()
    assert workers[3].receive().kind == Kind.BYE, "who waits is not needed any more"
    for each in (*workers, link, *(link for _, link in came)):
        each.close()


def test_strangers_are_told_and_counted_and_hold_up_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(handshake, "HANDSHAKE_S", 1.0)
    opened = Opened(1)
    older = opened.connect()
    older.end.sendall(HEADER.pack(MAGIC, PROTOCOL + 6, Kind.PROOF, 0, 0, 0))
    assert "version 7 of the protocol" in opened.until("was refused")
    browser = opened.connect()
    browser.end.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert "is no gala" in opened.until("2 so far")
    silent = opened.connect()
    with pytest.raises(UserError, match="token here is another"):
        introduce(other := opened.connect(), OTHER)
    assert "it says nothing" in opened.until("4 so far")
    worker = opened.worker()
    ((_, link),) = opened.come(1)
    opened.door.close()
    for each in (silent, older, browser, other, worker, link):
        each.close()


def test_a_port_that_is_taken_is_refused() -> None:
    opened = Opened(1)
    with pytest.raises(UserError, match=r"--actors.listen: cannot listen at 127.0.0.1:\d+: "):
        RemoteWorkerPool("127.0.0.1", opened.port, TOKEN, 1)
    with pytest.raises(UserError, match="cannot listen at no.such.host.invalid:1"):
        RemoteWorkerPool("no.such.host.invalid", 1, TOKEN, 1)
    opened.door.close()


def test_tokens_and_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "token"
    path.write_text("  0123456789abcdef\n")
    assert read_token(path, field="--token-file") == b"0123456789abcdef"
    monkeypatch.setenv(TOKEN_VARIABLE, "fedcba9876543210")
    assert read_token(None, field="--token-file") == b"fedcba9876543210"
    monkeypatch.delenv(TOKEN_VARIABLE)
    path.write_text("short")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)  # nobody writes into it
    for given, rule in ((None, "is needed, or GALA_TOKEN"), (path, "at least 16 characters, got 5"),
                        (tmp_path / "none", "no such file"), (pipe, "no regular")):  # fmt: skip
        with pytest.raises(UserError, match=f"--token-file: .*{rule}.*urandom"):
            read_token(given, field="--token-file")
    assert read_address("[::1]:80", field="--connect") == ("::1", 80)
    assert read_address("here:0", field="--connect") == ("here", 0)
    for wrong in ("here", ":80", "here:", "here:70000", "here:8o", "here:-1"):
        with pytest.raises(UserError, match="--connect: must be HOST:PORT"):
            read_address(wrong, field="--connect")
