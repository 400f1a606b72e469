"""Building an agent: from a setting to its parts, wired."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from statistics import fmean
from typing import Any

import torch

from gala.actors.building import ActorSetting, build_source
from gala.agent.acting import Acting
from gala.agent.actor_learner import ActorLearner, Parts
from gala.agent.callbacks import Callbacks, load_callbacks
from gala.agent.measuring import DivergenceMeter, open_history
from gala.agent.progress import Progress
from gala.agent.recorder import Recorder
from gala.agent.replaying import exploration, replayed
from gala.agent.setting import Setting
from gala.couplings.coupling import Coupling
from gala.couplings.joining import Tie, couple
from gala.couplings.policy import Policies
from gala.device.choose import stream_on
from gala.device.streams import Stream
from gala.divergence.policy import PolicyDivergence
from gala.divergence.updates import Updates
from gala.envs import VectorEnv
from gala.experience import Collector
from gala.experience.reward_scale import RewardScale
from gala.experience.source import Source
from gala.experience.unroll_queue import UnrollQueue
from gala.launch.signals import StopRequest
from gala.learning.algorithm import Algorithm, Plan
from gala.learning.auxiliary import Decorrelation
from gala.learning.learner import Learner
from gala.learning.off_policy import OffPolicy
from gala.learning.replay_learner import ReplayLearner
from gala.learning.table import (
    REPLAY,
    SEQUENCES,
    UNROLLS,
    make_algorithm,
    source_of,
    values_of,
)
from gala.networks import Network
from gala.networks.model import Model, choose_precision
from gala.parameters.flat import FlatParameters
from gala.parameters.schedule import scaled_lr
from gala.telemetry.console import Console
from gala.telemetry.history import History
from gala.telemetry.reader import RunReader


def build_agent(
    setting: Setting,
    envs: Sequence[VectorEnv],
    network: Network,
    stop: StopRequest,
    console: Callable[[RunReader], Console] | None = None,
) -> ActorLearner:
    """An agent that is ready to run.

    Args:
        setting: see :class:`~gala.agent.setting.Setting`.
        envs: its environments, see :class:`~gala.experience.collector.Collector`.
        network: freshly initialised; equal on all agents.
        stop: set by a signal.
        console: makes the display of the run; None for agents that show nothing.

    Raises:
        UserError: the algorithm cannot be made, or the neighbours cannot be reached.
    """
    config, stream = setting.config, stream_on(setting.device)
    algorithm = make_algorithm(config.algorithm, config.learning)
    acting = _acting(setting, network, algorithm.plan)
    model = acting.newest
    unrolls = (_unroll_queue if config.actors.count else _collector)(setting, envs, acting, stream)
    source = replayed(setting, unrolls, stream)
    staged = source_of(config.algorithm) == REPLAY
    learner = (_replay_learner if staged else _learner)(setting, algorithm, model, stream)
    behaviour = PolicyDivergence(
        lambda: source.recent().to(setting.device), model.at, network.head.kl
    )
    norms = Updates(model.flat.weights, stream if setting.device.type != "cpu" else None)
    history = open_history(setting)
    coupling = _coupling(setting, model, source, learner, behaviour, norms, history, stop)
    progress = Progress(setting, coupling, stop)
    recorder = Recorder(setting, progress.reader, console)
    warn = partial(recorder.warn, "error")
    agent = ActorLearner(
        Parts(
            setting=setting,
            stream=stream,
            model=model,
            acting=acting,
            source=source,
            learner=learner,
            coupling=coupling,
            norms=norms,
            meter=DivergenceMeter(setting, model.flat, norms, coupling, behaviour, history, warn),
            progress=progress,
            recorder=recorder,
            callbacks=_callbacks(setting, model, recorder),
        )
    )
    if config.faults.at:
        from gala.agent.faults import inject  # nothing of it is there where nobody asks for it

        inject(agent)
    return agent


def _acting(setting: Setting, network: Network, plan: Plan) -> Acting:
    """Activations are kept from acting for learning where an unroll is learned from once."""
    network.hold(plan.duals)
    network = network.to(setting.device)
    dtype = choose_precision(setting.config.network.precision, network, setting.device)
    here = source_of(setting.config.algorithm) == UNROLLS and not setting.config.actors.count
    keeps = here and plan.once and plan.act_every == 1
    observations = setting.steps_per_update if keeps else 0
    flat = FlatParameters(network, buffers=network.statistics)
    model = Model(network, flat, dtype, observations=observations)
    return Acting(model, every=plan.act_every)


def _collector(
    setting: Setting, envs: Sequence[VectorEnv], acting: Acting, stream: Stream
) -> Collector:
    config, device, model = setting.config, setting.device, acting.model
    memory = model.module.memory
    return Collector(
        envs,
        model.act,
        model.module.head,
        n_step=config.learning.n_step,
        gamma=config.learning.gamma,
        reward_clip=config.env.reward_clip,
        reward_scale=_reward_scale(setting, acting.newest),
        generator=torch.Generator(device).manual_seed(setting.seed(0)),
        stream=stream,
        memory=None if memory is None else memory.shape,
        epsilon=exploration(setting),
        tasks=own if len(own := setting.tasks) != 1 else own * len(envs),
    )


def _unroll_queue(
    setting: Setting, envs: Sequence[VectorEnv], acting: Acting, stream: Stream
) -> UnrollQueue:
    actors = ActorSetting(
        config=setting.config,
        rank=setting.launch.rank,
        incarnation=setting.launch.incarnation,
        run_id=setting.run_id,
        env_seed=setting.seed(1),
        action_seed=setting.seed(0),
        duals=len(acting.newest.duals),
        values=values_of(setting.config.algorithm),
        epsilon=exploration(setting),
        tasks=setting.tasks,
    )
    return build_source(actors, envs[0], acting.model, stream)


def _learner(setting: Setting, algorithm: Algorithm, model: Model, stream: Stream) -> Learner:
    more, config = _of_a_learner(setting), setting.config
    decorrelation = _decorrelation(setting)
    drawn = source_of(config.algorithm) == SEQUENCES
    return Learner(
        algorithm,
        model,
        **more,
        stream=stream,
        columns=config.learning.sequences if drawn else 0,
        auxiliaries=[decorrelation] if decorrelation is not None else [],
    )


def _replay_learner(
    setting: Setting, algorithm: OffPolicy, model: Model, stream: Stream
) -> ReplayLearner:
    return ReplayLearner(
        algorithm,
        model,
        rows=setting.config.replay.batch,
        **_of_a_learner(setting),
        stream=stream,
        decorrelation=_decorrelation(setting),
    )


def _decorrelation(setting: Setting) -> Decorrelation | None:
    coef = setting.config.network.decorrelate
    return Decorrelation(coef) if coef else None


def _of_a_learner(setting: Setting) -> dict[str, Any]:
    config = setting.config
    return {
        "lr": scaled_lr(config.learning, config.env.num_envs * setting.launch.agents),
        "generator": torch.Generator().manual_seed(setting.seed(3)),
    }


def _reward_scale(setting: Setting, model: Model) -> RewardScale | None:
    moments, learning = model.module.returns, setting.config.learning
    if moments is None:
        return None
    envs = setting.config.env.num_envs
    return RewardScale(moments, envs=envs, steps=learning.n_step, gamma=learning.gamma)


def _coupling(
    setting: Setting,
    model: Model,
    source: Source,
    learner: Learner | ReplayLearner,
    behaviour: PolicyDivergence,
    norms: Updates,
    history: History | None,
    stop: StopRequest,
) -> Coupling:
    """What it adds to the loss goes to the ``learner``."""
    config = setting.config
    tie = Tie(
        launch=setting.launch,
        topology=setting.topology,
        flat=model.flat,
        optimizer=learner.optimizer,
        device=setting.device,
        run_id=setting.run_id,
        local_group=setting.local_group,
        gossip=config.gossip,
        faults=config.faults,
        seed=setting.seed(2),
        behaviour=behaviour,
        moved=lambda: norms.supremum,
        history=history,
        asked=lambda: stop.requested,
        aborted=lambda: stop.urgent,
        policies=Policies(
            evaluate=model.consult,
            head=model.module.head,
            score=lambda: fmean(source.returns) if source.returns else None,
            distil=config.distil,
            repel=config.repel,
        ),
    )
    coupling = couple(config.coupling, tie)
    if coupling.auxiliary is not None:
        assert isinstance(learner, Learner), "a learner that compares no policies"
        learner.auxiliaries.append(coupling.auxiliary)
    return coupling


def _callbacks(setting: Setting, model: Model, recorder: Recorder) -> Callbacks:
    return Callbacks(
        load_callbacks(setting.config.callbacks),
        rank=setting.launch.rank,
        run=setting.run.path,
        flat=model.flat,
        tell=recorder.tell,
    )
