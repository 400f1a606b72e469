"""Joining: from an agent's rank and parameters to its node, for the training loop and the API."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gala.config.sections import FaultsConfig, GossipConfig
from gala.gossip import shared_memory
from gala.gossip.connecting import Connection, connect, device_of_messages, with_faults
from gala.gossip.in_process import LocalGroup
from gala.gossip.message import Identity
from gala.gossip.mixing import among_present, mixer_of, without_missing
from gala.gossip.node import GossipNode
from gala.gossip.wire import CPU, wire_format
from gala.launch import supervisor
from gala.launch.launch import Launch
from gala.topology import Topology

NO_FAULTS = FaultsConfig()


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
    moved: Callable[[], float] = lambda: 0.0,
    aborted: Callable[[], bool] = lambda: False,
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
        moved: see :class:`GossipNode`.
        aborted: see :class:`GossipNode`.

    Raises:
        UserError: no room in shared memory, or a transport that does not reach the neighbours.
    """
    group = local_group if local_group is not None else LocalGroup(launch.local_group)
    elements = vector.numel() + topology.push_sum  # push-sum sends a weight too, in float64
    messages_on = device_of_messages(group, launch.agents, faults, device)
    wire = wire_format(
        "float64" if topology.push_sum else gossip.wire_format, elements, messages_on
    )
    identity = Identity(run=run, topology=topology.hash, layout=layout_hash, wire=wire.code)
    transport = connect(
        gossip.transport,
        Connection(
            launch=launch,
            topology=topology,
            identity=identity,
            payload_bytes=wire.payload_bytes,
            lock_step=gossip.max_staleness == 0,
            local_group=group,
        ),
    )
    supervisor.tell(f"remove {shared_memory.path_of(run, launch.rank)}")
    # who waits for the messages of all before mixing drifts while one of them is slow
    steered = gossip.epsilon_target is not None
    return GossipNode(
        rank=launch.rank,
        topology=topology,
        vector=vector,
        transport=with_faults(transport, faults, rank=launch.rank, seed=seed),
        identity=identity,
        wire=wire,
        mixer=mixer_of(
            topology,
            vector,
            newcomer=launch.incarnation > 0,
            weigh=among_present if steered else without_missing,
            device=messages_on,
        ),
        max_staleness=gossip.max_staleness,
        policy=gossip.staleness_policy,
        timeout_s=gossip.timeout_s,
        partial=steered or gossip.trigger != "none",
        trust_factor=gossip.trust_radius,
        moved=moved,
        incarnation=launch.incarnation,
        aborted=aborted,
    )
