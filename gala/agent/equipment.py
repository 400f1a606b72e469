"""Equipment of an agent: its device, its environments and its network."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace

import numpy as np
import torch

from gala.agent.setting import agent_seed
from gala.config.tasks import own_tasks
from gala.config.tree import Config
from gala.device.streams import STREAMS
from gala.envs import VectorEnv
from gala.envs.room import require_room_of_envs
from gala.envs.tasks import make_task_envs
from gala.errors import UserError
from gala.experience.ring import bytes_of, require_room
from gala.experience.sequences import bytes_of_sequence
from gala.experience.unroll import layout_of
from gala.launch.launch import Launch
from gala.learning.table import SEQUENCES, UNROLLS, source_of, values_of
from gala.networks import Network
from gala.networks.build import network_of


def make_learner(config: Config, launch: Launch, threads: int) -> tuple[list[VectorEnv], Network]:
    """Environments with this agent's seed, and the policy with the run's seed.

    Where actors have the environments, one shows what they are like.

    Raises:
        UserError: unknown environment, missing extra, spaces that no network fits.
    """
    seed = agent_seed(config.seed, launch.rank, stream=1, incarnation=launch.incarnation) % 2**31
    env = config.env
    require_room_of_envs(env, launch.local_agents)
    own = own_tasks(len(env.tasks), launch.rank, launch.agents)
    if config.actors.count:
        env = replace(env, num_envs=1, workers="sync" if env.workers == "async" else env.workers)
        own = own[:1]
    envs = make_task_envs(env, own, seed=seed, threads=threads)
    with ExitStack() as stack:
        for each in envs:
            stack.callback(each.close)
        spaces = envs[0].observation_space, envs[0].action_space
        policy = network_of(config, *spaces, values=values_of(config.algorithm))
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


def require_streams(
    agents: int, device: torch.device, messages: torch.device, *, apart: bool = False
) -> None:
    """Each agent of a process has a stream of its own, and one more where messages pass the CPU.

    Args:
        agents: of this process.
        device: where they compute.
        messages: where their messages lie.
        apart: whether another thread of each acts.

    Raises:
        UserError: there are not enough; torch would give two agents the same.
    """
    most = STREAMS // (1 + (messages != device) + apart)
    if device.type == "cuda" and agents > most:
        raise UserError(
            f"{agents} agents need more streams than a device has for one process",
            field="--agents-per-process",
            hint=str(most),
        )


def require_replayable(config: Config, env: VectorEnv, network: Network, agents: int) -> None:
    """Refuse replays that would not tell enough, or have no room.

    Args:
        config: the user's choices.
        env: of an agent.
        network: of an agent.
        agents: on this host.

    Raises:
        UserError: the environments say which actions are allowed, or memory is too small.
    """
    if source_of(config.algorithm) == UNROLLS:
        return
    if env.masks:
        rule = "learns from a replay, which holds no masks of actions"
        raise UserError(rule, field="--algorithm", hint="ppo")
    room = room_of_replay(config, env, network)
    require_room(room.each, room.count, agents, kind=room.kind, steps=room.steps)


@dataclass(frozen=True, kw_only=True)
class Room:
    """What a replay keeps.

    Attributes:
        kind: what it is, in words.
        count: how many of it.
        each: bytes.
        steps: of an environment, in each.
    """

    kind: str
    count: int
    each: int
    steps: int


def room_of_replay(config: Config, env: VectorEnv, network: Network) -> Room:
    """What the replay of one agent keeps."""
    space, memory = env.observation_space, network.memory
    assert space.shape is not None and space.dtype is not None
    first = torch.from_numpy(np.zeros((1, *space.shape), space.dtype))
    sequences = source_of(config.algorithm) == SEQUENCES
    steps = config.learning.n_step if sequences else 1
    shape = None if memory is None else memory.shape
    layout = layout_of(steps, first, network.head, masked=False, memory=shape)
    return Room(
        kind="sequences" if sequences else "transitions",
        count=config.replay.capacity // steps,
        each=bytes_of_sequence(layout) if sequences else bytes_of(layout),
        steps=steps,
    )
