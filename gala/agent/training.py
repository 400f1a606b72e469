"""From a checked request to a finished run: the steps that need torch and the other agents."""

from __future__ import annotations

import json
import os
import sys
import threading
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import torch

from gala.agent.actor_learner import ActorLearner
from gala.agent.building import build_agent
from gala.agent.setting import Setting, agent_seed
from gala.config.tree import Config
from gala.device.choose import handover_on
from gala.device.streams import STREAMS
from gala.divergence.bound import NoBound, contraction
from gala.envs import VectorEnv, make_vector_envs
from gala.errors import EXIT_ALARM, EXIT_BAD_INPUT, EXIT_OK, UserError
from gala.files.atomic import write_atomic
from gala.gossip import shared_memory
from gala.gossip.connecting import place_of_messages
from gala.gossip.in_process import LocalGroup
from gala.gossip.mixing import require_mixable
from gala.launch import supervisor
from gala.launch.environment import restarted_by_torchrun
from gala.launch.launch import Launch, from_environment
from gala.launch.signals import StopRequest
from gala.networks import Network, build_network
from gala.run import checkpoint
from gala.run.folder import RunFolder, default_path, prepare
from gala.run.request import Request
from gala.telemetry.console import Console
from gala.topology import Topology


def train(request: Request) -> int:
    """Run the agents of this process from start (or checkpoint, or a neighbour's place) to end.

    All make what a mistake of the user could break at the same time; simulators take seconds. Only
    rank 0 says what was wrong, and tells the others when there is a plan to go on with.

    Returns:
        The exit code: 3 after an alarm that was to end the run, else 0.

    Raises:
        UserError: the run cannot be made.
    """
    stop = StopRequest().install()
    launch = from_environment(request.agents_per_process).born()
    config = request.config
    plans = launch.life == 0 and launch.leads
    agents: list[ActorLearner] = []
    with ExitStack() as stack:  # closes the last one first, and all even if one fails
        try:
            require_mixable(request.topology)
            device = choose_device(config.device, launch)
            local_group = LocalGroup(launch.local_group, handover_on(device))
            place = place_of_messages(local_group, launch.agents, config.faults, device)
            require_streams(len(launch.local_group), device, place)
            threads = config.threads or launch.threads
            torch.set_num_threads(threads)
            learners = []
            for rank in launch.local_group:
                envs, policy = make_learner(config, launch.sibling(rank), threads)
                for env in envs:  # has its agent closed it, then once more does no harm
                    stack.callback(env.close)
                learners.append((envs, policy))
            (simulators, *_), policy = learners[0]
            parameters = sum(p.numel() for p in policy.parameters())
            frames_per_step = simulators.frames_per_step
            plan = None if plans else find_plan(launch)
            if plan is None:
                plan = make_plan(request, launch, parameters, frames_per_step)
        except BaseException as error:
            if plans:
                launch.share("plan", {"failed": True})
            elif isinstance(error, UserError):
                find_plan(launch)  # ends here if rank 0 has said it
            raise
        run = open_folder(plan, launch.local_group)
        launch.keep_plan(plan)
        if launch.rendezvous is not None:
            stack.callback(launch.rendezvous.close)
        for rank, (envs, policy) in zip(launch.local_group, learners, strict=True):
            setting = Setting(
                config=config,
                launch=launch.sibling(rank),
                run=run,
                run_id=plan["run_id"],
                topology=request.topology,
                device=device,
                threads=threads,
                local_group=local_group,
                started=plan["meta"]["started"],
            )
            console = None
            if setting.launch.leads:
                console = partial(
                    Console,
                    run_dir=run.path,
                    opening=opening_block(setting, parameters, frames_per_step),
                    agents=launch.agents,
                    total_steps=config.total_steps,
                    every_s=config.log.console_s,
                )
            agent = build_agent(setting, envs, policy, stop, console)
            stack.callback(agent.close)
            agents.append(agent)
        for agent in agents:
            begin(agent, resume=request.resume)
        run_all(agents, stop)
        supervisor.tell("done")
    return EXIT_ALARM if any(agent.alarmed for agent in agents) else EXIT_OK


def begin(agent: ActorLearner, *, resume: bool) -> None:
    """Bring an agent to where it should go on: a group that runs, a checkpoint, or the start.

    Raises:
        UserError: a run to go on with has no checkpoint of this agent.
    """
    launch = agent.setting.launch
    lock_step, running = agent.coupling.lock_step, launch.shared("running") is not None
    if launch.life > 0 or (running and not lock_step):
        found = agent.join() or "nothing to go on with"
        if launch.life == 0:
            agent.recorder.event("join", f"came late, goes on with {found}")
        else:
            death = os.environ.get(supervisor.DEATH_VARIABLE, "a launch before")
            text = f"life {launch.life + 1} after {death}, goes on with {found}"
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


def make_learner(config: Config, launch: Launch, threads: int) -> tuple[list[VectorEnv], Network]:
    """Simulators with this agent's seed, and the policy with the run's seed.

    Raises:
        UserError: unknown environment, missing extra, spaces that no network fits.
    """
    seed = agent_seed(config.seed, launch.rank, stream=1, life=launch.life) % 2**31
    envs = make_vector_envs(config.env, seed=seed, threads=threads)
    spaces = envs[0].observation_space, envs[0].action_space
    with ExitStack() as stack:
        for env in envs:
            stack.callback(env.close)
        policy = build_network(
            *spaces,
            config.network,
            seed=config.seed,
            normalize_observation=config.env.normalize_observation,
            normalize_reward=config.env.normalize_reward,
        )
        stack.pop_all()  # all is well: they stay open
    return envs, policy


