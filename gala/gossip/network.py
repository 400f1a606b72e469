"""Mailboxes between hosts: one pair of processes per directed edge, over gloo.

A gloo operation cannot be polled, breaks its group when it times out, and aborts the process when
a message is larger than expected. Hence each directed edge is a group of its own with a thread at
either end, so that a dead neighbour breaks that edge alone; everything goes through buffers of
fixed size, and the key of their rendezvous holds whatever decides that size.

The receiving end offers the edge: it writes a token of its own into the store. The sending end
accepts the newest token that it finds; then both form the group, and neither has to wait long for
the other. When an edge breaks, the receiver makes a new offer. The store is needed for nothing
else: edges that stand do without it.

On the wire: a head (message header, then the environment steps known of every agent, Int64[N]) and,
for data, the payload. A sender with nothing new sends a heartbeat every second. In lock-step the
receiver answers each message with the version that its agent took, and until that is the
message's own with the one before, every second.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from gala.gossip import message
from gala.gossip.membership import PeerState
from gala.gossip.message import HEADER_BYTES, MAX_COUNT, Header, Identity, Kind, Refused
from gala.launch.environment import store_host
from gala.launch.rendezvous import Rendezvous

HEARTBEAT_S = 1.0
SILENCE_S = 20.0
"""Without even a heartbeat for so long, an edge is given up and formed anew."""
FORMING_S = 5.0
PAUSE_S = 0.05
SEND_S = 60.0
GOODBYE_S = 2.0

_SENDER, _RECEIVER = 0, 1
_HEAD, _PAYLOAD = 0, 1  # tags

_Gloo: Any = dist.ProcessGroupGloo  # torch's type hints know nothing of sending and receiving
Group = Any


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Endpoint of an agent in the network.

    Attributes:
        rank: index of the agent.
        agents: number of agents.
        incarnation: restarts of the agent so far.
        host: names its host.
        rendezvous: the store by which agents find each other.
    """

    rank: int
    agents: int
    incarnation: int
    host: str
    rendezvous: Rendezvous


