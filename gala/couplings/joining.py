"""From the configuration to the coupling that it names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from gala.config.sections import FaultsConfig, GossipConfig
from gala.couplings.allreduce import AllReduce
from gala.couplings.coupling import Coupling, Independent
from gala.couplings.gossip import Gossip
from gala.couplings.pace import pace_of
from gala.divergence.policy import PolicyDivergence
from gala.gossip.in_process import LocalGroup
from gala.gossip.joining import make_node
from gala.launch import supervisor
from gala.launch.launch import Launch
from gala.parameters.flat import FlatParameters
from gala.topology import Topology


@dataclass(frozen=True, kw_only=True)
class Tie:
    """What a coupling is made from.

    Attributes:
        launch: rank of the agent, and how it finds the others.
        topology: who its neighbours are.
        flat: its parameters.
        device: where they are computed.
        run_id: 16 hex digits that messages of this launch carry.
        local_group: the agents of this process.
        gossip: section of the configuration.
        faults: section of the configuration.
        seed: of faults.
        behaviour: compares policies.
        moved: L2 norm of the agent's largest recent update.
        aborted: whether to wait for nobody any more.
    """

    launch: Launch
    topology: Topology
    flat: FlatParameters
    device: torch.device
    run_id: str
    local_group: LocalGroup
    gossip: GossipConfig
    faults: FaultsConfig
    seed: int
    behaviour: PolicyDivergence
    moved: Callable[[], float]
    aborted: Callable[[], bool]


def couple(name: str, tie: Tie) -> Coupling:
    """The coupling of that name; one agent alone gossips with nobody.

    Raises:
        UserError: see :func:`gala.gossip.joining.make_node`.
    """
    if name == "gossip" and tie.launch.agents == 1:
        name = "none"
    return COUPLINGS[name](tie)


def _gossip(tie: Tie) -> Gossip:
    launch, topology = tie.launch, tie.topology
    node = make_node(
        launch=launch,
        topology=topology,
        vector=tie.flat.data,
        layout_hash=tie.flat.layout_hash,
        run=tie.run_id,
        gossip=tie.gossip,
        local_group=tie.local_group,
        device=tie.device,
        faults=tie.faults,
        seed=tie.seed,
        moved=tie.moved,
        aborted=tie.aborted,
    )
    pace = pace_of(tie.gossip, topology, launch.rank, tie.flat, tie.behaviour)
    return Gossip(node, on_first=lambda: launch.announce("running"), pace=pace)


def _allreduce(tie: Tie) -> AllReduce:
    supervisor.tell("mortal")  # the others wait for this agent: without it they never go on
    return AllReduce(tie.launch, tie.flat.learned, tie.flat.statistics)


COUPLINGS: dict[str, Callable[[Tie], Coupling]] = {
    "gossip": _gossip,
    "allreduce": _allreduce,
    "none": lambda tie: Independent(),
}
