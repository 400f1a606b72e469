"""From a checked request to a finished run: the steps that need torch and the other agents."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch

from gala import checkpoint
from gala.actor_learner import ActorLearner, Setting, agent_seed
from gala.config import Config
from gala.divergence.bound import NoBound, contraction
from gala.envs import VectorEnv, make_vector_env
from gala.errors import EXIT_BAD_INPUT, UserError
from gala.gossip import shared_memory
from gala.gossip.mixing import require_averaging
from gala.launch import Launch, from_environment
from gala.networks import Policy, build_policy
from gala.run_folder import RunFolder, default_path, prepare
from gala.signals import StopRequest
from gala.telemetry.console import Console
from gala.topology import Topology
from gala.train import Request


def train(request: Request) -> None:
    """Run one agent of the run from start (or its checkpoint) to end.

    Rank 0 makes everything that a mistake of the user could break before it tells the others to go
    on, so that a mistake is reported once.

    Raises:
        UserError: the run cannot be made.
    """
    stop = StopRequest().install()
    launch = from_environment()
    config = request.config
    if not launch.leads:
        plan = launch.share("plan")
        if plan.get("failed"):
            raise SystemExit(EXIT_BAD_INPUT)
    try:
        if config.coupling == "gossip":
            require_averaging(request.topology)
        device = choose_device(config.device, launch)
        threads = config.threads or launch.threads
        torch.set_num_threads(threads)
        env, policy = make_learner(config, launch, threads)
        if launch.leads:
            parameters = sum(p.numel() for p in policy.parameters())
            plan = _prepare(request, launch, parameters, env.frames_per_step)
    except BaseException:
        if launch.leads:
            launch.share("plan", {"failed": True})
        raise
    if launch.leads:
        launch.share("plan", plan)
    setting = Setting(
        config=config,
        launch=launch,
        run=RunFolder(Path(plan["run_dir"])),
        run_id=plan["run_id"],
        topology=request.topology,
        device=device,
        threads=threads,
    )
    console = None
    if launch.leads:
        parameters = sum(p.numel() for p in policy.parameters())
        console = partial(
            Console,
            run_dir=setting.run.path,
            opening=opening_block(setting, parameters, env.frames_per_step),
            agents=launch.agents,
            total_steps=config.total_steps,
            every_s=config.log.console_s,
        )
    agent = ActorLearner(setting, env, policy, stop, console)
    try:
        if request.resume:
            agent.load_state_dict(_checkpoint(setting, agent))
        agent.run()
    finally:
        agent.close()


def make_learner(config: Config, launch: Launch, threads: int) -> tuple[VectorEnv, Policy]:
    """Simulators with this agent's seed, and the policy with the run's seed.

    Raises:
        UserError: unknown environment, missing extra, spaces that no network fits.
    """
    seed = agent_seed(config.seed, launch.rank, stream=1) % 2**31
    env = make_vector_env(config.env, seed=seed, threads=threads)
    policy = build_policy(env.observation_space, env.action_space, config.network, seed=config.seed)
    return env, policy


def choose_device(name: str, launch: Launch) -> torch.device:
    """``auto``: the CUDA device ``local_rank % count`` when there is one, else the CPU.

    Raises:
        UserError: there is no such device.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return torch.device("cuda", launch.local_rank % count) if count else torch.device("cpu")
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
    return device


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
        lines.append(f"  bound      {describe_bound(topology, lock_step=patience == 0)}")
    else:
        lines.append(f"  coupling   {config.coupling}: no bound applies")
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


def _prepare(
    request: Request, launch: Launch, parameters: int, frames_per_step: int
) -> dict[str, Any]:
    config = request.config
    if config.coupling == "gossip" and launch.agents > 1:
        shared_memory.sweep()
        shared_memory.check_room(parameters, launch.local_agents)
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
        resume=request.resume,
    )
    return {"run_dir": str(run.path), "run_id": run.read_meta()["run_id"]}


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
    if state["layout_hash"] != agent.flat.layout_hash:
        raise UserError(
            "was written by another network than the one configured",
            file=path,
            field="network",
            hint="resume with the network of config.yaml",
        )
    if not agent.collector.env.restorable and launch.leads:
        print("gala: simulators of this environment begin new episodes", file=sys.stderr)
    return state
