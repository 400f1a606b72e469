"""One agent: collect, learn, publish, mix, observe. The loop reads as the paper's Algorithm 1."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from gala.agent.recorder import Observer
from gala.config.tree import Config
from gala.couplings.coupling import AllReduce, Coupling, Gossip, Independent
from gala.couplings.pace import EpsilonPace, pace_of
from gala.device.choose import stream_on
from gala.divergence.policy import PolicyDivergence
from gala.envs import VectorEnv
from gala.experience import Collector
from gala.gossip import GossipNode, Identity, shared_memory
from gala.gossip.connecting import Connection, connect, place_of_messages, with_faults
from gala.gossip.in_process import LocalGroup
from gala.gossip.mixing import among_present, mixer_of, without_missing
from gala.gossip.wire import wire_format
from gala.launch import supervisor
from gala.launch.launch import Launch
from gala.launch.signals import StopRequest
from gala.learning.a2c import A2C, scaled_lr
from gala.networks import Network
from gala.networks.model import Model, choose_precision
from gala.networks.network import distribution_at
from gala.parameters.flat import FlatParameters
from gala.run import checkpoint
from gala.run.folder import RunFolder
from gala.telemetry.console import Console
from gala.telemetry.reader import RunReader
from gala.topology import Topology

JOIN_TIMEOUT_S = 10.0
"""How long a joiner waits for the first message of a neighbour."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What one agent is given: choices of the user and facts of the launch.

    Attributes:
        config: the user's choices.
        launch: the place of this agent.
        run: the run folder.
        run_id: 16 hex digits that messages of this launch carry.
        topology: who listens to whom.
        device: where the network computes.
        threads: for simulators and torch.
        local_group: the agents of this process.
        started: unix seconds of the launch, the same for all agents.
    """

    config: Config
    launch: Launch
    run: RunFolder
    run_id: str
    topology: Topology
    device: torch.device
    threads: int
    local_group: LocalGroup = field(default_factory=lambda: LocalGroup((0,)))
    started: float = field(default_factory=time.time)

    @property
    def steps_per_update(self) -> int:
        """Environment steps of one agent between two updates."""
        return self.config.a2c.n_step * self.config.env.num_envs


class ActorLearner:
    """Simulators, policy, optimizer and mailbox of one agent.

    Args:
        setting: see :class:`Setting`.
        envs: this agent's simulators, see :class:`Collector`; closed by :meth:`close`.
        policy: freshly initialised; equal on all agents.
        stop: set by a signal.
        console: makes the display of the run; None for agents that show nothing.

    Attributes:
        update: local updates done.
        step: environment steps done by this agent.
        alarmed: whether an alarm is to end the run.
        behaviour: compares policies on this agent's observations.
        stream: the order of this agent's work on its device; enter it around :meth:`run`.
    """

    def __init__(
        self,
        setting: Setting,
        envs: Sequence[VectorEnv],
        policy: Network,
        stop: StopRequest,
        console: Callable[[RunReader], Console] | None = None,
    ) -> None:
        self.setting, self._stop = setting, stop
        config, launch = setting.config, setting.launch
        self.stream = stream_on(setting.device)
        policy = policy.to(setting.device)
        self.flat = FlatParameters(policy)
        dtype = choose_precision(config.network.precision, policy, setting.device)
        observations = config.a2c.n_step * config.env.num_envs
        self.compute = Model(policy, self.flat, dtype, observations=observations)
        self.collector = Collector(
            envs,
            self._act,
            policy.head,
            n_step=config.a2c.n_step,
            gamma=config.a2c.gamma,
            reward_clip=config.env.reward_clip,
            generator=torch.Generator(setting.device).manual_seed(
                agent_seed(config.seed, launch.rank, life=launch.life)
            ),
            stream=self.stream,
        )
        lr = scaled_lr(config.a2c, config.env.num_envs * launch.agents)
        self.algorithm = A2C(config.a2c, self.flat, self.compute, lr=lr, stream=self.stream)
        self.behaviour = PolicyDivergence(
            lambda: self.collector.recent().to(setting.device),
            lambda vector, obs: distribution_at(
                policy, self.flat.layout, vector.to(setting.device), obs
            ),
            policy.head.kl,
        )
        self.coupling = build_coupling(
            setting, self.flat, stop, self.behaviour, moved=lambda: self.observer.norms.supremum
        )
        self.update = 0
        self.step = 0
        self.alarmed = False
        self.observer = Observer(self, console)
        self._checkpoint_every = self._updates_between_checkpoints()
        at_fault = config.faults.concern(launch.rank)
        self._straggler = Straggler(config.faults.slowdown if at_fault else 1.0)

    def run(self) -> None:
        """Train until the steps of the run are done, or until asked to stop."""
        self.observer.start()  # from here on the steps of others are known
        self.algorithm.schedule(self.progress())
        supervisor.tell("training")
        while self.update < self._last_update():
            self.observer.end_phase("other")
            rollout = self.collector.collect()
            self.observer.end_phase("collect")

            self.observer.norms.before(self.flat.data)
            losses = self.algorithm.update(rollout, self.coupling.reduce)
            self.observer.norms.after(self.flat.data)
            self.update += 1
            self.step += self.setting.steps_per_update
            self.observer.end_phase("learn")

            if self.coupling.exchange(self.update, self.step):
                self.compute.refresh()
            self.observer.end_phase("gossip")

            self.algorithm.schedule(self.progress())
            if self.update % self._checkpoint_every == 0:
                self.save()
            self.alarmed |= self.observer.observe(losses)
            self.observer.end_phase("log")
            self._straggler.lag()
        self.save()
        kind = "alarm" if self.alarmed else "stopped" if self._stop.requested else "done"
        self.observer.finish(kind)

    def progress(self) -> float:
        """Done share of the run's steps, counted over all agents, in [0, 1]."""
        total = self.setting.config.total_steps
        if self.coupling.lock_step:
            return min(self.step * self.setting.launch.agents / total, 1.0)
        return min((self.step + self.observer.steps_of_others()) / total, 1.0)

    def save(self) -> None:
        """Write a checkpoint; a full disk is reported and survived."""
        folder = self.setting.run.rank(self.setting.launch.rank) / "checkpoints"
        try:
            path = checkpoint.save(
                folder, self.update, self.state_dict(), self.setting.config.checkpoint.keep
            )
        except checkpoint.CheckpointError as error:
            self.observer.event("error", f"checkpoint not written: {error}")
        else:
            self.observer.event("checkpoint", path.name)

    def state_dict(self) -> dict[str, Any]:
        """Everything from which the run goes on, as plain data and tensors."""
        state: dict[str, Any] = {
            "params": self.flat.data.detach().cpu().clone(),
            "layout": [[name, list(shape)] for name, shape in self.flat.layout],
            "layout_hash": self.flat.layout_hash,
            "optimizer": self.algorithm.optimizer.state_dict(),
            "update": self.update,
            "step": self.step,
            "collector": self.collector.state_dict(),
            "agents": self.setting.launch.agents,
        }
        if isinstance(self.coupling, Gossip):
            state["gossip"] = self.coupling.node.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        self.flat.data.copy_(state["params"])
        self.compute.refresh()
        self.algorithm.optimizer.load_state_dict(state["optimizer"])
        self.update, self.step = state["update"], state["step"]
        self.collector.load_state_dict(state["collector"])
        if isinstance(self.coupling, Gossip) and "gossip" in state:
            self.coupling.node.load_state_dict(state["gossip"])

    def join(self) -> str | None:
        """Come into a running group: the parameters and the place of a neighbour.

        What this agent's life before left behind is used too: its newest checkpoint for the state
        of the optimizer, and the environment steps that it had done.

        Returns:
            What was done, in words; None when nobody is there and nothing was left behind.
        """
        said = []
        rank = self.setting.launch.rank
        path = checkpoint.newest(self.setting.run.rank(rank) / "checkpoints")
        if path is not None:
            state = checkpoint.load(path)
            if state["layout_hash"] == self.flat.layout_hash:
                self.load_state_dict(state)
                said.append(f"optimizer of {path.name}")
        if isinstance(self.coupling, Gossip):
            node = self.coupling.node
            self.step = max(self.step, node.transport.steps(rank), self.observer.steps_before)
            header = node.adopt(timeout_s=JOIN_TIMEOUT_S)
            if header is not None:
                self.update = header.update
                if self.coupling.lock_step:
                    self.step = self.update * self.setting.steps_per_update
                self.compute.refresh()
                said.insert(0, f"parameters of agent {header.rank} after update {header.update}")
        return ", ".join(said) or None

    def close(self) -> None:
        """Leave the gossip, stop the simulators, close the files; all of it even if one fails."""
        with ExitStack() as stack:  # closes the last one first
            stack.callback(self.observer.close)
            stack.callback(self.collector.close)
            stack.callback(self.coupling.close)

    def _act(self, obs: Tensor, place: slice | None = None) -> tuple[Tensor, Tensor]:
        return self.compute.act(obs.to(self.setting.device), place)

    def _last_update(self) -> int:
        """The update after which to stop, as far as is known now."""
        if self._stop.requested or self.alarmed:
            self.coupling.ask_to_stop(self.update)
        asked = self.coupling.stops_at()
        if self.coupling.lock_step:
            total = self.setting.config.total_steps
            share = total / self.setting.launch.agents / self.setting.steps_per_update
            return min(math.ceil(share), asked)
        return self.update if self.progress() >= 1.0 else asked

    def _updates_between_checkpoints(self) -> int:
        config = self.setting.config
        every = config.checkpoint.every_steps or max(config.total_steps // 20, 1)
        return max(1, every // (self.setting.steps_per_update * self.setting.launch.agents))


class Straggler:
    """Makes this process slower than it is (``faults.slowdown``).

    Args:
        slowdown: factor on the time of an update.
    """

    def __init__(self, slowdown: float) -> None:
        self._more = slowdown - 1.0
        self._since = time.perf_counter()

    def lag(self) -> None:
        """Waste what a slower machine would have needed on top since the last call."""
        if self._more:
            time.sleep(self._more * (time.perf_counter() - self._since))
            self._since = time.perf_counter()


def agent_seed(seed: int, rank: int, stream: int = 0, life: int = 0) -> int:
    """A seed of its own for each agent, purpose and life, from the seed of the run."""
    import numpy as np

    path = [seed, rank, stream] + [life] * (life > 0)
    words = np.random.SeedSequence(path).generate_state(1, np.uint64)
    return int(words[0] >> 1)


def build_coupling(
    setting: Setting,
    flat: FlatParameters,
    stop: StopRequest,
    behaviour: PolicyDivergence,
    moved: Callable[[], float],
) -> Coupling:
    """The coupling that the configuration names; ``moved`` as in :class:`GossipNode`."""
    config, launch = setting.config, setting.launch
    if config.coupling == "allreduce":
        supervisor.tell("mortal")  # the others wait for this agent: without it they never go on
        return AllReduce(launch, flat.data.numel())
    if config.coupling == "none" or launch.agents == 1:
        return Independent()
    topology = setting.topology
    elements = flat.data.numel() + topology.push_sum  # push-sum sends a weight too, in float64
    place = place_of_messages(setting.local_group, launch.agents, config.faults, setting.device)
    wire = wire_format(
        "float64" if topology.push_sum else config.gossip.wire_format, elements, place
    )
    identity = Identity(
        run=setting.run_id, topology=topology.hash, layout=flat.layout_hash, wire=wire.code
    )
    lock_step = config.gossip.max_staleness == 0
    transport = connect(
        config.gossip.transport,
        Connection(
            launch=launch,
            topology=topology,
            identity=identity,
            payload_bytes=wire.payload_bytes,
            lock_step=lock_step,
            local_group=setting.local_group,
        ),
    )
    supervisor.tell(f"remove {shared_memory.path_of(identity.run, launch.rank)}")
    transport = with_faults(
        transport, config.faults, rank=launch.rank, seed=agent_seed(config.seed, launch.rank, 2)
    )
    # who waits for the news of all before mixing drifts while one of them is slow
    steered = config.gossip.epsilon_target is not None
    node = GossipNode(
        rank=launch.rank,
        topology=topology,
        vector=flat.data,
        transport=transport,
        identity=identity,
        wire=wire,
        mixer=mixer_of(
            topology,
            flat.data,
            newcomer=launch.life > 0,
            weigh=among_present if steered else without_missing,
            place=place,
        ),
        max_staleness=config.gossip.max_staleness,
        policy=config.gossip.staleness_policy,
        timeout_s=config.gossip.timeout_s,
        partial=steered or config.gossip.trigger != "none",
        trust_factor=config.gossip.trust_radius,
        moved=moved,
        incarnation=launch.life,
        aborted=lambda: stop.urgent,
    )
    pace = pace_of(config, topology, launch.rank, flat.data, behaviour)
    if isinstance(pace, EpsilonPace):
        node.before_mix = pace.hear
    return Gossip(node, on_first=lambda: launch.announce("running"), pace=pace)