def choose_device(name: str, launch: Launch) -> torch.device:
    """``auto``: processes are dealt out over the CUDA devices if there are any, else the CPU.

    Returns:
        A CUDA device with its index, as its tensors name it.

    Raises:
        UserError: there is no such device.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        process = launch.local_rank // len(launch.local_group)
        return torch.device("cuda", process % count) if count else torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(
            f"no device is named {name!r}", field="device", hint="auto, cpu, cuda:0"
        ) from None
    if device.type == "cuda" and (device.index or 0) >= count:
        raise UserError(
            f"{name} is not there: this host has {count} CUDA devices", field="device", hint="auto"
        )
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"{device.type} is not supported", field="device", hint="auto, cpu, cuda")
    return torch.device("cuda", device.index or 0) if device.type == "cuda" else device


def require_streams(agents: int, device: torch.device, place: torch.device) -> None:
    """Each agent of a process has a stream of its own, and one more where messages pass the CPU.

    Args:
        agents: of this process.
        device: where they compute.
        place: where their messages lie.

    Raises:
        UserError: there are not enough; torch would give two agents the same.
    """
    most = STREAMS // (1 if place == device else 2)
    if device.type == "cuda" and agents > most:
        raise UserError(
            f"{agents} agents need more streams than a device has for one process",
            field="--agents-per-process",
            hint=str(most),
        )


def opening_block(setting: Setting, parameters: int, frames_per_step: int) -> list[str]:
    """What will run, before it runs."""
    config, launch, topology = setting.config, setting.launch, setting.topology
    simulators = config.env.num_envs * launch.agents
    lines = [
        f"gala: {config.env.id}, {config.total_steps:,} steps of all agents "
        f"({frames_per_step} frames each), seed {config.seed}",
        f"  agents     {launch.agents} x {config.env.num_envs} simulators = {simulators}, "
        f"{setting.threads} thread{'s' * (setting.threads > 1)} each, on {setting.device}, "
        f"{parameters:,} parameters",
    ]
    if config.coupling == "gossip" and launch.agents > 1:
        patience = config.gossip.max_staleness
        mode = {None: "never wait", 0: "lock-step"}.get(patience, f"wait after {patience} updates")
        lines.append(f"  gossip     over {topology.name}, {mode}")
        lines += [f"             {line}" for line in topology.draw().splitlines()]
        lines += [f"  note       {note}" for note in topology.notes]
        lines.append(f"  bound      {describe_bound(topology, lock_step=patience == 0)}")
    else:
        lines.append(f"  coupling   {config.coupling}: no bound applies")
    if config.profile:
        lines.append(
            f"  profile    {config.log.profile_updates} updates of each agent, "
            f"{config.log.profile_after_s:g} s after the launch; then: gala profile RUN"
        )
    lines.append(f"  run        {setting.run.path}")
    return lines


def describe_bound(topology: Topology, *, lock_step: bool) -> str:
    """Beta and the predicted epsilon per unit of update norm, or why there is none."""
    model = contraction(topology, delay=0 if lock_step else 1)
    if isinstance(model, NoBound):
        return model.reason
    return (
        f"beta {model.beta:.3f}, epsilon = {model.factor:.2f} x norm of all agents' largest updates"
        f" ({model.reason})"
    )


def make_plan(
    request: Request, launch: Launch, parameters: int, frames_per_step: int
) -> dict[str, Any]:
    """Make the run folder and tell all agents about it; rank 0 only."""
    config = request.config
    if config.coupling == "gossip" and launch.agents > 1:
        shared_memory.sweep()
        shared_memory.check_room(parameters * 4, launch.local_agents)
    run_dir = request.run_dir or default_path(request.experiment)
    facts = {
        "torch": torch.__version__,
        "parameters": parameters,
        "frames_per_step": frames_per_step,
    }
    run = prepare(
        run_dir,
        config=config,
        agents=launch.agents,
        topology=request.topology.to_json(),
        facts=facts,
        # a life before this one, or torchrun's restart, may have got as far as the folder
        resume=request.resume or launch.life > 0 or restarted_by_torchrun(),
    )
    meta = run.read_meta()
    plan = {"run_dir": str(run.path), "run_id": meta["run_id"], "meta": meta,
            "config": config.to_yaml(), "topology": request.topology.to_json()}  # fmt: skip
    launch.share("plan", plan)
    return plan


def find_plan(launch: Launch) -> dict[str, Any] | None:
    """What rank 0 said; None for rank 0 itself if its life before did not get that far."""
    plan: dict[str, Any] | None = launch.shared("plan") if launch.leads else launch.share("plan")
    if plan is not None and plan.get("failed"):
        raise SystemExit(EXIT_BAD_INPUT)
    return plan


def open_folder(plan: dict[str, Any], ranks: tuple[int, ...]) -> RunFolder:
    """The run folder as this host sees it: shared with rank 0's host, or one of its own.

    Raises:
        UserError: it cannot be written.
    """
    run = RunFolder(Path(plan["run_dir"]))
    try:
        for rank in ranks:
            (run.rank(rank) / "checkpoints").mkdir(parents=True, exist_ok=True)
        if not run.meta.exists():
            write_atomic(run.config, plan["config"])
            write_atomic(run.topology, json.dumps(plan["topology"], indent=1))
            write_atomic(run.meta, json.dumps(plan["meta"], indent=1))
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise UserError(f"cannot be written: {reason}", file=run.path) from None
    return run


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
        print("gala: simulators of this environment begin new episodes", file=sys.stderr)
    return state
