"""Connections: the transport that reaches an agent's neighbours, chosen from the launch."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TypedDict

import torch

from gala.config.faults import cuts_network
from gala.config.sections import FaultsConfig
from gala.errors import UserError
from gala.gossip.faulty import FaultyTransport
from gala.gossip.in_process import InProcessTransport, LocalGroup
from gala.gossip.message import Identity
from gala.gossip.network import Endpoint, NetworkTransport
from gala.gossip.notes import Notes
from gala.gossip.routes import Routes
from gala.gossip.shared_memory import SharedMemoryTransport
from gala.gossip.tcp.guard import Unguarded
from gala.gossip.tcp.transport import Site, TcpTransport
from gala.gossip.transport import Transport
from gala.gossip.wire import CPU
from gala.launch.environment import store_host
from gala.launch.launch import Launch
from gala.topology import Topology


class Edges(TypedDict):
    """What transports between hosts are made from."""

    endpoint: Endpoint
    in_neighbours: list[int]
    out_neighbours: list[int]
    payload_bytes: int
    identity: Identity
    answers: bool
    nearby: bool


@dataclass(frozen=True, kw_only=True)
class Connection:
    """Facts that decide how an agent is connected.

    Attributes:
        launch: rank and host of the agent, and how it finds the others.
        topology: its neighbours.
        identity: what messages must agree on.
        payload_bytes: size of every payload.
        lock_step: whether messages are answered.
        local_group: the agents of this process.
        notes: what the transport has to tell.
    """

    launch: Launch
    topology: Topology
    identity: Identity
    payload_bytes: int
    lock_step: bool
    local_group: LocalGroup
    notes: Notes = field(default_factory=Notes)


def connect(choice: str, connection: Connection) -> Transport:
    """The transport that ``choice`` names.

    ``auto`` reaches agents of the same process in memory, of the same host through shared memory,
    and all others over gloo; over tcp where the user said who belongs to the run, which gloo cannot
    ask.

    Raises:
        UserError: no room in shared memory; ``memory`` between processes; credentials that are
            none, or that the transport cannot use.
    """
    launch = connection.launch
    local_group = connection.local_group
    inside = InProcessTransport(
        rank=launch.rank, local_group=local_group, identity=connection.identity
    )
    if len(local_group.ranks) == launch.agents:
        return inside
    if choice == "memory":
        raise UserError(
            f"memory reaches the {len(local_group.ranks)} agents of one process, this launch has "
            f"{launch.agents}",
            field="--gossip.transport",
            hint=f"--agents-per-process {launch.agents}, or auto",
        )
    transports: list[Transport] = [inside] if len(local_group.ranks) > 1 else []
    shared = None
    if choice in ("auto", "shared-memory"):
        shared = SharedMemoryTransport(
            rank=launch.rank,
            agents=launch.agents,
            payload_bytes=connection.payload_bytes,
            identity=connection.identity,
        )
        transports.append(shared)
    network = None
    if choice in ("gloo", "tcp") or (choice == "auto" and launch.local_agents < launch.agents):
        network = _network(connection, choice)
        transports.append(network)
    if len(transports) == 1:
        return transports[0]

    def route(peer: int) -> Transport | None:
        if peer in local_group.ranks:
            return inside
        if network is None or (shared is not None and peer in network.local):
            return shared
        return network

    return Routes(transports, route)


def _network(connection: Connection, choice: str) -> NetworkTransport | TcpTransport:
    launch, topology = connection.launch, connection.topology
    credentials = launch.security.credentials(launch.rank)
    if choice == "gloo" and credentials is not None:
        rule = "gloo cannot ask who belongs to the run, nor encrypt"
        raise UserError(rule, field="--gossip.transport", hint="tcp")
    assert launch.rendezvous is not None

    def far(peers: tuple[int, ...]) -> list[int]:
        return [peer for peer in peers if peer not in connection.local_group.ranks]

    endpoint = Endpoint(
        rank=launch.rank,
        agents=launch.agents,
        incarnation=launch.incarnation,
        host=launch.host,
        rendezvous=launch.rendezvous,
    )
    edges: Edges = {
        "endpoint": endpoint,
        "in_neighbours": far(topology.in_neighbours(launch.rank)),
        "out_neighbours": far(topology.out_neighbours(launch.rank)),
        "payload_bytes": connection.payload_bytes,
        "identity": connection.identity,
        "answers": connection.lock_step,
        "nearby": choice == "auto",
    }
    if choice == "tcp" or credentials is not None:
        site = Site(
            toward=store_host(),
            listen_at=launch.security.listen,
            guard=credentials if credentials is not None else Unguarded(),
            insecure=launch.security.insecure,
        )
        return TcpTransport(**edges, site=site, notes=connection.notes)
    return NetworkTransport(**edges)


def device_of_messages(
    local_group: LocalGroup, agents: int, faults: FaultsConfig, device: torch.device
) -> torch.device:
    """Device of messages: the one that all agents of the launch share, or the CPU.

    Faults are made on the CPU: late messages leave by a thread that knows nothing of streams.
    """
    alone = len(local_group.ranks) == agents and local_group.handover is not None
    return device if alone and _harmless(faults) and not faults.at else CPU


def _harmless(faults: FaultsConfig) -> bool:
    """Whether messages are left alone; faults at a moment bring what they need."""
    return replace(faults, agents=None, slowdown=1.0, at=()) == FaultsConfig()


def with_faults(transport: Transport, faults: FaultsConfig, *, rank: int, seed: int) -> Transport:
    """``transport`` of agent ``rank``, broken on purpose if ``faults`` says so, or to be cut."""
    harmless = _harmless(faults) or not faults.concern(rank)
    if harmless and not cuts_network(faults.at, rank):
        return transport
    return FaultyTransport(transport, FaultsConfig() if harmless else faults, seed=seed)
