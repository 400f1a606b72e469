"""From a checked request to a finished run: the steps that need torch and the other agents."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from gala.agent.actor_learner import ActorLearner
from gala.agent.building import build_agent
from gala.agent.callbacks import load_callbacks
from gala.agent.equipment import choose_device, make_learner, require_streams
from gala.agent.opening import opening_block
from gala.agent.plan import find_plan, make_plan, open_folder
from gala.agent.setting import Setting
from gala.device.choose import handover_on
from gala.envs import VectorEnv
from gala.errors import EXIT_ALARM, EXIT_OK, UserError
from gala.gossip.connecting import device_of_messages
from gala.gossip.in_process import LocalGroup
from gala.gossip.mixing import require_mixable
from gala.launch import supervisor
from gala.launch.launch import Launch, from_environment
from gala.launch.signals import StopRequest
from gala.learning.rehearsal import rehearse
from gala.learning.table import make_algorithm
from gala.networks import Network
from gala.run import checkpoint
from gala.run.request import Request
from gala.telemetry.console import Console


@dataclass(frozen=True, kw_only=True)
class Equipped:
    """What the agents of this process have before there is a plan.

    Attributes:
        device: where they compute.
        threads: for environments and torch.
        local_group: the agents.
        learners: environments and network of each.
    """

    device: torch.device
    threads: int
    local_group: LocalGroup
    learners: list[tuple[list[VectorEnv], Network]]


def train(request: Request) -> int:
    """Run the agents of this process from start (or checkpoint, or a neighbour's state) to end.

    All make what a mistake of the user could break at the same time; environments take seconds.
    Only rank 0 says what was wrong, and tells the others when there is a plan to go on with.

    Returns:
        The exit code: 3 after an alarm that was to end the run, else 0.

    Raises:
        UserError: the run cannot be made.
    """
    stop = StopRequest().install()
    launch = from_environment(request.agents_per_process).register()
    plans = launch.incarnation == 0 and launch.leads
    with ExitStack() as stack:  # closes the last one first, and all even if one fails
        try:
            equipped = _equip(request, launch, stack)
            plan = None if plans else find_plan(launch)
            if plan is None:
                (envs, *_), network = equipped.learners[0]
                parameters = sum(p.numel() for p in network.parameters())
                plan = make_plan(request, launch, parameters, envs.frames_per_step)
        except BaseException as error:
            if plans:
                launch.share("plan", {"failed": True})
            elif isinstance(error, UserError):
                find_plan(launch)  # ends here if rank 0 has said it
            raise
        agents = _make_agents(request, launch, plan, equipped, stop, stack)
        for agent in agents:
            begin(agent, resume=request.resume)
        run_all(agents, stop)
        supervisor.tell("done")
    return EXIT_ALARM if any(agent.alarmed for agent in agents) else EXIT_OK


def _equip(request: Request, launch: Launch, stack: ExitStack) -> Equipped:
    """Device, environments and networks; ``stack`` closes the environments.

    Raises:
        UserError: something that was asked for is not there.
    """
    config = request.config
    load_callbacks(config.callbacks)  # said before anything is begun
    algorithm = make_algorithm(config.algorithm, config.learning)
    require_mixable(request.topology)
    device = choose_device(config.device, launch)
    local_group = LocalGroup(launch.local_group, handover_on(device))
    place = device_of_messages(local_group, launch.agents, config.faults, device)
    require_streams(len(launch.local_group), device, place)
    threads = config.threads or launch.threads
    torch.set_num_threads(threads)
    learners = []
    for rank in launch.local_group:
        envs, network = make_learner(config, launch.sibling(rank), threads)
        for env in envs:  # has its agent closed it, then once more does no harm
            stack.callback(env.close)
        learners.append((envs, network))
    if ":" in config.algorithm:
        (envs, network), count = learners[0], config.env.num_envs
        rehearse(config.algorithm, algorithm, network, envs[0].observation_space, envs=count)
    return Equipped(device=device, threads=threads, local_group=local_group, learners=learners)


def _make_agents(
    request: Request,
    launch: Launch,
    plan: dict[str, Any],
    equipped: Equipped,
    stop: StopRequest,
    stack: ExitStack,
) -> list[ActorLearner]:
    """The agents of this process, in the run folder of the plan; ``stack`` closes them."""
    run = open_folder(plan, launch.local_group)
    launch.keep_plan(plan)
    if launch.rendezvous is not None:
        stack.callback(launch.rendezvous.close)
    agents = []
    for rank, (envs, network) in zip(launch.local_group, equipped.learners, strict=True):
        setting = Setting(
            config=request.config,
            launch=launch.sibling(rank),
            run=run,
            run_id=plan["run_id"],
            topology=request.topology,
            device=equipped.device,
            threads=equipped.threads,
            local_group=equipped.local_group,
            started=plan["meta"]["started"],
        )
        console = None
        if setting.launch.leads:
            console = partial(
                Console,
                run_dir=run.path,
                opening=opening_block(setting, envs, network),
                agents=launch.agents,
                total_steps=request.config.total_steps,
                every_s=request.config.log.console_s,
            )
        agent = build_agent(setting, envs, network, stop, console)
        stack.callback(agent.close)
        agents.append(agent)
    return agents


def begin(agent: ActorLearner, *, resume: bool) -> None:
    """Bring an agent to where it should go on: a group that runs, a checkpoint, or the start.

    Raises:
        UserError: a run to go on with has no checkpoint of this agent.
    """
    launch = agent.setting.launch
    lock_step, running = agent.coupling.lock_step, launch.shared("running") is not None
    if launch.incarnation > 0 or (running and not lock_step):
        found = agent.join() or "nothing to go on with"
        if launch.incarnation == 0:
            agent.recorder.event("join", f"came late, goes on with {found}")
        else:
            death = os.environ.get(supervisor.DEATH_VARIABLE, "a launch before")
            text = f"incarnation {launch.incarnation} after {death}, goes on with {found}"
            agent.recorder.event("alive", text)
    elif resume:
        agent.load_state_dict(_checkpoint(agent.setting, agent))


def run_all(agents: list[ActorLearner], stop: StopRequest) -> None:
    """Run the agents of this process, each in a thread of its own unless there is one only.

    When one of them fails, the others stop, save and leave; then the failure is raised.
    """
    if len(agents) == 1:
        with agents[0].stream.current():
            agents[0].run()
        return
    failures: list[BaseException] = []

    def work(agent: ActorLearner) -> None:
        try:
            with agent.stream.current():
                agent.run()
        except BaseException as error:
            failures.append(error)
            stop.count += 1

    threads = [threading.Thread(target=work, args=(agent,)) for agent in agents]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():  # short joins, so that signals are seen
            thread.join(0.2)
    if failures:
        raise failures[0]


def _checkpoint(setting: Setting, agent: ActorLearner) -> dict[str, Any]:
    """The checkpoint to go on with: the newest one, in lock-step the newest that all agents have.

    Raises:
        UserError: there is none, or it belongs to another network.
    """
    run, launch = setting.run, setting.launch
    folder = run.rank(launch.rank) / "checkpoints"
    if agent.coupling.lock_step:
        update = checkpoint.common(run.path, range(launch.agents))
        path = checkpoint.path_of(folder, update) if update is not None else None
    else:
        path = checkpoint.newest(folder)
    if path is None:
        raise UserError(f"holds no checkpoint of agent {launch.rank} to go on from", file=run.path)
    state = checkpoint.load(path)
    if state["layout_hash"] != agent.model.flat.layout_hash:
        raise UserError(
            "was written by another network than the one configured",
            file=path,
            field="network",
            hint="resume with the network of config.yaml",
        )
    if not agent.source.restorable and launch.leads:
        print("gala: the environments begin new episodes", file=sys.stderr)
    return state
