"""Transports over real sockets for tests: two agents and more in one process."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist

from gala.gossip import message
from gala.gossip.message import Header, Identity
from gala.gossip.network import Endpoint
from gala.gossip.tcp.transport import Site, TcpTransport
from gala.launch.rendezvous import Rendezvous

P = 1001
IDENTITY = Identity(run="00" * 8, topology="11" * 8, layout="22" * 8)
Open = Callable[..., TcpTransport]


@contextmanager
def opening(port: int, guards: Callable[[int], Any] | None = None) -> Iterator[Open]:
    """Opens transports that meet in the store at ``port``, and closes them."""
    opened = []

    def open_(rank: int, *, agents: int = 2, **options: Any) -> TcpTransport:
        connect = lambda: dist.TCPStore("127.0.0.1", port, None, False)  # noqa: E731
        peers = options.pop("peers", [j for j in range(agents) if j != rank])
        endpoint = Endpoint(
            rank=rank, agents=agents, incarnation=options.pop("incarnation", 0),
            host=options.pop("host", "here"),
            rendezvous=options.pop("rendezvous", None) or Rendezvous(connect(), connect),
        )  # fmt: skip
        site = {"toward": "127.0.0.1"} | options.pop("site", {})
        if guards is not None:
            site.setdefault("guard", guards(rank))
        settings = {
            "in_neighbours": peers, "out_neighbours": peers, "payload_bytes": P * 4,
            "identity": IDENTITY, "nearby": False,
        }  # fmt: skip
        transport = TcpTransport(endpoint=endpoint, site=Site(**site), **(settings | options))
        opened.append(transport)
        return transport

    yield open_
    for transport in opened:
        transport.close()


def publish(
    box: TcpTransport,
    rank: int,
    version: int,
    value: float = 1.0,
    to: Collection[int] | None = None,
    identity: Identity = IDENTITY,
    parameters: int = P,
) -> None:
    payload = torch.full((parameters,), value).view(torch.uint8)
    update = version % message.VERSIONS_PER_INCARNATION
    header = Header(
        identity=identity, rank=rank, version=version, update=update, step=8 * update, time=1.0,
        incarnation=version // message.VERSIONS_PER_INCARNATION,
    )  # fmt: skip
    box.publish(message.sealed(header, payload), payload, to)


def values(box: TcpTransport, peer: int) -> torch.Tensor:
    found = box.latest(peer)
    assert found is not None
    return found[1].view(torch.float32)


def eventually(condition: Callable[[], bool], what: Callable[[], object] = lambda: "") -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, f"did not happen in time: {what()}"
        time.sleep(0.002)
