"""What an actor hears of its learner, and what it passes over."""

from __future__ import annotations

import dataclasses
import os

import pytest
import torch

from gala.actors.assignment import Channel
from gala.actors.weights import Listener, Publisher, identity_of
from gala.envs.wire import Gone

IDENTITY = identity_of("0123456789abcdef", "fedcba9876543210")


@pytest.fixture
def publisher() -> Publisher:
    return Publisher(IDENTITY, rank=2, incarnation=1, payload_bytes=40)


def listener(publisher: Publisher, *, run: str = IDENTITY.run, rank: int = 2) -> Listener:
    identity = dataclasses.replace(IDENTITY, run=run)
    return Listener(os.dup(publisher.fd), identity, rank=rank, payload_bytes=40)


def test_the_newest_is_heard_once(publisher: Publisher) -> None:
    ear = listener(publisher)
    assert ear.hear() is None and ear.revision == -1
    for revision in (0, 1, 9):
        publisher.publish(torch.full((10,), float(revision)), revision)
        heard = ear.hear()
        assert heard is not None and heard.tolist() == [revision] * 10
        assert ear.revision == revision and ear.hear() is None
    for revision in (10, 11, 12, 13, 14):
        publisher.publish(torch.full((10,), float(revision)), revision)
    heard = ear.hear()
    assert heard is not None and heard[0] == 14 and ear.revision == 14


@pytest.mark.parametrize("other", [{"run": "0" * 16}, {"rank": 1}])
def test_what_is_not_of_its_learner_is_passed_over(
    publisher: Publisher, other: dict[str, object]
) -> None:
    publisher.publish(torch.ones(10), 3)
    assert listener(publisher, **other).hear() is None  # type: ignore[arg-type]


def test_what_is_damaged_is_passed_over_until_there_is_a_newer_one(publisher: Publisher) -> None:
    ear = listener(publisher)
    publisher.publish(torch.ones(10), 0)
    size = os.fstat(publisher.fd).st_size
    whole = os.pread(publisher.fd, size, 0)
    where = whole.index(torch.ones(10).numpy().tobytes())
    os.pwrite(publisher.fd, b"\x7f", where + 5)
    assert ear.hear() is None and ear.revision == -1
    publisher.publish(torch.ones(10), 1)
    assert ear.hear() is not None and ear.revision == 1


def test_channels_keep_messages_apart_and_end_with_their_process() -> None:
    ours, theirs = Channel.pair()
    assert theirs.receive(wait=False) is None
    for slot in (0, 33, 2**40):
        ours.send(slot)
    assert [theirs.receive() for _ in range(3)] == [0, 33, 2**40]
    theirs.fail("ouch: " + "é" * 3000)
    theirs.send(5)
    theirs.close()
    said = ours.receive()
    assert isinstance(said, str) and said.startswith("ouch: é") and ours.receive(wait=False) == 5
    with pytest.raises(Gone):
        ours.receive(wait=False)
    with pytest.raises(Gone):
        ours.send(1)
    ours.close()
