"""Joining: from an agent's rank and parameters to its node, for the training loop and the API."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypedDict, Unpack

import torch
from torch import Tensor

from gala.config.sections import FaultsConfig, GossipConfig
from gala.gossip import shared_memory
from gala.gossip.connecting import Connection, connect, device_of_messages, with_faults
from gala.gossip.in_process import LocalGroup
from gala.gossip.judging import Parts
from gala.gossip.message import Identity
from gala.gossip.mixing import Mixer, among_present, mixer_of, without_missing
from gala.gossip.node import GossipNode
from gala.gossip.notes import Notes
from gala.gossip.wire import CPU, Wire, wire_format
from gala.launch import supervisor
from gala.launch.launch import Launch
from gala.telemetry.history import History
from gala.topology import Topology

NO_FAULTS = FaultsConfig()


class Agent(TypedDict, total=False):
    """What a node asks and tells its agent, as :class:`GossipNode` describes it."""

    moved: Callable[[], float]
    parts: Parts | None
    history: History | None
    asked: Callable[[], bool]
    aborted: Callable[[], bool]


def make_node(
    *,
    launch: Launch,
    topology: Topology,
    vector: Tensor,
    layout_hash: str,
    run: str,
    gossip: GossipConfig,
    local_group: LocalGroup | None = None,
    device: torch.device = CPU,
    faults: FaultsConfig = NO_FAULTS,
    seed: int = 0,
    mixer: Callable[[torch.device], Mixer] | None = None,
    **agent: Unpack[Agent],
) -> GossipNode:
    """The node of one agent, connected to its neighbours.

    Args:
        launch: rank of the agent, and how it finds the others.
        topology: its neighbours.
        vector: Float32[P], its parameters, mixed in place.
        layout_hash: of names and shapes in ``vector``; only equal ones are mixed.
        run: 16 hex digits that the messages of this launch carry.
        gossip: the choices of the user.
        local_group: the agents of this process; None: this one alone.
        device: where the parameters are computed.
        faults: what to break on purpose.
        seed: of those.
        mixer: makes the mixing rule for the device of messages; None: that of the topology.
        agent: ``moved``, ``parts``, ``history``, ``asked`` and ``aborted`` of :class:`GossipNode`.

    Raises:
        UserError: no room in shared memory, or a transport that does not reach the neighbours.
    """
    group = local_group if local_group is not None else LocalGroup(launch.local_group)
    messages_on = device_of_messages(group, launch.agents, faults, device)
    wire = _wire(gossip, topology, vector, messages_on)
    identity = Identity(run=run, topology=topology.hash, layout=layout_hash, wire=wire.code)
    notes = Notes()
    transport = connect(
        gossip.transport,
        Connection(
            launch=launch,
            topology=topology,
            identity=identity,
            payload_bytes=wire.payload_bytes,
            lock_step=gossip.max_staleness == 0,
            local_group=group,
            notes=notes,
        ),
    )
    supervisor.tell(f"remove {shared_memory.path_of(run, launch.rank)}")
    steered = gossip.epsilon_target is not None
    if mixer is None:
        begins_with_all = gossip.max_staleness == 0 and launch.incarnation == 0
        mixer = partial(_averages, topology, vector, not begins_with_all, steered)
    return GossipNode(
        rank=launch.rank,
        topology=topology,
        vector=vector,
        transport=with_faults(transport, faults, rank=launch.rank, seed=seed),
        identity=identity,
        wire=wire,
        mixer=mixer(messages_on),
        max_staleness=gossip.max_staleness,
        every=gossip.every,
        policy=gossip.staleness_policy,
        timeout_s=gossip.timeout_s,
        partial=steered or gossip.trigger != "none",
        trust_factor=gossip.trust_radius,
        incarnation=launch.incarnation,
        notes=notes,
        **agent,
    )


def _wire(gossip: GossipConfig, topology: Topology, vector: Tensor, device: torch.device) -> Wire:
    if topology.push_sum:  # which sends a weight too
        return wire_format("float64", vector.numel() + 1, device)
    return wire_format(gossip.wire_format, vector.numel(), device)


def _averages(
    topology: Topology, vector: Tensor, newcomer: bool, steered: bool, device: torch.device
) -> Mixer:
    # who waits for the messages of all before mixing drifts while one of them is slow
    weigh = among_present if steered else without_missing
    return mixer_of(topology, vector, newcomer=newcomer, weigh=weigh, device=device)
