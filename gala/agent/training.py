"""From a checked request to a finished run: the steps that need torch and the other agents."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from gala.agent.actor_learner import ActorLearner
from gala.agent.building import build_agent
from gala.agent.callbacks import load_callbacks
from gala.agent.equipment import (
    choose_device,
    make_learner,
    require_replayable,
    require_streams,
)
from gala.agent.initial import begin_as
from gala.agent.opening import opening_block
from gala.agent.plan import find_plan, last_incarnation, make_plan, open_folder, vector_size
from gala.agent.resuming import begin, say_schedules
from gala.agent.setting import Setting
from gala.couplings.shared import require_shareable
from gala.device.choose import handover_on
from gala.envs import VectorEnv
from gala.envs.tasks import require_alike
from gala.errors import (
    EXIT_ALARM,
    EXIT_NOT_WRITTEN,
    EXIT_OK,
    EXIT_START_AGAIN,
    NotFinite,
    UserError,
)
from gala.files import commands
from gala.files.room import within_memory
from gala.gossip.connecting import device_of_messages
from gala.gossip.in_process import LocalGroup
from gala.gossip.mixing import require_mixable
from gala.launch import supervisor
from gala.launch.launch import Launch, from_environment
from gala.launch.leaving import leaves_by_word
from gala.launch.signals import StopRequest
from gala.launch.watchdog import STOP_S, ends_when_asked, ends_within
from gala.learning.rehearsal import rehearse
from gala.learning.table import UNROLLS, make_algorithm, source_of
from gala.networks import Network
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
        The exit code, see :func:`exit_code`; 75 where an agent asks to be started again.

    Raises:
        UserError: the run cannot be made.
    """
    stop = StopRequest().install()
    with ends_when_asked(lambda: stop.requested), leaves_by_word() as say:
        return _train(request, stop, say)


def _train(request: Request, stop: StopRequest, say: Callable[[int], None]) -> int:
    launch = from_environment(request.agents_per_process, request.security).register()
    plans, closed = launch.incarnation == 0 and launch.leads, threading.Event()
    with ExitStack() as stack:  # closes the last one first, and all even if one fails
        stack.callback(closed.set)
        try:
            with within_memory():
                equipped = _equip(request, launch, stack)
            plan = _plan(request, launch, equipped) if plans else None
        except BaseException as error:
            if plans:
                launch.share("plan", {"failed": True})
            elif isinstance(error, UserError):
                with suppress(UserError):
                    find_plan(launch, request.run_dir)  # ends here if rank 0 has said it
            raise
        plan = plan or find_plan(launch, request.run_dir) or _plan(request, launch, equipped)
        launch = launch.after(last_incarnation(plan, launch.local_group))
        with within_memory():
            agents = _make_agents(request, launch, plan, equipped, stop, stack)
        for agent in agents:
            begin(agent, agents_before=plan.get("agents_before") if request.resume else None)
        if request.resume and launch.leads and launch.incarnation == 0:
            say_schedules(agents[0], request.steps_before)
        began = time.monotonic()
        try:
            run_all(agents, stop)
        except NotFinite:
            return _start_again(time.monotonic() - began)
        code = exit_code(agents, stop)
        say(code)
        supervisor.tell(f"done {code}")
        end = ends_within(STOP_S, code, closed)
    end.join()
    return code


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
    require_shareable(config.coupling, launch, device)
    local_group = LocalGroup(launch.local_group, handover_on(device))
    messages = device_of_messages(local_group, launch.agents, config.faults, device)
    central = bool(config.actors.count) and config.actors.inference == "central"
    require_streams(len(launch.local_group), device, messages, apart=central)
    threads = config.threads or launch.threads
    torch.set_num_threads(threads)
    if config.env.tasks and launch.leads:
        require_alike(config.env)
    learners = []
    for rank in launch.local_group:
        envs, network = make_learner(config, launch.sibling(rank), threads)
        for env in envs:  # has its agent closed it, then once more does no harm
            stack.callback(env.close)
        learners.append((envs, network))
    if config.init is not None and not request.resume:
        begin_as(config.init, [network for _, network in learners])
    if ":" in config.algorithm and source_of(config.algorithm) == UNROLLS:
        (envs, network), count = learners[0], config.env.num_envs
        rehearse(config.algorithm, algorithm, network, envs[0].observation_space, envs=count)
    for _, network in learners:
        network.hold(algorithm.plan.duals)  # they count among its parameters
    (envs, network), host = learners[0], launch.local_agents
    require_replayable(config, envs[0], network, host)
    return Equipped(device=device, threads=threads, local_group=local_group, learners=learners)


def _plan(request: Request, launch: Launch, equipped: Equipped) -> dict[str, Any]:
    """The plan of the run, made by rank 0.

    Raises:
        UserError: see :func:`~gala.agent.plan.make_plan`.
    """
    (envs, *_), network = equipped.learners[0]
    return make_plan(
        request,
        launch,
        parameters=sum(each.numel() for each in network.parameters()),
        elements=vector_size(network),
        frames_per_step=envs.frames_per_step,
    )


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
    launch.keep()
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
            restore=partial(open_folder, plan, launch.local_group),
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


def run_all(agents: list[ActorLearner], stop: StopRequest) -> None:
    """Run the agents of this process, each in a thread of its own unless there is one only.

    When one of them fails, the others stop, save and leave; then the failure is raised.
    """
    if len(agents) == 1:
        _run(agents[0])
        return
    failures: list[BaseException] = []

    def work(agent: ActorLearner) -> None:
        try:
            _run(agent)
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


def exit_code(agents: list[ActorLearner], stop: StopRequest) -> int:
    """How a process ends whose agents have ended: 0 only when their last checkpoints lie on disk.

    3 after an alarm that was to end the run; 128 + signal (143) where a stop was asked for and
    could not be saved, 74 where the end could not.
    """
    if any(agent.alarmed for agent in agents):
        return EXIT_ALARM
    if all(agent.unsaved is None for agent in agents):
        return EXIT_OK
    return EXIT_NOT_WRITTEN if stop.signal is None else 128 + stop.signal


def _run(agent: ActorLearner) -> None:
    with agent.stream.current():
        try:
            agent.run()
        except NotFinite as lost:
            run = agent.setting.run.path
            alone = supervisor.PIPE_VARIABLE not in os.environ
            again = f"go on: {commands.gala('train', '--resume', run)}"
            then = again if alone else "it starts again"
            agent.recorder.warn("error", f"{lost}; {then}")
            raise


def _start_again(trained_s: float) -> int:
    """The exit code of an agent that is not finite: 75, which is started again at once.

    Who is so twice in a row, and soon, is a crash: those are counted, and in the end given up.
    """
    again = os.environ.get(supervisor.DEATH_VARIABLE) == supervisor.ASKED_AGAIN
    return 1 if again and trained_s < supervisor.SETTLED_S else EXIT_START_AGAIN
