"""Connections: the transport that reaches an agent's neighbours, chosen from the launch."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from gala.config.sections import FaultsConfig
from gala.errors import UserError
from gala.gossip.faulty import FaultyTransport
from gala.gossip.in_process import InProcessTransport, LocalGroup
from gala.gossip.message import Identity
from gala.gossip.network import Endpoint, NetworkTransport
from gala.gossip.routes import Routes
from gala.gossip.shared_memory import SharedMemoryTransport
from gala.gossip.transport import Transport
from gala.gossip.wire import CPU
from gala.launch.launch import Launch
from gala.topology import Topology


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
    """

    launch: Launch
    topology: Topology
    identity: Identity
    payload_bytes: int
    lock_step: bool
    local_group: LocalGroup


def connect(choice: str, connection: Connection) -> Transport:
    """The transport that ``choice`` names.

    ``auto`` reaches agents of the same process in memory, of the same host through shared memory,
    and all others over gloo.

    Raises:
        UserError: no room in shared memory; ``memory`` between processes.
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
    if choice == "gloo" or (choice == "auto" and launch.local_agents < launch.agents):
        network = _network(connection, nearby=choice == "auto")
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


def _network(connection: Connection, *, nearby: bool) -> NetworkTransport:
    launch, topology = connection.launch, connection.topology
    assert launch.rendezvous is not None

    def far(peers: tuple[int, ...]) -> list[int]:
        return [peer for peer in peers if peer not in connection.local_group.ranks]

    return NetworkTransport(
        endpoint=Endpoint(
            rank=launch.rank,
            agents=launch.agents,
            incarnation=launch.incarnation,
            host=launch.host,
            rendezvous=launch.rendezvous,
        ),
        in_neighbours=far(topology.in_neighbours(launch.rank)),
        out_neighbours=far(topology.out_neighbours(launch.rank)),
        payload_bytes=connection.payload_bytes,
        identity=connection.identity,
        answers=connection.lock_step,
        nearby=nearby,
    )


def device_of_messages(
    local_group: LocalGroup, agents: int, faults: FaultsConfig, device: torch.device
) -> torch.device:
    """Device of messages: the one that all agents of the launch share, or the CPU.

    Faults are made on the CPU: late messages leave by a thread that knows nothing of streams.
    """
    alone = len(local_group.ranks) == agents and local_group.handover is not None
    return device if alone and _harmless(faults) else CPU


def _harmless(faults: FaultsConfig) -> bool:
    return replace(faults, agents=None, slowdown=1.0) == FaultsConfig()


def with_faults(transport: Transport, faults: FaultsConfig, *, rank: int, seed: int) -> Transport:
    """``transport`` of agent ``rank``, broken on purpose if ``faults`` says so."""
    if _harmless(faults) or not faults.concern(rank):
        return transport
    return FaultyTransport(transport, faults, seed=seed)
