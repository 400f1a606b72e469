"""Building an agent: from a setting to its parts, wired."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from gala.agent.actor_learner import ActorLearner, Parts
from gala.agent.callbacks import Callbacks, load_callbacks
from gala.agent.measuring import DivergenceMeter
from gala.agent.progress import Progress
from gala.agent.recorder import Recorder
from gala.agent.setting import Setting
from gala.couplings.coupling import Coupling
from gala.couplings.joining import Tie, couple
from gala.device.choose import stream_on
from gala.device.streams import Stream
from gala.divergence.policy import PolicyDivergence
from gala.divergence.tracker import UpdateNorms
from gala.envs import VectorEnv
from gala.experience import Collector
from gala.experience.reward_scale import RewardScale
from gala.launch.signals import StopRequest
from gala.learning.algorithm import Algorithm
from gala.learning.learner import Learner
from gala.learning.table import make_algorithm
from gala.networks import Network
from gala.networks.model import Model, choose_precision
from gala.parameters.flat import FlatParameters
from gala.parameters.schedule import scaled_lr
from gala.telemetry.console import Console
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
    algorithm: Algorithm = make_algorithm(config.algorithm, config.learning)
    model = _model(setting, network, keep=algorithm.plan.once)
    source = _collector(setting, envs, model, stream)
    learner = Learner(
        algorithm,
        model,
        lr=scaled_lr(config.learning, config.env.num_envs * setting.launch.agents),
        generator=torch.Generator().manual_seed(setting.seed(3)),
        stream=stream,
    )
    behaviour = PolicyDivergence(
        lambda: source.recent().to(setting.device), model.at, network.head.kl
    )
    exact = config.coupling == "allreduce" or config.gossip.max_staleness == 0
    norms = UpdateNorms(model.flat.weights, exact=exact, stream=stream)
    coupling = _coupling(setting, model, behaviour, norms, stop)
    progress = Progress(setting, coupling, stop)
    recorder = Recorder(setting, progress.reader, console)
    return ActorLearner(
        Parts(
            setting=setting,
            stream=stream,
            model=model,
            source=source,
            learner=learner,
            coupling=coupling,
            norms=norms,
            meter=DivergenceMeter(setting, model.flat, norms, coupling, behaviour),
            progress=progress,
            recorder=recorder,
            callbacks=Callbacks(
                load_callbacks(config.callbacks),
                rank=setting.launch.rank,
                run=setting.run.path,
                flat=model.flat,
                tell=recorder.tell,
            ),
        )
    )


def _model(setting: Setting, network: Network, *, keep: bool) -> Model:
    """Activations are kept from acting for learning where a batch is learned from once."""
    network = network.to(setting.device)
    dtype = choose_precision(setting.config.network.precision, network, setting.device)
    observations = setting.steps_per_update if keep else 0
    flat = FlatParameters(network, buffers=network.statistics)
    return Model(network, flat, dtype, observations=observations)


def _collector(
    setting: Setting, envs: Sequence[VectorEnv], model: Model, stream: Stream
) -> Collector:
    config, device = setting.config, setting.device

    def act(
        obs: Tensor, rows: slice | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        return model.act(obs.to(device), rows, mask)

    return Collector(
        envs,
        act,
        model.module.head,
        n_step=config.learning.n_step,
        gamma=config.learning.gamma,
        reward_clip=config.env.reward_clip,
        reward_scale=_reward_scale(setting, model),
        generator=torch.Generator(device).manual_seed(setting.seed(0)),
        stream=stream,
    )


def _reward_scale(setting: Setting, model: Model) -> RewardScale | None:
    moments, learning = model.module.returns, setting.config.learning
    if moments is None:
        return None
    envs = setting.config.env.num_envs
    return RewardScale(moments, envs=envs, steps=learning.n_step, gamma=learning.gamma)


def _coupling(
    setting: Setting,
    model: Model,
    behaviour: PolicyDivergence,
    norms: UpdateNorms,
    stop: StopRequest,
) -> Coupling:
    config = setting.config
    tie = Tie(
        launch=setting.launch,
        topology=setting.topology,
        flat=model.flat,
        device=setting.device,
        run_id=setting.run_id,
        local_group=setting.local_group,
        gossip=config.gossip,
        faults=config.faults,
        seed=setting.seed(2),
        behaviour=behaviour,
        moved=lambda: norms.supremum,
        aborted=lambda: stop.urgent,
    )
    return couple(config.coupling, tie)
