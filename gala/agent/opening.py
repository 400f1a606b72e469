"""The opening block: what will run, before it runs."""

from __future__ import annotations

from collections.abc import Sequence

from gala.agent.setting import Setting
from gala.divergence.bound import NoBound, contraction
from gala.envs import VectorEnv
from gala.networks import Network
from gala.networks.build import describe
from gala.topology import Topology


def opening_block(setting: Setting, envs: Sequence[VectorEnv], network: Network) -> list[str]:
    """Lines for the terminal: environment, agents, network, who gossips with whom, folder."""
    config, launch, topology = setting.config, setting.launch, setting.topology
    total = config.env.num_envs * launch.agents
    lines = [
        f"gala: {config.env.id}, {config.total_steps:,} steps of all agents "
        f"({envs[0].frames_per_step} frames each), seed {config.seed}",
        *_environment(setting, envs),
        f"  agents     {launch.agents} x {config.env.num_envs} environments = {total}, "
        f"{setting.threads} thread{'s' * (setting.threads > 1)} each, on {setting.device}",
        f"  learns     {config.algorithm}, {config.learning.n_step} steps of each environment an "
        f"update",
        f"  network    {describe(network, config.network)}",
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


def _environment(setting: Setting, envs: Sequence[VectorEnv]) -> list[str]:
    """What was decided about the spaces, and what the user changed about the environment."""
    env = setting.config.env
    lines = [f"  {name:10} {text}" for name, text in envs[0].opening]
    lines += [
        f"  {name:10} {value}"
        for name, value in (
            ("arguments", env.kwargs),
            ("options", env.options),
            ("wrappers", ", ".join(env.wrappers)),
        )
        if value
    ]
    scaled = [
        what
        for what, asked in (
            ("observations", env.normalize_observation),
            ("rewards", env.normalize_reward),
        )
        if asked
    ]
    return lines + ([f"  normalises {' and '.join(scaled)}"] if scaled else [])


def describe_bound(topology: Topology, *, lock_step: bool) -> str:
    """Beta and the predicted epsilon per unit of update norm, or why there is none."""
    model = contraction(topology, delay=0 if lock_step else 1)
    if isinstance(model, NoBound):
        return model.reason
    return (
        f"beta {model.beta:.3f}, epsilon = {model.factor:.2f} x norm of all agents' largest updates"
        f" ({model.reason})"
    )
