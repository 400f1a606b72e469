"""Faults on purpose: each knob does what it says, and the agent never reads what it broke."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

import pytest
import torch
from fake_transport import FakeTransport, Network, identity
from hypothesis import given, settings
from hypothesis import strategies as st

from gala.config.sections import FaultsConfig as Faults
from gala.gossip import message
from gala.gossip.connecting import with_faults
from gala.gossip.faulty import FaultyTransport
from gala.gossip.message import Header, Refused
from gala.gossip.node import GossipNode
from gala.topology import load_topology


class Recorder(FakeTransport):
    """Keeps every delivered message, good or bad."""

    def __init__(self) -> None:
        super().__init__(Network(2), 0)
        self.delivered: list[tuple[float, Header, torch.Tensor]] = []
        self.addressed: list[object] = []

    def publish(self, header: Header, payload: torch.Tensor, to: object = None) -> None:
        self.delivered.append((time.monotonic(), header, payload.clone()))
        self.addressed.append(to)
        self.copies_sent += 1


def send(transport: FaultyTransport, version: int, to: Collection[int] | None = None) -> None:
    payload = torch.full((16,), version % 256, dtype=torch.uint8)
    header = Header(identity=identity(), rank=0, version=version, update=1, step=1, time=1.0)
    transport.publish(message.sealed(header, payload), payload, to)


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.001)


def faulty(**faults: float) -> tuple[FaultyTransport, Recorder]:
    recorder = Recorder()
    return FaultyTransport(recorder, Faults(**faults), seed=3), recorder


def test_no_faults_no_wrapper() -> None:
    recorder = Recorder()
    for harmless in (Faults(), Faults(slowdown=3.0), Faults(drop=0.1, agents=(1, 2))):
        assert with_faults(recorder, harmless, rank=0, seed=1) is recorder
    broken = with_faults(recorder, Faults(drop=0.1, agents=(0,)), rank=0, seed=1)
    assert isinstance(broken, FaultyTransport)
    cut = Faults(at=("rank=1,update=5,kind=drop-network", "rank=0,update=5,kind=kill"))
    assert with_faults(recorder, cut, rank=0, seed=1) is recorder
    assert isinstance(with_faults(recorder, cut, rank=1, seed=1), FaultyTransport)
    broken.close()


def test_messages_are_late_but_the_sender_is_not() -> None:
    transport, recorder = faulty(delay_ms=60.0)
    began = time.monotonic()
    for version in range(1, 6):
        send(transport, version)
    assert not recorder.delivered, "under way"
    eventually(lambda: len(recorder.delivered) == 5)
    assert all(at - began >= 0.06 for at, _, _ in recorder.delivered)
    assert [header.version for _, header, _ in recorder.delivered] == [1, 2, 3, 4, 5]
    transport.close()


@pytest.mark.parametrize(("fault", "low", "high"), [("drop", 350, 450), ("duplicate", 550, 650)])
def test_about_as_many_as_promised(fault: str, low: int, high: int) -> None:
    transport, recorder = faulty(**{fault: 0.2})
    for version in range(500):
        send(transport, version)
    eventually(lambda: not transport._under_way)
    transport.close()
    assert low <= len(recorder.delivered) <= high


def test_whom_a_message_is_for_stays_with_it_and_what_is_lost_is_not_counted() -> None:
    transport, recorder = faulty(delay_ms=5.0, duplicate=1.0)
    assert transport.copies([1, 2]) == recorder.copies([1, 2])
    send(transport, 1, to=[1])
    send(transport, 2)
    eventually(lambda: len(recorder.delivered) == 4)
    assert sorted(map(str, recorder.addressed)) == ["None", "None", "[1]", "[1]"]
    assert transport.copies_sent == 4
    transport.close()
    transport, _ = faulty(drop=1.0)
    send(transport, 1)
    transport.close()
    assert transport.copies_sent == 0


def test_some_are_overtaken() -> None:
    transport, recorder = faulty(reorder=0.3)
    for version in range(100):
        send(transport, version)
    eventually(lambda: len(recorder.delivered) == 100)
    transport.close()
    versions = [header.version for _, header, _ in recorder.delivered]
    assert versions != sorted(versions) and sorted(versions) == list(range(100))


def test_corrupt_messages_fail_their_checksum() -> None:
    transport, recorder = faulty(corrupt=1.0)
    for version in range(50):
        send(transport, version)
    eventually(lambda: len(recorder.delivered) == 50)
    transport.close()
    for _, header, payload in recorder.delivered:
        with pytest.raises(Refused):
            message.verify(header, payload)


def test_a_freeze_stops_the_agent_itself() -> None:
    transport, _ = faulty(freeze_s=0.05, freeze_every_s=1e-6)
    began = time.monotonic()
    send(transport, 1)
    assert time.monotonic() - began >= 0.05
    transport.close()


class Bare(FakeTransport):
    """Carries whatever it is given, also what is broken, and checks when it is read."""

    def publish(self, header: Header, payload: torch.Tensor, to: object = None) -> None:
        self.network.messages[self.rank] = (header, payload.clone())

    def latest(self, peer: int) -> tuple[Header, torch.Tensor] | None:
        found = self.network.messages.get(peer)
        if found is not None:
            message.verify(*found)
        return found


@given(
    st.floats(0, 0.5), st.floats(0, 0.5), st.floats(0, 0.5), st.floats(0, 0.5), st.integers(0, 99)
)
@settings(max_examples=15, deadline=None)
def test_whatever_the_network_does_parameters_stay_in_the_hull(
    drop: float, duplicate: float, reorder: float, corrupt: float, seed: int
) -> None:
    network = Network(3)
    faults = Faults(drop=drop, duplicate=duplicate, reorder=reorder, corrupt=corrupt, delay_ms=1)
    vectors = torch.randn(3, 40, generator=torch.Generator().manual_seed(seed))
    low, high = vectors.min(0).values - 1e-5, vectors.max(0).values + 1e-5
    nodes = [
        GossipNode(
            rank=rank,
            topology=load_topology("ring", 3),
            vector=vectors[rank],
            transport=FaultyTransport(Bare(network, rank), faults, seed=seed + rank),
            identity=identity(),
        )
        for rank in range(3)
    ]
    for k in range(60):
        for node in nodes:
            node.publish(update=k, step=k)
            node.mix()
        time.sleep(2e-4)
    for node in nodes:
        node.close()
    assert bool(((vectors >= low) & (vectors <= high)).all())


def test_a_cut_network_carries_nothing_either_way_until_it_heals(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network, clock = Network(2), [100.0]
    monkeypatch.setattr("gala.gossip.faulty.time.monotonic", lambda: clock[0])
    other, cut = (
        FakeTransport(network, 1),
        FaultyTransport(FakeTransport(network, 0), Faults(), seed=3),
    )
    send_as(other, 1, version=1)
    assert cut.version(1) == 1 and cut.latest(1) is not None
    cut.cut(2.0)
    send_as(other, 1, version=2)
    send_as(cut, 0, version=1)
    clock[0] += 1.9
    assert cut.version(1) == 1 and cut.latest(1) is None, "it does not even know of it"
    clock[0] += 0.2
    assert cut.version(1) == 2 and cut.latest(1) is not None
    assert other.version(0) == 0, "what was dropped is lost"
    cut.close()


def test_what_was_taken_during_a_cut_is_told_when_it_heals(monkeypatch: pytest.MonkeyPatch) -> None:
    network, clock = Network(2), [100.0]
    monkeypatch.setattr("gala.gossip.faulty.time.monotonic", lambda: clock[0])
    other = FakeTransport(network, 1)
    cut = FaultyTransport(FakeTransport(network, 0), Faults(), seed=3)
    cut.acknowledge(1, 1)
    other.acknowledge(0, 1)
    assert other.acknowledged(0) == cut.acknowledged(1) == 1
    cut.cut(2.0)
    cut.acknowledge(1, 2)
    other.acknowledge(0, 2)
    assert other.acknowledged(0) == cut.acknowledged(1) == 1
    clock[0] += 2.1
    cut.version(1)  # whoever waits looks again and again
    assert other.acknowledged(0) == cut.acknowledged(1) == 2
    cut.close()


def send_as(transport: FakeTransport | FaultyTransport, rank: int, version: int) -> None:
    payload = torch.full((16,), version, dtype=torch.uint8)
    header = Header(identity=identity(), rank=rank, version=version, update=1, step=1, time=1.0)
    transport.publish(message.sealed(header, payload), payload)
