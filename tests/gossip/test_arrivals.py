"""Arrivals: versions that go back, clocks that go wrong, claims that cannot be."""

import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fake_transport import FakeTransport, Network, identity
from hypothesis import given, settings
from hypothesis import strategies as st

from gala.gossip import message
from gala.gossip.arrivals import Arrivals
from gala.gossip.message import Header, Refusal
from gala.gossip.node import GossipNode
from gala.topology import load_topology


def pair(topology: str | Path = "ring") -> tuple[Network, list[GossipNode], torch.Tensor]:
    network, vectors = Network(2), torch.tensor([[0.0, 0.0], [1.0, 2.0]])
    graph = load_topology(topology, 2)
    nodes = [
        GossipNode(
            rank=rank,
            topology=graph,
            vector=vectors[rank],
            transport=FakeTransport(network, rank),
            identity=identity(),
        )
        for rank in range(2)
    ]
    return network, nodes, vectors


def test_a_version_from_the_future_is_forgotten_when_the_sender_speaks_on() -> None:
    arrivals = Arrivals()
    assert arrivals.look(1, 1000, 0.0) and not arrivals.look(1, 1000, 1.0)
    assert arrivals.look(1, 2**62, 2.0)
    assert not arrivals.look(1, 1001, 3.0), "it may have been overtaken on its way"
    assert not arrivals.look(1, 1001, 4.0)
    assert arrivals.look(1, 1002, 5.0) and arrivals.look(1, 1003, 6.0)


def test_a_message_that_was_overtaken_is_not_new() -> None:
    arrivals = Arrivals()
    assert [arrivals.look(1, version, 0.0) for version in (5, 4, 6, 5, 7)] == [1, 0, 1, 0, 1]


@pytest.mark.parametrize("future", [2**61, 2**41])
def test_a_version_from_the_future_does_not_mute_the_true_agent(future: int) -> None:
    network, nodes, _ = pair()
    for k in range(3):
        nodes[1].publish(update=k, step=0)
        nodes[0].publish(update=k, step=0)
        assert nodes[0].mix()
    header, payload = network.messages[1]
    network.messages[1] = (replace(header, version=future), payload)
    nodes[0].publish(update=3, step=0)
    nodes[0].mix()
    mixed = []
    for k in range(4, 8):
        nodes[1].publish(update=k, step=0)
        nodes[0].publish(update=k, step=0)
        mixed.append(nodes[0].mix())
    assert mixed[1:] == [True] * 3, "after two messages it is heard again"


@pytest.mark.parametrize(
    "claim",
    [{"step": 2**40}, {"version": 2**62}, {"time": float("nan")}, {"incarnation": 2**31}],
)
def test_what_cannot_be_is_refused_and_counted_over_any_transport(claim: dict[str, float]) -> None:
    network, nodes, vectors = pair()
    nodes[1].publish(update=1, step=0)
    header, payload = network.messages[1]
    network.messages[1] = (replace(header, **claim), payload)  # type: ignore[arg-type]
    nodes[0].publish(update=1, step=0)
    assert not nodes[0].mix() and nodes[0].refused == {Refusal.NUMBERS: 1}
    assert vectors[0].tolist() == [0.0, 0.0] and nodes[0].steps_of(1) == 0
    assert nodes[1].transport.acknowledged(0) < 2**60


def test_steps_that_cannot_have_been_done_do_not_end_a_run() -> None:
    network, nodes, _ = pair()
    nodes[0].publish(update=1, step=100)
    nodes[1].publish(update=1, step=180)
    assert nodes[0].mix() and nodes[0].steps_of(1) == 180
    header, payload = network.messages[1]
    network.messages[1] = (replace(header, version=2, step=2**40), payload)
    assert nodes[0].steps_of(1) == 180, "as its last good message said"
    network.messages[1] = (replace(header, version=2, step=-(2**62)), payload)
    assert nodes[0].steps_of(1) == 180


@pytest.mark.parametrize("off_s", [-1e9, -10.0, 10.0, 1e9])
def test_the_clock_of_another_host_decides_nothing(tmp_path: Path, off_s: float) -> None:
    path = tmp_path / "late.yaml"
    path.write_text("family: ring\nweights: {kind: uniform, discount: 0.5}\n")
    network, nodes, vectors = pair(path)
    nodes[0].publish(update=1, step=0)
    nodes[0].mix()
    for k in range(2, 40):
        vectors[1] = torch.tensor([1.0, 2.0])
        nodes[1].publish(update=k, step=0)
        header, payload = network.messages[1]
        network.messages[1] = (replace(header, time=time.time() + off_s), payload)
        nodes[0].publish(update=k, step=0)
        nodes[0].mix()
    assert vectors[0].tolist() == pytest.approx([1.0, 2.0], abs=0.05)
    assert nodes[0].delay < 10_000, "no message is older than the receiver's own life"


@given(st.binary(min_size=message.HEADER_BYTES, max_size=message.HEADER_BYTES), st.data())
@settings(max_examples=300, deadline=None)
def test_headers_of_random_numbers_never_raise(noise: bytes, data: st.DataObject) -> None:
    network, nodes, vectors = pair()
    whole = st.integers(-(2**63), 2**63 - 1)
    for k in range(1, 4):
        nodes[1].publish(update=k, step=0)
        payload = network.messages[1][1]
        header = Header(
            identity=identity(),
            rank=1,
            incarnation=data.draw(st.integers(0, 2**32 - 1)),
            version=data.draw(whole),
            update=data.draw(whole),
            step=data.draw(whole),
            round=data.draw(whole),
            stop_at=data.draw(whole),
            time=data.draw(st.floats()),
        )
        network.messages[1] = (message.sealed(header, payload), payload)
        nodes[0].publish(update=k, step=k)
        nodes[0].mix()
        nodes[0].peer_state(1)
        assert 0 <= nodes[0].steps_of(1) <= 64 * k
    assert bool(torch.isfinite(vectors).all())
