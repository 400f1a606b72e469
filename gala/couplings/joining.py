"""From the configuration to the coupling that it names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gala.config.arguments import HEARING
from gala.config.sections import FaultsConfig, GossipConfig
from gala.couplings.allreduce import AllReduce
from gala.couplings.coupling import Coupling, Independent
from gala.couplings.gossip import Gossip
from gala.couplings.pace import pace_of
from gala.couplings.policy import (
    SCORE,
    Distillation,
    Policies,
    PolicyExchange,
    Repulsion,
    ScoredExchange,
)
from gala.couplings.segment import Segment
from gala.couplings.shared import Shared
from gala.divergence.policy import PolicyDivergence
from gala.gossip.in_process import LocalGroup
from gala.gossip.joining import make_node
from gala.gossip.judging import Parts
from gala.gossip.listening import Listening
from gala.gossip.mixing import Mixer
from gala.gossip.node import GossipNode
from gala.launch import supervisor
from gala.launch.launch import Launch
from gala.learning.auxiliary import Auxiliary
from gala.parameters.duals import DualOptimizer
from gala.parameters.flat import FlatVector, layout_hash
from gala.parameters.halves import HalvedOptimizer
from gala.parameters.optimizer import Optimizer
from gala.telemetry.history import History
from gala.topology import Topology


@dataclass(frozen=True, kw_only=True)
class Tie:
    """What a coupling is made from.

    Attributes:
        launch: rank of the agent, and how it finds the others.
        topology: who its neighbours are.
        flat: its parameters.
        optimizer: of them; None where it is somebody else's.
        device: where they are computed.
        run_id: 16 hex digits that messages of this launch carry.
        local_group: the agents of this process.
        gossip: section of the configuration.
        faults: section of the configuration.
        seed: of faults.
        behaviour: compares policies.
        moved: L2 norm of the agent's largest recent update.
        history: where what gossip does to the parameters is recorded; None: nowhere.
        asked: whether the agent was asked to stop, so that no wait may take long.
        aborted: whether to wait for nobody any more.
        policies: compares them in more than their distributions; None: of a loop that has none.
    """

    launch: Launch
    topology: Topology
    flat: FlatVector
    optimizer: Optimizer | DualOptimizer | HalvedOptimizer | None
    device: torch.device
    run_id: str
    local_group: LocalGroup
    gossip: GossipConfig
    faults: FaultsConfig
    seed: int
    behaviour: PolicyDivergence
    moved: Callable[[], float]
    history: History | None
    asked: Callable[[], bool]
    aborted: Callable[[], bool]
    policies: Policies | None = None


def couple(name: str, tie: Tie) -> Coupling:
    """The coupling of that name; one agent alone has no neighbours.

    Raises:
        UserError: see :func:`gala.gossip.joining.make_node`.
    """
    if tie.launch.agents == 1 and name in HEARING:
        name = "none"
    return COUPLINGS[name](tie)


def _node(
    tie: Tie,
    vector: Tensor,
    layout: str,
    gossip: GossipConfig,
    mixer: Callable[[torch.device], Mixer] | None = None,
) -> GossipNode:
    return make_node(
        launch=tie.launch,
        topology=tie.topology,
        vector=vector,
        layout_hash=layout,
        run=tie.run_id,
        gossip=gossip,
        local_group=tie.local_group,
        device=tie.device,
        faults=tie.faults,
        seed=tie.seed,
        moved=tie.moved,
        asked=tie.asked,
        history=tie.history,
        parts=Parts(sizes=tie.flat.sizes, learned=tie.flat.learned),
        aborted=tie.aborted,
        mixer=mixer,
    )


def _gossip(tie: Tie) -> Gossip:
    node = _node(tie, tie.flat.data, tie.flat.layout_hash, tie.gossip)
    pace = pace_of(tie.gossip, tie.topology, tie.launch.rank, tie.flat, tie.behaviour)
    return Gossip(node, on_first=_on_first(tie), pace=pace)


def _distil(tie: Tie) -> PolicyExchange:
    parameters = tie.flat.data
    listening = Listening(parameters, tie.topology, tie.launch.rank)
    term = Distillation(listening, len(parameters), _policies(tie))
    node = _listener(tie, parameters, tie.flat.layout_hash, listening)
    return PolicyExchange(node, listening, _heard(tie, term), _on_first(tie))


def _repel(tie: Tie) -> ScoredExchange:
    parameters, policies = tie.flat.data, _policies(tie)
    message = torch.cat([parameters, parameters.new_zeros(SCORE)])
    listening = Listening(message, tie.topology, tie.launch.rank)
    layout = layout_hash([*tie.flat.layout, ("score", (SCORE,))])
    return ScoredExchange(
        _listener(tie, message, layout, listening),
        listening,
        _heard(tie, Repulsion(listening, message, policies)),
        parameters=parameters,
        message=message,
        score=policies.score,
        on_first=_on_first(tie),
    )


def _policies(tie: Tie) -> Policies:
    assert tie.policies is not None, "a loop whose policies are not known"
    return tie.policies


def _listener(tie: Tie, published: Tensor, layout: str, listening: Listening) -> GossipNode:
    # peers go ways of their own: how far a message is from the own parameters tells nothing
    gossip = replace(tie.gossip, trust_radius=None)
    return _node(tie, published, layout, gossip, listening.on)


def _heard(tie: Tie, term: Auxiliary) -> Auxiliary | None:
    return term if tie.topology.in_neighbours(tie.launch.rank) else None


def _on_first(tie: Tie) -> Callable[[], None]:
    return lambda: tie.launch.announce("running")


def _allreduce(tie: Tie) -> AllReduce:
    supervisor.tell("mortal")  # the others wait for this agent: without it they never go on
    return AllReduce(tie.launch, tie.flat.learned, tie.flat.statistics)


def _shared(tie: Tie) -> Shared:
    assert isinstance(tie.optimizer, Optimizer), "an algorithm that may not share"
    return Shared(Segment(tie.run_id, tie.launch.rank), tie.optimizer)


COUPLINGS: dict[str, Callable[[Tie], Coupling]] = {
    "gossip": _gossip,
    "allreduce": _allreduce,
    "shared": _shared,
    "distil": _distil,
    "repel": _repel,
    "none": lambda tie: Independent(),
}