class NetworkTransport:
    """The edges of one agent.

    Args:
        endpoint: of this agent.
        in_neighbours: whose messages it receives.
        out_neighbours: to whom it sends.
        payload_bytes: size of the payload of every message.
        identity: what messages must agree on.
        answers: whether each message is answered by the version taken (lock-step).
        nearby: whether neighbours on the same host are left to another transport.
    """

    def __init__(
        self,
        *,
        endpoint: Endpoint,
        in_neighbours: Iterable[int],
        out_neighbours: Iterable[int],
        payload_bytes: int,
        identity: Identity,
        answers: bool = False,
        nearby: bool = True,
    ) -> None:
        self._endpoint, self._identity = endpoint, identity
        self._nearby = nearby
        self.local: set[int] = set()
        self._steps = torch.zeros(endpoint.agents, dtype=torch.int64)
        endpoint.rendezvous.set(f"host/{endpoint.rank}", endpoint.host)
        sys.setswitchinterval(5e-4)
        device = _device()
        schema = f"{identity.run}/{identity.layout}.{identity.topology}.{payload_bytes}"
        shared = _Shared(
            endpoint=endpoint,
            identity=identity,
            payload_bytes=payload_bytes,
            schema=schema,
            answers=answers,
            device=device,
            steps=self._steps,
            is_elsewhere=self._is_elsewhere,
        )
        self._in = {j: _InEdge(shared, j) for j in in_neighbours}
        self._out = {i: _OutEdge(shared, i) for i in out_neighbours}
        for edge in (*self._in.values(), *self._out.values()):
            edge.thread.start()

    @property
    def copies_sent(self) -> int:
        """See :class:`~gala.gossip.transport.Transport`; those that were replaced by newer ones
        before they were sent, or whose edge does not stand, do not count.
        """
        return sum(edge.copies_sent for edge in self._out.values())

    def publish(self, header: Header, payload: Tensor, to: Collection[int] | None = None) -> None:
        """See :class:`~gala.gossip.transport.Transport`; edges of others carry the steps alone."""
        self._steps[self._endpoint.rank] = header.step
        wanted = self._out.keys() if to is None else to
        far = [edge for i, edge in self._out.items() if i in wanted and i not in self.local]
        if far:
            snapshot = header, payload.clone()
            for edge in far:
                edge.offer(snapshot)

    def copies(self, peers: Sequence[int]) -> list[tuple[int, ...]]:
        """See :class:`~gala.gossip.transport.Transport`; one for each edge."""
        return [(peer,) for peer in peers]

    def version(self, peer: int) -> int:
        """See :class:`~gala.gossip.transport.Transport`."""
        edge = self._in.get(peer)
        return edge.version if edge is not None else 0

    def latest(self, peer: int) -> tuple[Header, Tensor] | None:
        """See :class:`~gala.gossip.transport.Transport`."""
        edge = self._in.get(peer)
        if edge is None or edge.latest is None:
            return None
        if isinstance(edge.latest, Refused):
            raise edge.latest
        return edge.latest

    def steps(self, peer: int) -> int:
        """See :class:`~gala.gossip.transport.Transport`; the steps of all agents travel along."""
        return int(self._steps[peer])

    def acknowledge(self, peer: int, version: int) -> None:
        """See :class:`~gala.gossip.transport.Transport`."""
        edge = self._in.get(peer)
        if edge is not None:
            edge.take(version)

    def acknowledged(self, peer: int) -> int:
        """See :class:`~gala.gossip.transport.Transport`."""
        edge = self._out.get(peer)
        return edge.taken if edge is not None else 0

    def state(self, peer: int) -> PeerState:
        """See :class:`~gala.gossip.transport.Transport`; as the edge from or to ``peer`` shows."""
        edge = self._in.get(peer) or self._out.get(peer)
        return edge.state if edge is not None else PeerState.JOINING

    def close(self) -> None:
        """Send BYE on every edge that stands; does not wait for the others for long.

        An edge to a neighbour that hangs keeps its thread; see :func:`gala.train.main`.
        """
        edges = (*self._out.values(), *self._in.values())
        for edge in edges:
            edge.close()
        deadline = time.monotonic() + GOODBYE_S
        for edge in edges:  # in-edges end with the next heartbeat or BYE
            edge.thread.join(max(deadline - time.monotonic(), 0.0))

    def _is_elsewhere(self, peer: int) -> bool | None:
        """Whether ``peer`` must be reached over the network; None as long as nobody knows."""
        key = f"host/{peer}"
        if not self._endpoint.rendezvous.check([key]):
            return None
        if self._nearby and self._endpoint.rendezvous.get(key).decode() == self._endpoint.host:
            self.local.add(peer)
            return False
        return True


@dataclass(frozen=True, kw_only=True)
class _Shared:
    """Settings that all edges of an agent have in common."""

    endpoint: Endpoint
    identity: Identity
    payload_bytes: int
    schema: str
    answers: bool
    device: object
    steps: Tensor
    is_elsewhere: Callable[[int], bool | None]

    @property
    def head_bytes(self) -> int:
        return HEADER_BYTES + 8 * self.endpoint.agents

    def group(self, edge: str, token: str, end: int) -> Group:
        options = _Gloo._Options()
        options._devices = [self.device]
        options._threads = 1
        options._timeout = timedelta(seconds=FORMING_S)
        # A connection of its own: a client that waits for the other end locks out all other edges.
        store = dist.PrefixStore(
            f"edge/{self.schema}/{edge}/{token}", self.endpoint.rendezvous.fresh()
        )
        return _Gloo(store, end, 2, options)


