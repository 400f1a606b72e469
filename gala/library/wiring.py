"""From a checked loop to its node, wired with what ``gala train`` wires an agent with."""

from __future__ import annotations

import os
import secrets
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor

from gala.agent.measuring import open_history
from gala.agent.plan import find_plan, last_incarnation, make_plan, open_folder
from gala.agent.setting import Setting
from gala.config.loop import LoopConfig
from gala.couplings.joining import Tie, couple
from gala.divergence.policy import PolicyDivergence
from gala.divergence.updates import Updates
from gala.errors import UserError
from gala.gossip.in_process import LocalGroup
from gala.gossip.shared_memory import check_room
from gala.gossip.wire import CPU
from gala.launch.launch import Launch
from gala.library.carrying import Carried
from gala.library.gossiping import Gossiping
from gala.library.recording import Recording
from gala.run.folder import RunFolder
from gala.run.request import Request
from gala.telemetry.history import History
from gala.topology import Topology


@dataclass(frozen=True, kw_only=True)
class Loop:
    """A loop that is to gossip.

    Attributes:
        launch: rank of the agent, and how it finds the others.
        name: of this gossip, the same for all agents.
        config: the user's choices.
        topology: who listens to whom.
        run_dir: the run folder; None: nothing is written.
        resume: whether the folder goes on.
        total_steps: of all agents, as far as it is known.
    """

    launch: Launch
    name: str
    config: LoopConfig
    topology: Topology
    run_dir: Path | None
    resume: bool
    total_steps: int | None


def wire(loop: Loop, carried: Carried) -> tuple[Gossiping, Recording | None]:
    """The node, and what records it; None where nothing is to be written.

    Raises:
        UserError: the run folder is taken or cannot be written, memory is full, or the neighbours
            cannot be reached.
    """
    setting = _setting(loop, carried)
    launch, norms = setting.launch, Updates(carried.weights)
    behaviour = PolicyDivergence(lambda: None, _unseen, _unseen)
    history = open_history(setting) if loop.run_dir is not None else None
    coupling = couple(loop.config.coupling, _tie(setting, carried, norms, behaviour, history))
    node = Gossiping(
        launch=launch, topology=loop.topology, carried=carried, coupling=coupling, norms=norms
    )
    if loop.run_dir is None:
        return node, None
    recording = Recording(
        setting, carried, norms, coupling, behaviour, history, node, carried.computes_on
    )
    return node, recording


def _tie(
    setting: Setting,
    carried: Carried,
    norms: Updates,
    behaviour: PolicyDivergence,
    history: History | None,
) -> Tie:
    return Tie(
        launch=setting.launch,
        topology=setting.topology,
        flat=carried,
        optimizer=None,
        device=CPU,
        run_id=setting.run_id,
        local_group=setting.local_group,
        gossip=setting.config.gossip,
        faults=setting.config.faults,
        seed=setting.seed(2),
        behaviour=behaviour,
        moved=lambda: norms.supremum,
        history=history,
        asked=lambda: False,
        aborted=lambda: False,
    )


def _setting(loop: Loop, carried: Carried) -> Setting:
    """As of an agent of ``gala train``, in a run folder where there is one."""
    launch, ranks = loop.launch, loop.launch.local_group
    run, started = RunFolder(Path(os.devnull)), None
    if loop.run_dir is not None:
        plan = _plan(loop, carried)
        run, run_id = open_folder(plan, ranks), plan["run_id"]
        launch, started = launch.after(last_incarnation(plan, ranks)), plan["meta"]["started"]
    else:
        if launch.leads and launch.agents > 1:
            check_room(carried.data.nbytes, launch.local_agents)
        known = launch.shared(f"{loop.name}/run") if launch.incarnation > 0 else None
        run_id = known or launch.share(f"{loop.name}/run", secrets.token_hex(8))
    more: dict[str, Any] = {} if started is None else {"started": started}
    return Setting(
        config=loop.config,
        launch=launch,
        run=run,
        run_id=run_id,
        topology=loop.topology,
        device=CPU,
        threads=torch.get_num_threads(),
        local_group=LocalGroup(ranks),
        **more,
    )


def _plan(loop: Loop, carried: Carried) -> dict[str, Any]:
    """Rank 0 makes the folder; who comes back finds what was made."""
    launch, name = loop.launch, f"{loop.name}/plan"
    try:
        makes = launch.incarnation == 0 and launch.leads
        found = None if makes else find_plan(launch, loop.run_dir, name)
    except SystemExit:
        raise UserError("rank 0 could not make the run folder", file=loop.run_dir) from None
    if found is not None:
        return found
    request = Request(
        config=loop.config,
        topology=loop.topology,
        run_dir=loop.run_dir,
        resume=loop.resume,
        experiment=None,
    )
    command = shlex.join([Path(sys.executable).name, *sys.argv])
    try:
        return make_plan(
            request,
            launch,
            parameters=carried.learned,
            elements=len(carried.data),
            name=name,
            loop=True,
            command=command,
            total_steps=loop.total_steps,
        )
    except UserError as error:
        launch.share(name, {"failed": True})
        if error.hint is not None and "--resume" in error.hint:
            hint = "start=node.state_dict() goes on with it, another run_dir begins anew"
            raise UserError(error.rule, file=error.file, hint=hint) from None
        raise


def _unseen(*arguments: Tensor) -> NoReturn:
    raise AssertionError("without observations no policies are compared")
