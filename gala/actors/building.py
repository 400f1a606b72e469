"""Building the actors of an agent, and the source that takes their unrolls."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

import numpy as np
import torch

from gala.actors.actor_pool import ActorPool
from gala.actors.assignment import Assignment
from gala.actors.central import Central
from gala.actors.inference import Inference
from gala.actors.memory import Memory, Plan, nameless_file
from gala.actors.player import Part
from gala.actors.remote_actors import RemoteActors
from gala.actors.remote_workers import RemoteWorkerPool
from gala.actors.weights import Publisher, identity_of
from gala.actors.worker_pool import LocalWorkerPool, WorkerPool
from gala.actors.worker_state import WorkerState
from gala.config.sections import EnvConfig
from gala.config.tasks import tasks_of
from gala.config.tree import Config
from gala.device.choose import stream_on
from gala.device.streams import Stream
from gala.envs import VectorEnv
from gala.envs.remote import Form, RemoteEnv
from gala.envs.wire import Link
from gala.experience.unroll import Layout, Unroll, layout_of
from gala.experience.unroll_queue import Feeder, UnrollQueue
from gala.launch.token import read_address, read_token
from gala.launch.watchdog import Limits
from gala.networks.build import Values
from gala.networks.model import Model


@dataclass(frozen=True, kw_only=True)
class ActorSetting:
    """The agent that actors act for.

    Attributes:
        config: of the run.
        rank: of the agent.
        incarnation: restarts of the agent so far.
        run_id: of the launch.
        env_seed: from which those of the environments of its actors are made.
        action_seed: likewise, of actions.
        duals: of its algorithm, in its flat vector.
        values: what its network knows, see :func:`~gala.networks.build.build_network`.
        epsilon: of its environments, see :class:`~gala.experience.exploration.Exploration`.
        tasks: numbers of its tasks, which its actors have by turns; none: there are none.
    """

    config: Config
    rank: int
    incarnation: int
    run_id: str
    env_seed: int
    action_seed: int
    duals: int = 0
    values: Values = "state"
    epsilon: tuple[float, ...] | None = None
    tasks: tuple[int, ...] = ()

    def env_of(self, actor: int) -> EnvConfig:
        """The environments of an actor: those of one task."""
        number = self.tasks[actor % len(self.tasks)] if self.tasks else 0
        return tasks_of(self.config.env)[number]

    def epsilon_of(self, actor: int, envs: int) -> tuple[float, ...] | None:
        """Epsilons of the n environments of an actor."""
        return None if self.epsilon is None else self.epsilon[actor * envs : (actor + 1) * envs]


def build_source(
    setting: ActorSetting, env: VectorEnv, model: Model, stream: Stream
) -> UnrollQueue:
    """Start the actors of an agent.

    Args:
        setting: the agent.
        env: one environment, to see what it gives; it is reset and closed.
        model: that acts, with parameters that actors are to hear.
        stream: where its batches are going to lie.

    Raises:
        UserError: there is no memory for it.
    """
    config = setting.config
    remembers = None if model.module.memory is None else model.module.memory.shape
    envs, first = config.env.num_envs // config.actors.count, env.reset()
    layout = layout_of(
        config.learning.n_step,
        torch.from_numpy(first),
        model.module.head,
        masked=env.masks,
        memory=remembers,
    )
    form = Form.of(env, envs, first)
    env.close()
    if config.actors.inference == "central":
        feeder: Feeder = _workers(setting, env, form, layout, model, stream)
    elif config.actors.listen is not None:
        feeder = _remote_actors(setting, layout, model, stream)
    else:
        feeder = _actor_pool(setting, layout, model, stream)
    return UnrollQueue(
        feeder,
        layout,
        envs=config.env.num_envs,
        each=envs,
        max_lag=config.actors.max_lag,
        stream=stream,
        tasks=setting.tasks,
    )


def _actor_pool(setting: ActorSetting, layout: Layout, model: Model, stream: Stream) -> ActorPool:
    """Processes with a copy of the policy each."""
    config, flat = setting.config, model.flat
    actors, envs = config.actors.count, config.env.num_envs // config.actors.count
    plan = Plan(actors=actors, slots=config.actors.slots or 2 * actors, layout=layout, envs=envs)
    memory = Memory(nameless_file("gala-unrolls"), plan, create=True)
    weights = Publisher(
        identity_of(setting.run_id, flat.layout_hash),
        rank=setting.rank,
        incarnation=setting.incarnation,
        payload_bytes=flat.data.numel() * flat.data.element_size(),
    )
    parent = os.getpid()

    def assignment(actor: int, incarnation: int, channel: int) -> Assignment:
        return Assignment(
            config=replace(config, env=setting.env_of(actor)).to_yaml(),
            envs=envs,
            actor=actor,
            rank=setting.rank,
            run_id=setting.run_id,
            env_seed=actor_seed(setting.env_seed, actor, incarnation) % 2**31,
            action_seed=actor_seed(setting.action_seed, actor, incarnation),
            duals=setting.duals,
            values=setting.values,
            epsilon=setting.epsilon_of(actor, envs),
            actors=actors,
            slots=plan.slots,
            memory=memory.fd,
            weights=weights.fd,
            channel=channel,
            parent=parent,
        )

    return ActorPool(
        assignment,
        memory,
        weights,
        lambda: stream.download(flat.data),
        actors=actors,
        limits=_limits(config),
    )


def _remote_actors(
    setting: ActorSetting, layout: Layout, model: Model, stream: Stream
) -> RemoteActors:
    """Actors on other machines, with a policy of their own."""
    config = setting.config
    actors, envs = config.actors.count, config.env.num_envs // config.actors.count
    here = replace(config, actors=replace(config.actors, listen=None, token_file=None, sync_kl=0.0))

    def part(actor: int, incarnation: int) -> str:
        return Part(
            config=replace(here, env=setting.env_of(actor)).to_yaml(),
            envs=envs,
            actor=actor,
            env_seed=actor_seed(setting.env_seed, actor, incarnation) % 2**31,
            action_seed=actor_seed(setting.action_seed, actor, incarnation),
            duals=setting.duals,
            values=setting.values,
            epsilon=setting.epsilon_of(actor, envs),
        ).to_json()

    size, count = Unroll.size(layout, envs), config.actors.slots or 2 * actors
    memory = [torch.zeros(size, dtype=torch.uint8) for _ in range(count)]
    return RemoteActors(
        _pool(setting),
        part,
        memory,
        [Unroll(each, layout, envs) for each in memory],
        model,
        lambda: stream.download(model.flat.data),
        sync_kl=config.actors.sync_kl,
        limits=_limits(config),
    )


def _workers(
    setting: ActorSetting,
    env: VectorEnv,
    form: Form,
    layout: Layout,
    model: Model,
    stream: Stream,
) -> Central:
    """Processes that only step; a thread of the agent acts for all of them.

    Args:
        setting: the agent.
        env: one like theirs.
        form: of their steps.
        layout: of unrolls.
        model: that learns.
        stream: of the learner.
    """
    config, device = setting.config, stream.device
    actors = config.actors.count
    own = stream_on(device)
    inference = Inference(
        model.twin(),
        layout,
        config.env.num_envs,
        stream=own,
        generator=torch.Generator(device).manual_seed(actor_seed(setting.action_seed, 0, 0)),
        epsilon=setting.epsilon,
    )

    def environments(link: Link, actor: int, incarnation: int) -> RemoteEnv:
        seed = actor_seed(setting.env_seed, actor, incarnation) % 2**31
        each = replace(setting.env_of(actor), num_envs=form.envs)
        return RemoteEnv(link, each, seed=seed, shown=env, form=form)

    size = Unroll.size(layout, form.envs)
    slots = [torch.zeros(size, dtype=torch.uint8) for _ in range(config.actors.slots or 2 * actors)]
    return Central(
        [
            WorkerState(
                index,
                layout,
                form.envs,
                gamma=config.learning.gamma,
                reward_clip=config.env.reward_clip,
                limits=_limits(config),
            )
            for index in range(actors)
        ],
        _pool(setting),
        environments,
        inference,
        own,
        [Unroll(memory, layout, form.envs) for memory in slots],
        lambda: stream.download(model.flat.data),
        deadline_s=config.actors.deadline_ms / 1e3,
    )


def _pool(setting: ActorSetting) -> WorkerPool:
    """Processes of this machine, or whoever comes to where the agent listens."""
    actors = setting.config.actors
    if actors.listen is None:
        return LocalWorkerPool(actors.count)
    host, port = read_address(actors.listen, field="--actors.listen")
    token = read_token(actors.token_file, field="--actors.token-file")
    return RemoteWorkerPool(host, port + setting.rank if port else 0, token, actors.count)


def _limits(config: Config) -> Limits:
    """Half of the agent's own patience: an actor is replaced before its agent is taken for hung."""
    return Limits(
        first_s=config.supervisor.first_update_s / 2, acting_s=config.supervisor.acting_s / 2
    )


def actor_seed(seed: int, actor: int, incarnation: int) -> int:
    """A seed of its own for each actor, and each time that it is started."""
    words = np.random.SeedSequence([seed, actor, incarnation]).generate_state(1, np.uint64)
    return int(words[0] >> 1)