class _Edge(ABC):
    """One end of an edge: a thread that forms the edge again and again, and uses it."""

    def __init__(self, shared: _Shared, peer: int, source: int, target: int) -> None:
        self.shared, self.peer = shared, peer
        self.name = f"{source}>{target}"
        self.state = PeerState.JOINING
        self.problem = ""
        self.condition = threading.Condition()
        self.closed = False
        self.thread = threading.Thread(target=self._run, name=f"edge {self.name}", daemon=True)

    def close(self) -> None:
        with self.condition:
            self.closed = True
            self.condition.notify_all()

    def _run(self) -> None:
        while not self.closed:
            try:
                elsewhere = self.shared.is_elsewhere(self.peer)
                if elsewhere is False:
                    return
                group = self._form() if elsewhere else None
                if group is not None:
                    self._use(group)
            except Exception as error:  # whatever gloo or the store raise: it is tried again
                self.problem = f"{type(error).__name__}: {error}"
                if self.state is PeerState.ACTIVE:
                    self.state = PeerState.DOWN
            with self.condition:
                if not self.closed:
                    self.condition.wait(PAUSE_S)

    @abstractmethod
    def _form(self) -> Group | None:
        """A group with the other end; None when it is not there yet."""

    @abstractmethod
    def _use(self, group: Group) -> None:
        """Send or receive until the edge ends."""

    def _key(self, kind: str) -> str:
        return f"{kind}/{self.shared.schema}/{self.name}"

    def _read(self, key: str) -> str:
        rendezvous = self.shared.endpoint.rendezvous
        return rendezvous.get(key).decode() if rendezvous.check([key]) else ""


class _InEdge(_Edge):
    """The receiving end."""

    def __init__(self, shared: _Shared, peer: int) -> None:
        super().__init__(shared, peer, peer, shared.endpoint.rank)
        self.latest: tuple[Header, Tensor] | Refused | None = None
        self.version = 0
        self._taken = 0
        self._attempt, self._offered = 0, False

    def take(self, version: int) -> None:
        """Acknowledge ``version``."""
        with self.condition:
            self._taken = max(self._taken, version)
            self.condition.notify_all()

    def _form(self) -> Group | None:
        token = f"{self.shared.endpoint.incarnation}.{self._attempt}"
        if not self._offered:
            self.shared.endpoint.rendezvous.set(self._key("offer"), token)
            self._offered = True
        accepted = self._read(self._key("accept"))
        if not accepted.startswith(f"{token}/"):
            return None
        self._attempt, self._offered = self._attempt + 1, False
        return self.shared.group(self.name, accepted, _RECEIVER)

    def _use(self, group: Group) -> None:
        shared = self.shared
        # Both are awaited before they come: gloo then needs no round trip for either.
        head, head_work = self._await(group, shared.head_bytes, _HEAD)
        payload, payload_work = self._await(group, shared.payload_bytes, _PAYLOAD)
        while not self.closed:
            head_work.wait(timedelta(seconds=SILENCE_S))
            data = head.numpy().tobytes()
            head, head_work = self._await(group, shared.head_bytes, _HEAD)
            known = torch.frombuffer(bytearray(data[HEADER_BYTES:]), dtype=torch.int64)
            known.masked_fill_(
                (known < 0) | (known >= MAX_COUNT), 0
            )  # nothing would lower it again
            torch.maximum(shared.steps, known, out=shared.steps)
            header = message.unpack(data[:HEADER_BYTES], identity=shared.identity, rank=self.peer)
            if header.kind is Kind.BYE:
                self.state = PeerState.LEFT
                return
            if header.kind is Kind.HEARTBEAT:
                continue
            payload_work.wait(timedelta(seconds=SEND_S))
            received = payload
            payload, payload_work = self._await(group, shared.payload_bytes, _PAYLOAD)
            try:
                message.verify(header, received)
                self.latest = header, received
            except Refused as refused:
                self.latest = refused
            if not self.version:  # see Sights.look
                self.state = PeerState.ACTIVE
            self.version = header.version
            self.state = PeerState.ACTIVE
            if shared.answers:
                self._answer(group, header.version)

    def _answer(self, group: Group, version: int) -> None:
        """Say what was taken until that is ``version``: every second, as a sign of life."""
        answer = torch.zeros(1, dtype=torch.int64)
        while int(answer) < version and not self.closed:
            with self.condition:
                self.condition.wait_for(lambda: self._taken >= version or self.closed, HEARTBEAT_S)
                answer[0] = self._taken
            group.send([answer], _SENDER, _HEAD).wait(timedelta(seconds=SEND_S))

    @staticmethod
    def _await(group: Group, size: int, tag: int) -> tuple[Tensor, Any]:
        buffer = torch.empty(size, dtype=torch.uint8)
        return buffer, group.recv([buffer], _SENDER, tag)


