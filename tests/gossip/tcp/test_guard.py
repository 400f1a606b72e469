"""Who has no key of the run is neither heard nor answered, over real connections."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from edges import IDENTITY, Open, P, eventually, opening, publish, values

from gala.errors import UserError
from gala.gossip.membership import PeerState
from gala.gossip.message import Refusal
from gala.gossip.notes import Notes
from gala.gossip.tcp import listener
from gala.gossip.tcp.addresses import Book
from gala.gossip.tcp.guard import Unguarded
from gala.launch import authority
from gala.launch.credentials import Credentials, Security
from gala.launch.pages import Page

SECRET = b"correct horse battery staple"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    for run in ("ours", "theirs"):
        authority.write(folder / run, 3)
    return folder


def of(keys: Path, rank: int, run: str = "ours") -> Credentials:
    found = Security(keys=keys / run).credentials(rank, {})
    assert found is not None
    return found


@pytest.fixture
def guarded(store: dist.TCPStore, keys: Path) -> Iterator[Open]:
    with opening(store.port, lambda rank: of(keys, rank)) as open_:
        yield open_


def test_messages_pass_between_agents_of_the_run(guarded: Open) -> None:
    a, b = guarded(0), guarded(1)
    for version in range(1, 30):
        publish(a, 0, version, float(version))
        publish(b, 1, version, -float(version))
    eventually(lambda: b.version(0) == a.version(1) == 29)
    assert torch.equal(values(b, 0), torch.full((P,), 29.0))


def test_large_messages_pass_in_both_directions_at_once(store: dist.TCPStore) -> None:
    parameters = 1_700_000
    with opening(store.port, lambda rank: Credentials(authority.derive(SECRET))) as open_:
        a, b = (open_(rank, payload_bytes=4 * parameters) for rank in range(2))
        for version in range(1, 4):
            publish(a, 0, version, 1.0 * version, parameters=parameters)
            publish(b, 1, version, 2.0 * version, parameters=parameters)
            eventually(lambda v=version: a.version(1) == v and b.version(0) == v)
        assert torch.equal(values(a, 1), torch.full((parameters,), 6.0))
        a.close()
        eventually(lambda: b.state(0) is PeerState.LEFT)


@pytest.mark.parametrize("rogue", ["without a key", "with another run's key", "with another rank"])
def test_a_rogue_is_refused_and_counted(guarded: Open, keys: Path, rogue: str) -> None:
    """It has the address, and the word of the store; the true agent is not there yet."""
    notes, heard = Notes(), Notes()
    b = guarded(1, notes=notes)
    guard = {
        "without a key": Unguarded(),
        "with another run's key": of(keys, 0, "theirs"),
        "with another rank": of(keys, 2),
    }[rogue]
    reason = Refusal.RANK if rogue == "with another rank" else Refusal.STRANGER
    a = guarded(0, site={"guard": guard}, notes=heard)
    publish(a, 0, 1, 13.0)
    publish(b, 1, 1, 13.0)
    eventually(lambda: notes.refused[reason] > 1)
    assert b.version(0) == a.version(1) == 0 and b.state(0) is PeerState.JOINING
    assert a.copies_sent == b.copies_sent == 0
    a.close()
    true = guarded(0)
    publish(true, 0, 1, 1.0)
    eventually(lambda: b.version(0) == 1)
    assert torch.equal(values(b, 0), torch.full((P,), 1.0))


def test_a_message_of_another_run_with_the_same_key_is_refused(guarded: Open) -> None:
    notes = Notes()
    b = guarded(1, notes=notes)
    a = guarded(0, identity=replace(IDENTITY, run="ab" * 8))
    host, port = "127.0.0.1", b._port
    a._exchange._seen_at[1] = host, port  # the store keeps runs apart; let it find the way
    eventually(lambda: notes.refused[Refusal.RUN] > 0)
    assert b.state(0) is PeerState.JOINING


def page(guard: Credentials, rank: int, serial: int, port: int = 9) -> bytes:
    text = Page(
        run=IDENTITY.run, rank=rank, incarnation=0, serial=serial, addresses=(("127.0.0.1", port),)
    ).text()
    return json.dumps([text, guard.sign(text.encode())]).encode()


def test_addresses_are_believed_from_their_own_agent_alone(keys: Path) -> None:
    notes = Notes()
    book = Book(run=IDENTITY.run, rank=0, agents=3, guard=of(keys, 0))
    good = page(of(keys, 1), 1, 5)
    book.learn(good, notes)
    assert book.addresses(1) == (("127.0.0.1", 9),) and not notes.refused
    text, signature = json.loads(good)
    for bad in (
        page(of(keys, 2), 1, 6, port=6),  # agent 2 speaks for agent 1
        page(of(keys, 1, "theirs"), 1, 6, port=6),
        json.dumps([text.replace(" 9]", " 6]"), signature]).encode(),
        json.dumps([text, ""]).encode(),
    ):
        book.learn(bad, notes)
    assert notes.refused[Refusal.STRANGER] == 4
    book.learn(page(of(keys, 1), 1, 4, port=6), notes)  # an old page comes again
    assert book.addresses(1) == (("127.0.0.1", 9),)


def test_lies_in_the_store_are_counted_and_the_agents_meet(
    store: dist.TCPStore, guarded: Open
) -> None:
    notes = Notes()
    lie = json.dumps([Page(run=IDENTITY.run, rank=1, incarnation=9, serial=2**62,
                           addresses=(("127.0.0.1", 9),)).text(), ""])  # fmt: skip
    b = guarded(1)
    store.set(f"tcp/{IDENTITY.run}/1", lie)
    a = guarded(0, notes=notes)
    publish(a, 0, 1)
    eventually(lambda: notes.refused[Refusal.STRANGER] > 0)
    eventually(lambda: b.version(0) == 1)  # agent 1 dials, and is believed


def test_nobody_listens_to_the_world_without_a_key(store: dist.TCPStore) -> None:
    wide = {"listen_at": "0.0.0.0"}
    before = threads_and_sockets()
    with opening(store.port) as open_:
        with pytest.raises(UserError, match="believed whoever they are .*--secret-file"):
            open_(0, site=wide)
        assert threads_and_sockets()[0] == before[0]
        notes = Notes()
        open_(0, site=wide | {"insecure": True}, notes=notes)
        assert [kind for kind, _ in notes.events] == ["insecure"]
    with opening(store.port, lambda rank: Credentials(authority.derive(SECRET))) as open_:
        notes = Notes()
        open_(0, site=wide, notes=notes)
        assert not notes.events


def test_a_crowd_that_does_not_speak_is_shown_out_and_keeps_nobody_out(guarded: Open) -> None:
    """Connections that wait for the first word of TLS can be ended, too."""
    a = guarded(1)
    crowd = [
        socket.create_connection(("127.0.0.1", a._port), 10)
        for _ in range(2 * listener.MAX_PENDING)
    ]
    eventually(lambda: len(a._listener._pending) <= listener.MAX_PENDING)
    for first in crowd[: listener.MAX_PENDING]:
        first.settimeout(20)
        assert first.recv(1) == b"", "the oldest are ended at once"
    b = guarded(0)
    publish(b, 0, 1)
    eventually(lambda: a.version(0) == 1)
    pending, files = len(a._listener._pending), len(os.listdir("/proc/self/fd"))
    for sock in crowd:
        sock.close()
    eventually(lambda: not a._listener._pending)
    eventually(lambda: len(os.listdir("/proc/self/fd")) <= files - len(crowd) - pending)


def threads_and_sockets() -> tuple[int, int]:
    import threading

    return threading.active_count(), len(socket.if_nameindex())
