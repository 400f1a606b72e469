"""The three couplings in one process; tests/dist has them in many."""

import multiprocessing
import socket

import pytest
import torch
import torch.distributed as dist

from gala.couplings.allreduce import AllReduce
from gala.couplings.coupling import Independent
from gala.couplings.gossip import Gossip
from gala.gossip.message import NEVER
from gala.launch.launch import Launch
from gala.launch.rendezvous import Rendezvous


class Node:
    """What :class:`Gossip` needs of a node."""

    copies = ((1,), (2,), (3,))
    partial, staleness, jumped = False, 0, 6

    def __init__(self, lock_step: bool, agents: int = 5, every: int = 1) -> None:
        self.every = every
        self.lock_step, self.stop_at, self.calls = lock_step, NEVER, []
        self.topology = type("T", (), {"agents": agents})

    def publish(self, **counts: int) -> None:
        self.calls.append(("publish", counts))

    def rest(self) -> None:
        self.calls.append(("rest", {}))

    def mix(self) -> bool:
        self.calls.append(("mix", {}))
        return True

    def close(self) -> None:
        self.calls.append(("close", {}))


def test_gossip_publishes_then_mixes_and_leaves_gradients_alone() -> None:
    node = Node(lock_step=False)
    gossip = Gossip(node)  # type: ignore[arg-type]
    gradient = torch.ones(3)
    gossip.reduce(gradient)
    assert gossip.exchange(4, 80) is True
    gossip.close()
    assert [name for name, _ in node.calls] == ["publish", "mix", "close"]
    assert node.calls[0][1] == {"update": 4, "step": 80} and gradient.tolist() == [1, 1, 1]


def test_updates_between_two_exchanges_only_count() -> None:
    node = Node(lock_step=False, every=3)
    gossip = Gossip(node)  # type: ignore[arg-type]
    found = [(gossip.exchange(update, 10 * update), gossip.jumped) for update in range(2, 8)]
    assert found == [(False, 0), (True, 6), (False, 0), (False, 0), (True, 6), (False, 0)]
    assert [counts["update"] for name, counts in node.calls if name == "publish"] == [3, 6]
    assert [name for name, _ in node.calls] == [
        "rest", "publish", "mix", "rest", "rest", "publish", "mix", "rest"
    ]  # fmt: skip


def test_in_lock_step_the_wish_to_stop_travels_by_rounds() -> None:
    node = Node(lock_step=True, agents=5, every=3)
    gossip = Gossip(node)  # type: ignore[arg-type]
    gossip.ask_to_stop(7)
    assert gossip.stops_at() == 7 + 5 * 3


def test_what_is_not_due_is_not_published_but_mixing_goes_on() -> None:
    class TwoEverySecond:
        def __init__(self) -> None:
            self.asked = self.told = 0

        def due(self, copies: int) -> int:
            assert copies == 3
            self.asked += 1
            return 2 * (self.asked % 2 == 0)

        def before_mix(self, *received: object) -> None: ...

        def sent(self, copies: int) -> None:
            self.told += copies

    node, pace = Node(lock_step=False), TwoEverySecond()
    gossip = Gossip(node, pace=pace)  # type: ignore[arg-type]
    for k in range(4):
        gossip.exchange(k + 1, 0)
    assert [name for name, _ in node.calls] == ["rest", "mix", "publish", "mix"] * 2
    assert node.calls[2][1] == {"update": 2, "step": 0, "copies": 2} and pace.told == 4


@pytest.mark.parametrize(("lock_step", "stop"), [(False, 10), (True, 15)])
def test_gossip_stops_now_or_when_all_have_heard(lock_step: bool, stop: int) -> None:
    gossip = Gossip(Node(lock_step))  # type: ignore[arg-type]
    assert gossip.stops_at() == NEVER
    gossip.ask_to_stop(10)
    gossip.ask_to_stop(12)  # asked again later: the first proposal stands
    assert gossip.stops_at() == stop


def test_independent_agents_stop_for_themselves() -> None:
    alone = Independent()
    assert alone.exchange(1, 1) is False and alone.stops_at() == NEVER
    alone.ask_to_stop(3)
    assert alone.stops_at() == 3


def test_allreduce_alone_changes_nothing() -> None:
    alone = AllReduce(Launch(), 3)
    gradient = torch.tensor([1.0, 2.0, 3.0])
    alone.reduce(gradient)
    alone.ask_to_stop(7)
    assert gradient.tolist() == [1, 2, 3] and alone.stops_at() == 7
    alone.close()


def _reduce(rank: int, port: int, results: multiprocessing.Queue) -> None:
    store = dist.TCPStore("127.0.0.1", port, 2, rank == 0)
    coupling = AllReduce(
        Launch(rank=rank, agents=2, rendezvous=Rendezvous(store, lambda: store)), 2
    )
    stops = []
    for update in range(3):
        gradient = torch.tensor([float(rank), 10.0 * update])
        if rank == 1 and update == 1:
            coupling.ask_to_stop(update)
        coupling.reduce(gradient)
        coupling.exchange(update + 1, 0)
        stops.append(coupling.stops_at())
    results.put((rank, gradient.tolist(), stops))
    results.close()
    results.join_thread()
    dist.barrier()
    coupling.close()


def test_allreduce_averages_and_all_stop_at_the_same_update() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    workers = [context.Process(target=_reduce, args=(r, port, results)) for r in range(2)]
    for worker in workers:
        worker.start()
    found = sorted(results.get(timeout=60) for _ in workers)
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    results.close()
    for _, gradient, stops in found:
        assert gradient == [0.5, 20.0]
        assert stops == [NEVER, 2, 2]  # asked before update 2 was reduced: all stop after it
