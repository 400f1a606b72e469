"""What carries a message between hosts: milliseconds, CPU and MB/s over loopback.

    python experiments/bench/transports.py [--edges 1 4 16] [--rounds 3] [--messages 100]

One process sends the parameters of the network for Atari (6.8 MB, float32) to 1 to 16 agents in
another process, and sends the next ones when all have taken them. Each message is sealed and
verified, as agents do. pyzmq is measured where it is installed. All take turns, so that they see
the same machine. Writes experiments/results/transports.{json,md}.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
import torch.distributed as dist
from recording import table, write

from gala.gossip import message
from gala.gossip.message import Header, Identity
from gala.gossip.network import Endpoint, NetworkTransport
from gala.gossip.tcp.transport import Site, TcpTransport
from gala.launch.rendezvous import Rendezvous

PARAMETERS = 1_687_206
"""Of Nature-CNN with the head and value of Pong: 6.75 MB."""
IDENTITY = Identity(run="00" * 8, topology="11" * 8, layout="22" * 8)
POLL_S = 2e-4
WARM_UP = 10

Send = Callable[[Header, torch.Tensor], None]


def transport(name: str, port: int, rank: int, edges: int) -> Any:
    """Agent ``rank`` of a star: 0 sends to 1 ... ``edges``."""

    def connect() -> dist.Store:
        return dist.TCPStore("127.0.0.1", port, None, False)

    endpoint = Endpoint(
        rank=rank, agents=edges + 1, incarnation=0, host="here",
        rendezvous=Rendezvous(connect(), connect),
    )  # fmt: skip
    shared: dict[str, Any] = {
        "endpoint": endpoint, "payload_bytes": 4 * PARAMETERS, "identity": IDENTITY,
        "in_neighbours": [0] if rank else [], "answers": True, "nearby": False,
        "out_neighbours": [] if rank else range(1, edges + 1),
    }  # fmt: skip
    if name == "gloo":
        return NetworkTransport(**shared)
    return TcpTransport(**shared, site=site_of(name))


def site_of(name: str) -> Site:
    """The network of ``tcp`` or ``tcp, TLS 1.3``."""
    if name == "tcp":
        return Site(toward="127.0.0.1")
    from gala.launch.authority import derive
    from gala.launch.credentials import Credentials

    return Site(toward="127.0.0.1", guard=Credentials(derive(b"a secret of a benchmark")))


def take_messages(name: str, port: int, edges: int, pipe: Any) -> None:
    """The other process: takes messages until told to end, and says what CPU it used."""
    if name.startswith("pyzmq"):
        loop = zmq_receiver(name, port, edges)
    else:
        loop = receiver([transport(name, port, rank, edges) for rank in range(1, edges + 1)])
    next(loop)
    used = 0.0
    while True:
        if pipe.poll():
            word = pipe.recv()
            if word == "end":
                loop.close()
                return
            now = cpu()
            pipe.send(now - used)
            used = now
        next(loop)


def receiver(boxes: list[Any]) -> Generator[None, None, None]:
    """Takes what comes."""
    taken = [0] * len(boxes)
    try:
        while True:
            idle = True
            for index, box in enumerate(boxes):
                version = box.version(0)
                if version > taken[index]:
                    assert box.latest(0) is not None
                    box.acknowledge(0, version)
                    taken[index], idle = version, False
            if idle:
                time.sleep(POLL_S)
            yield
    finally:
        for box in boxes:
            box.close()


def zmq_sockets(name: str, port: int, edges: int, side: int) -> tuple[Any, list[Any]]:
    """A pair of sockets for each edge; side 0 sends. The keys are of no use to anybody."""
    import zmq
    from zmq.utils import z85

    context = zmq.Context()
    keys = [(bytes([n]) * 32) for n in (1, 2)]
    pairs = [(zmq.curve_public(e), e) for e in map(z85.encode, keys)]
    made = []
    for edge in range(edges):
        sock = context.socket(zmq.PAIR)
        sock.setsockopt(zmq.LINGER, 0)
        if "CURVE" in name:
            sock.curve_publickey, sock.curve_secretkey = pairs[side]
            if side == 0:
                sock.curve_server = True
            else:
                sock.curve_serverkey = pairs[0][0]
        address = f"tcp://127.0.0.1:{port + edge}"
        (sock.bind if side == 0 else sock.connect)(address)
        made.append(sock)
    return context, made


def zmq_receiver(name: str, port: int, edges: int) -> Generator[None, None, None]:
    """The same with pyzmq."""
    import zmq

    context, sockets = zmq_sockets(name, port, edges, 1)
    poller = zmq.Poller()
    for sock in sockets:
        poller.register(sock, zmq.POLLIN)
    try:
        while True:
            for sock, _ in poller.poll(10):
                head, payload = sock.recv_multipart(copy=False)
                header = message.unpack(bytes(head.buffer), identity=IDENTITY, rank=0)
                message.verify(header, torch.frombuffer(payload.buffer, dtype=torch.uint8))
                sock.send(b"taken")
            yield
    finally:
        context.destroy()


@contextmanager
def sender(name: str, port: int, edges: int) -> Iterator[Send]:
    """Sends a message to all, and waits until all have taken it."""
    if name.startswith("pyzmq"):
        context, sockets = zmq_sockets(name, port, edges, 0)

        def send(header: Header, payload: torch.Tensor) -> None:
            copy = payload.clone().numpy()
            for sock in sockets:
                sock.send_multipart([header.pack(), copy], copy=False)
            for sock in sockets:
                sock.recv()

        yield send
        context.destroy()
        return
    with closing(transport(name, port, 0, edges)) as box:

        def publish(header: Header, payload: torch.Tensor) -> None:
            box.publish(header, payload)
            while min(map(box.acknowledged, range(1, edges + 1))) < header.version:
                time.sleep(POLL_S)

        yield publish


def cpu() -> float:
    """Seconds of CPU that this process has used."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def measure(name: str, edges: int, messages: int) -> dict[str, float]:
    """Wall milliseconds (median) and CPU milliseconds of both ends for a message to all edges."""
    store = dist.TCPStore("127.0.0.1", 0, None, True, wait_for_workers=False)
    port = 29600 if name.startswith("pyzmq") else store.port
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=take_messages, args=(name, port, edges, theirs)
    )
    process.start()
    vector = torch.randn(PARAMETERS)
    walls, used = [], 0.0
    with sender(name, port, edges) as send:
        for version in range(1, messages + WARM_UP + 1):
            if version == WARM_UP + 1:
                ours.send("cpu")
                ours.recv()
                used = cpu()
            header = Header(
                identity=IDENTITY, rank=0, version=version, update=version, step=0, time=0.0
            )
            began = time.perf_counter()
            payload = vector.view(torch.uint8)
            send(message.sealed(header, payload), payload)
            walls.append(time.perf_counter() - began)
        used = cpu() - used
        ours.send("cpu")
        used += ours.recv()
        ours.send("end")
    process.join()
    wall = statistics.median(walls[WARM_UP:])
    return {
        "ms": 1e3 * wall,
        "cpu_ms": 1e3 * used / messages,
        "mb_s": edges * 4 * PARAMETERS / 1e6 / wall,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edges", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--messages", type=int, default=100)
    parser.add_argument("--only", nargs="+", help="these alone")
    parser.add_argument("--dry", action="store_true", help="print, and write nothing")
    options = parser.parse_args()
    names = ["tcp", "gloo"] + ["pyzmq"] * bool(find_spec("zmq"))
    names += ["tcp, TLS 1.3"] * bool(find_spec("cryptography"))
    names += ["pyzmq, CURVE"] * bool(find_spec("zmq"))
    names = [name for name in names if options.only is None or name in options.only]
    torch.set_num_threads(1)
    found: dict[str, dict[str, float]] = {}
    rows = []
    for edges in options.edges:
        cases = {name: partial(measure, name, edges, options.messages) for name in names}
        taken: dict[str, list[dict[str, float]]] = {name: [] for name in names}
        for _ in range(options.rounds):
            for name, case in cases.items():
                taken[name].append(case())
        for name, each in taken.items():
            medians = {key: statistics.median(one[key] for one in each) for key in each[0]}
            found[f"{name}, {edges}"] = medians
            rows.append(
                [name, str(edges), f"{medians['ms']:.1f}", f"{medians['cpu_ms']:.1f}",
                 f"{medians['mb_s']:.0f}"]
            )  # fmt: skip
            print(rows[-1], flush=True)
    if options.dry:
        return
    page = f"""# Transports between hosts

A message of {4 * PARAMETERS / 1e6:.1f} MB to each of so many agents in one other process, over
loopback, until all have taken it; medians of {options.rounds} rounds of {options.messages}
messages. CPU: of both processes together. Sealed and verified, as between agents.

{table(["", "edges", "ms", "CPU ms", "MB/s"], rows)}
"""
    write("transports", {"messages": options.messages, "cases": found}, page)


if __name__ == "__main__":
    main()