class _OutEdge(_Edge):
    """The sending end; sends the newest snapshot only."""

    def __init__(self, shared: _Shared, peer: int) -> None:
        super().__init__(shared, peer, shared.endpoint.rank, peer)
        self.taken = 0
        self.copies_sent = 0
        self._snapshot: tuple[Header, Tensor] | None = None
        self._sent = 0
        self._joined = ""
        self._attempt = 0

    def offer(self, snapshot: tuple[Header, Tensor]) -> None:
        """Send ``snapshot`` when the one under way is done, unless a newer one comes first."""
        with self.condition:
            self._snapshot = snapshot
            self.condition.notify_all()

    def _form(self) -> Group | None:
        token = self._read(self._key("offer"))
        if token in ("", self._joined):
            return None
        self._joined = token
        self._attempt += 1
        accepted = f"{token}/{self.shared.endpoint.incarnation}.{self._attempt}"
        self.shared.endpoint.rendezvous.set(self._key("accept"), accepted)
        group = self.shared.group(self.name, accepted, _SENDER)
        self._sent = 0  # whoever is there now has seen nothing
        return group

    def _use(self, group: Group) -> None:
        self.state = PeerState.ACTIVE
        answer = torch.empty(1, dtype=torch.int64)
        while True:
            with self.condition:
                self.condition.wait_for(lambda: self._has_unsent() or self.closed, HEARTBEAT_S)
                snapshot = self._snapshot if self._has_unsent() else None
            if snapshot is None and self.closed:
                self._send_head(group, Kind.BYE)
                return
            if snapshot is None:
                self._send_head(group, Kind.HEARTBEAT)
                continue
            header, payload = snapshot
            payload_work = group.send([payload], _RECEIVER, _PAYLOAD)
            self._send_head(group, Kind.DATA, header)
            payload_work.wait(timedelta(seconds=SEND_S))
            self._sent = header.version
            self.copies_sent += 1
            answer[0] = 0
            while self.shared.answers and int(answer) < header.version:
                group.recv([answer], _RECEIVER, _HEAD).wait(timedelta(seconds=SILENCE_S))
                self.taken = int(answer)

    def _has_unsent(self) -> bool:
        return self._snapshot is not None and self._snapshot[0].version > self._sent

    def _send_head(self, group: Group, kind: Kind, header: Header | None = None) -> None:
        shared = self.shared
        if header is None:
            header = Header(
                identity=shared.identity,
                rank=shared.endpoint.rank,
                incarnation=shared.endpoint.incarnation,
                version=self._sent,
                update=0,
                step=0,
                time=time.time(),
                kind=kind,
            )
        data = bytearray(header.pack() + shared.steps.numpy().tobytes())
        head = torch.frombuffer(data, dtype=torch.uint8)
        group.send([head], _RECEIVER, _HEAD).wait(timedelta(seconds=SEND_S))


def _device() -> object:
    """The network interface of all edges: the one that leads to the rendezvous store.

    The name of a host often resolves to a loopback address; ``GLOO_SOCKET_IFNAME`` overrides.
    """
    if "GLOO_SOCKET_IFNAME" in os.environ:
        return _Gloo.create_default_device()
    rendezvous = store_host()
    if not rendezvous:
        return _Gloo.create_default_device()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((rendezvous, 9))
        except OSError:
            return _Gloo.create_default_device()
        return _Gloo.create_device(hostname=probe.getsockname()[0])
