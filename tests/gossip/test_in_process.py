"""Mailboxes between threads of one process, and the choice of a transport."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from fake_transport import identity
from torch import Tensor

from gala.config.sections import FaultsConfig
from gala.errors import UserError
from gala.gossip import message
from gala.gossip.connecting import Connection, connect, device_of_messages
from gala.gossip.in_process import InProcessTransport, LocalGroup
from gala.gossip.membership import PeerState
from gala.gossip.message import Header, Refusal, Refused
from gala.gossip.routes import Routes
from gala.gossip.shared_memory import SharedMemoryTransport
from gala.gossip.tcp.transport import TcpTransport
from gala.launch.credentials import Security
from gala.launch.launch import Launch, host_identity
from gala.launch.rendezvous import Rendezvous
from gala.topology import load_topology


def box(rank: int, local_group: LocalGroup, **changes: str) -> InProcessTransport:
    return InProcessTransport(rank=rank, local_group=local_group, identity=identity(**changes))


def publish(transport: InProcessTransport, rank: int, version: int, value: float) -> None:
    payload = torch.full((5,), value).view(torch.uint8)
    who = transport._identity
    header = Header(identity=who, rank=rank, version=version, update=1, step=version, time=1.0)
    transport.publish(message.sealed(header, payload), payload)


def test_a_message_is_a_copy_and_the_newest_wins() -> None:
    local_group = LocalGroup((0, 1))
    a, b = box(0, local_group), box(1, local_group)
    assert b.latest(0) is None and b.state(0) is PeerState.JOINING and b.version(0) == 0
    for version in (1, 2, 3):
        publish(a, 0, version, float(version))
    found = b.latest(0)
    assert found is not None and found[0].version == 3 and b.steps(0) == 3
    assert found[1].view(torch.float32).tolist() == [3.0] * 5
    publish(a, 0, 4, 4.0)
    assert found[1].view(torch.float32).tolist() == [3.0] * 5, "what was read stays"
    assert a.copies([1, 2]) == [(1, 2)] and a.copies([]) == [] and a.copies_sent == 4
    b.acknowledge(0, 3)
    assert a.acknowledged(1) == 3
    a.close()
    assert b.state(0) is PeerState.LEFT


class Streams:
    """A handover whose moments are counted; reading before the moment has come is noted."""

    def __init__(self) -> None:
        self.moments: dict[int, int] = {}
        self.reads: list[tuple[float, int]] = []
        self.rests: list[set[float]] = []
        self.held: Callable[[], set[float]] = set

    def written(self, tensor: Tensor) -> int:
        self.moments[tensor.data_ptr()] = len(self.moments) + 1
        return len(self.moments)

    def read(self, tensor: Tensor, moment: Any) -> None:
        assert self.moments[tensor.data_ptr()] == moment, "the moment of another message"
        self.reads.append((float(tensor.view(torch.float32)[0]), moment))

    def rest(self) -> None:
        self.rests.append(self.held())


def test_agents_on_one_device_read_after_the_moment_of_writing() -> None:
    streams = Streams()
    local_group = LocalGroup((0, 1), streams)
    a, b = box(0, local_group), box(1, local_group)
    kept = []
    for version in (1, 2, 3):
        publish(a, 0, version, float(version))
        kept.append(b.latest(0))
    assert streams.reads == [(1.0, 1), (2.0, 2), (3.0, 3)]
    assert all(found is not None for found in kept)
    with pytest.raises(Refused):
        box(1, local_group, layout="ab" * 8).latest(0)
    assert len(streams.reads) == 3, "what is refused by its header is not touched"


def test_messages_on_a_device_are_held_until_their_reader_has_rested() -> None:
    streams = Streams()
    local_group = LocalGroup((0, 1, 2), streams)
    writers, reader = [box(rank, local_group) for rank in (0, 1)], box(2, local_group)
    alive: dict[float, weakref.ref[Tensor]] = {}
    streams.held = lambda: {value for value, each in alive.items() if each() is not None}
    for value in (1.0, 2.0, 3.0):
        for rank, writer in enumerate(writers):
            publish(writer, rank, int(value), value + 10 * rank)
            found = reader.latest(rank)
            assert found is not None
            alive[value + 10 * rank] = weakref.ref(found[1])
            del found
    # what is replaced is there still when the reader waits, and is let go afterwards
    assert len(streams.rests) == 4, "once a message that replaces another"
    assert {1, 11} <= streams.rests[0] and {11} <= streams.rests[1]
    assert {2, 12} <= streams.rests[2] and {12} <= streams.rests[3]
    assert streams.held() == {3, 13}


def test_what_lies_on_a_device_carries_no_checksum_but_a_size() -> None:
    payload = torch.empty(24, dtype=torch.uint8, device="meta")
    header = Header(identity=identity(), rank=0, version=1, update=1, step=1, time=1.0)
    header = message.sealed(header, payload)
    assert (header.checksum, header.payload_bytes) == (0, 24)
    message.verify(header, payload)
    with pytest.raises(Refused) as refused:
        message.verify(header, payload[:16])
    assert refused.value.reason is Refusal.SIZE
    with pytest.raises(Refused):  # on the CPU 0 is a sum like any other
        message.verify(header, torch.ones(24, dtype=torch.uint8))


def test_messages_lie_on_the_device_only_where_all_share_it_and_nothing_breaks_them() -> None:
    device, cpu, faults = torch.device("meta"), torch.device("cpu"), FaultsConfig()
    all_here, shared = LocalGroup((0, 1), Streams()), LocalGroup((0, 1), None)
    assert device_of_messages(all_here, 2, faults, device) == device
    assert device_of_messages(all_here, 2, replace(faults, slowdown=3.0), device) == device
    assert device_of_messages(all_here, 4, faults, device) == cpu, "two more are elsewhere"
    assert device_of_messages(shared, 2, faults, device) == cpu
    broken = replace(faults, corrupt=0.1, agents=(1,))
    assert device_of_messages(all_here, 2, broken, device) == cpu, "equally on all agents"


def test_strangers_are_refused() -> None:
    local_group = LocalGroup((0, 1))
    publish(box(0, local_group, layout="ab" * 8), 0, 1, 1.0)
    with pytest.raises(Refused) as refused:
        box(1, local_group).latest(0)
    assert refused.value.reason is Refusal.LAYOUT


def test_readers_never_see_half_a_message() -> None:
    local_group = LocalGroup((0, 1))
    writer, reader = box(0, local_group), box(1, local_group)
    publish(writer, 0, 1, 1.0)
    stop = threading.Event()

    def write() -> None:
        version = 1
        while not stop.is_set():
            publish(writer, 0, version := version + 1, float(version))

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(500):
            found = reader.latest(0)
            assert found is not None
            values = found[1].view(torch.float32)
            assert bool((values == values[0]).all()) and float(values[0]) == found[0].version
    finally:
        stop.set()
        thread.join()


def connection(launch: Launch, local_group: tuple[int, ...]) -> Connection:
    return Connection(
        launch=launch,
        topology=load_topology("ring", launch.agents),
        identity=replace(identity(), run="fe" * 8),
        payload_bytes=64,
        lock_step=False,
        local_group=LocalGroup(local_group),
    )


def test_one_process_needs_nothing_else() -> None:
    launch = Launch(agents=3, local_agents=3, local_group=(0, 1, 2))
    for choice in ("auto", "memory"):
        assert isinstance(connect(choice, connection(launch, (0, 1, 2))), InProcessTransport)


def test_memory_does_not_reach_other_processes() -> None:
    launch = Launch(agents=4, local_agents=4, local_group=(0, 1))
    with pytest.raises(UserError, match=r"memory reaches the 2 agents.*--agents-per-process 4"):
        connect("memory", connection(launch, (0, 1)))


def test_who_belongs_to_the_run_is_asked_over_tcp_alone(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("correct horse battery staple")
    secret.chmod(0o600)
    store = dist.HashStore()
    launch = Launch(
        agents=3, local_agents=1, rendezvous=Rendezvous(store, lambda: store), host="here",
        security=Security(secret_file=secret, listen="127.0.0.1"),
    )  # fmt: skip
    with pytest.raises(UserError, match=r"gloo cannot ask .*\(tcp\)"):
        connect("gloo", connection(launch, (0,)))
    for choice in ("auto", "tcp"):
        transport = connect(choice, connection(launch, (0,)))
        inner = transport._transports[-1] if isinstance(transport, Routes) else transport
        assert isinstance(inner, TcpTransport)
        transport.close()


def test_one_host_shares_memory() -> None:
    launch = Launch(agents=2, local_agents=2)
    transport = connect("auto", connection(launch, (0,)))
    assert isinstance(transport, SharedMemoryTransport)
    transport.close()


def test_threads_of_one_host_use_both() -> None:
    launch = Launch(agents=4, local_agents=4, local_group=(0, 1))
    transport = connect("auto", connection(launch, (0, 1)))
    assert isinstance(transport, Routes)
    assert isinstance(transport._route(1), InProcessTransport)
    assert isinstance(transport._route(3), SharedMemoryTransport)
    assert transport.copies([3, 1, 2]) == [(1,), (3, 2)], "one in the process, one in the memory"
    transport.close()


def test_a_message_to_some_leaves_the_other_transports_alone() -> None:
    groups = LocalGroup((0, 1)), LocalGroup((0, 2))
    near, far = (box(0, local_group) for local_group in groups)
    both = Routes([near, far], lambda peer: near if peer == 1 else far)
    header = Header(identity=identity(), rank=0, version=1, update=1, step=1, time=1.0)
    payload = torch.zeros(8, dtype=torch.uint8)
    for number, to in enumerate(([2], [1], [1, 2], None), start=1):
        header = replace(header, version=number)
        both.publish(message.sealed(header, payload), payload, to)
        versions = [
            box(i, local_group).version(0) for i, local_group in ((1, groups[0]), (2, groups[1]))
        ]
        assert versions == [[0, 1], [2, 1], [3, 3], [4, 4]][number - 1]
    assert both.copies_sent == 6


def test_agents_started_alone_find_out_who_is_near(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    store = dist.TCPStore("127.0.0.1", 0, None, True, wait_for_workers=False)
    store.set("host/1", host_identity())
    store.set("host/2", "elsewhere")
    launch = Launch(
        agents=3, local_agents=1, rendezvous=Rendezvous(store, lambda: store), host=host_identity()
    )
    transport = connect("auto", connection(launch, (0,)))
    assert isinstance(transport, Routes)
    network = transport._transports[-1]
    deadline = threading.Event()
    for _ in range(500):
        if network.local == {1}:
            break
        deadline.wait(0.02)
    assert isinstance(transport._route(1), SharedMemoryTransport)
    assert transport._route(2) is network and transport.state(2) is PeerState.JOINING
    assert transport.copies([1, 2]) == [(1,), (2,)]
    transport.close()
