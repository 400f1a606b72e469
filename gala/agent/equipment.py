"""Equipment of an agent: its device, its environments and its network."""

from __future__ import annotations

from contextlib import ExitStack

import torch

from gala.agent.setting import agent_seed
from gala.config.tree import Config
from gala.device.streams import STREAMS
from gala.envs import VectorEnv, make_vector_envs
from gala.errors import UserError
from gala.launch.launch import Launch
from gala.networks import Network, build_network


def make_learner(config: Config, launch: Launch, threads: int) -> tuple[list[VectorEnv], Network]:
    """Simulators with this agent's seed, and the policy with the run's seed.

    Raises:
        UserError: unknown environment, missing extra, spaces that no network fits.
    """
    seed = agent_seed(config.seed, launch.rank, stream=1, incarnation=launch.incarnation) % 2**31
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
