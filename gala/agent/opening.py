"""The opening block: what will run, before it runs."""

from __future__ import annotations

from collections.abc import Sequence

from gala.agent.equipment import room_of_replay
from gala.agent.plan import vector_size
from gala.agent.setting import Setting
from gala.config.tasks import name_of, text_of, whose
from gala.config.tree import Config
from gala.couplings.policy import UNBOUND
from gala.divergence.bound import contraction
from gala.envs import VectorEnv
from gala.evaluation.human import ATARI_57, game_of
from gala.gossip.wire import wire_format
from gala.learning.table import SEQUENCES, UNROLLS, source_of
from gala.networks import Network
from gala.networks.build import describe
from gala.topology import Topology

LETTERS = {
    "beta": "of the agents' disagreement, the share that mixing leaves",
    "tau": "how many updates old a message is when it is mixed",
    "epsilon": "how far all agents together can be from their mean",
}
"""What stands in a bound, and what it means."""

MANY = 4
"""Agents of a task that are named."""


def opening_block(setting: Setting, envs: Sequence[VectorEnv], network: Network) -> list[str]:
    """Lines for the terminal: environment, agents, network, who gossips with whom, folder."""
    config, launch, topology = setting.config, setting.launch, setting.topology
    total, frames = config.env.num_envs * launch.agents, envs[0].frames_per_step
    lines = [
        f"gala: {name_of(config.env)}, {config.total_steps:,} steps of all agents "
        f"({frames} frame{'s' * (frames > 1)} each), seed {config.seed}",
        *_environment(setting, envs),
        *_returns(name_of(config.env)),
        *_tasks(config, launch.agents),
        f"  agents     {launch.agents} x {config.env.num_envs} environments = {total}, "
        f"{setting.threads} thread{'s' * (setting.threads > 1)} each, on {setting.device}",
        *_actors(config),
        f"  learns     {config.algorithm}, {config.learning.n_step} steps of each environment an "
        f"update",
        *_replay(config, envs[0], network),
        f"  network    {describe(network, config.network)}",
    ]
    if config.publishes and launch.agents > 1:
        patience = config.gossip.max_staleness
        mode = {None: "never wait", 0: "lock-step"}.get(patience, f"wait after {patience} updates")
        how = f"over {topology.name}, {mode}; {_cost(setting, network)}"
        lines.append(f"  {config.coupling:10} {how}")
        lines += [f"             {line}" for line in topology.draw().splitlines()]
        lines += [f"  note       {note}" for note in topology.notes]
        bound = f"no bound applies: {UNBOUND}"
        if config.coupling == "gossip":
            bound = describe_bound(topology, lock_step=patience == 0, every=config.gossip.every)
        lines += [f"  bound      {bound}", *_explained(bound)]
    else:
        lines.append(f"  coupling   {config.coupling}: no bound applies")
    if config.profile:
        lines.append(
            f"  profile    {config.log.profile_updates} updates of each agent, "
            f"{config.log.profile_after_s:g} s after the launch; then: gala profile RUN"
        )
    lines.append(f"  run        {setting.run.path}")
    return lines


def _tasks(config: Config, agents: int) -> list[str]:
    """Which tasks there are, and whose each of them is."""
    lines = []
    for number, task in enumerate(config.env.tasks):
        ranks = whose(number, len(config.env.tasks), agents)
        many = f", ... ({len(ranks)})" if len(ranks) > MANY else ""
        who = f"agent{'s' * (len(ranks) > 1)} {', '.join(map(str, ranks[:MANY]))}{many}"
        lines.append(f"  {'' if number else 'tasks':10} {number}: {text_of(task)} ({who})")
    return lines


def _returns(env_id: str) -> list[str]:
    """What random play and a human reach; what Gymnasium calls solved, the environment tells."""
    game = game_of(env_id)
    if game is None:
        return []
    random, human = ATARI_57[game]
    return [f"  returns    random play {random:,g}, a human {human:,g}"]


def _explained(bound: str) -> list[str]:
    """The letters of a bound in words."""
    return [f"             {letter}: {text}" for letter, text in LETTERS.items() if letter in bound]


def _replay(config: Config, env: VectorEnv, network: Network) -> list[str]:
    source = source_of(config.algorithm)
    if source == UNROLLS:
        return []
    replay, learning, room = config.replay, config.learning, room_of_replay(config, env, network)
    kind = room.kind if room.steps == 1 else f"{room.kind} of {room.steps} steps"
    if source == SEQUENCES:
        steps = learning.updates
        often = f"{steps} optimizer step{'s' * (steps != 1)} an update, of {learning.sequences}"
    else:
        rate = replay.updates_per_step
        often = f"{rate:g} update{'s' * (rate != 1)} a step, of {replay.batch}"
    return [
        f"  replay     {room.count:,} {kind} of each agent, "
        f"{room.count * room.each / 2**20:,.1f} MiB; {often} each, after {replay.warm_up:,}"
    ]


def _cost(setting: Setting, network: Network) -> str:
    """What a message of all parameters weighs, of an environment step."""
    gossip, topology = setting.config.gossip, setting.topology
    wire = "float64" if topology.push_sum else gossip.wire_format
    size = wire_format(wire, vector_size(network)).payload_bytes
    each = size / (gossip.every * setting.steps_per_update)
    often = f"every {gossip.every} updates" if gossip.every > 1 else "every update"
    return f"{often} {size / 1000:,.1f} kB to each neighbour, {each:,.0f} bytes a step"


def _actors(config: Config) -> list[str]:
    count = config.actors.count
    each = config.env.num_envs // max(count, 1)
    who = {"own": "", "central": ", which step; it acts for all of them"}[config.actors.inference]
    what = "processes" if config.actors.listen is None else "workers elsewhere"
    text = (
        f"  actors     {count} {what} of each agent, {each} environment{'s' * (each > 1)} each{who}"
    )
    return [text] if count else []


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


def describe_bound(topology: Topology, *, lock_step: bool, every: int = 1) -> str:
    """Beta and the predicted epsilon per unit of update norm, or why there is none.

    Of ``every`` updates between two mixes, the steps add up.
    """
    return contraction(topology, delay=0 if lock_step else 1).text(every)
