"""What the user asks of a training run: command line, experiment file and topology, checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gala.config.arguments import OF_POLICIES
from gala.config.faults import require_possible
from gala.config.options import parse_options
from gala.config.tasks import own_tasks
from gala.config.tree import Config, section_of
from gala.errors import UserError
from gala.files import commands, shipped
from gala.files.yaml import Document, load_yaml, parse_yaml
from gala.launch.credentials import OPEN, Security
from gala.launch.token import read_address, read_token
from gala.learning.table import SEQUENCES, UNROLLS, entry_of, source_of
from gala.run.config import algorithm_of, config_type, from_document
from gala.run.folder import RunFolder
from gala.topology import Topology, load_topology
from gala.topology.limits import MAX_AGENTS

LAUNCH_OPTIONS = {
    "run_dir": str,
    "resume": str,
    "agents_per_process": int,
    "supervisor": bool,
    "standby": bool,
    "secret_file": str,
    "keys": str,
    "insecure": bool,
    "listen": str,
}
"""Options that are of the launch and not of the run; ``--no-supervisor`` is read in gala.train."""

LAUNCH_HELP = {
    "agents N": "so many agents, started through torchrun; else what the experiment names, or one",
    "agents-per-process N": "of them in each process, as threads",
    "run-dir FOLDER": "a new run folder; else one below runs",
    "resume FOLDER": "go on from its checkpoints",
    "standby": "the next life of each agent waits in memory: it is back in seconds",
    "no-supervisor": "agents are no children of a supervisor: one crash ends all",
    "secret-file FILE": "between hosts: who belongs to the run (docs/security.md)",
    "keys FOLDER": "between hosts: a key of each agent instead",
    "insecure": "between hosts: tcp without either",
    "listen HOST:PORT": "between hosts: where this agent is reached",
}
"""What they do, for people."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the user asked for, checked as far as it can be without the other agents.

    Attributes:
        config: every choice.
        topology: loaded for the number of agents.
        run_dir: the folder to create or to go on with.
        resume: whether to go on.
        experiment: the experiment file, None when options say it all.
        agents_per_process: agents that are threads of one process.
        agents_before: of the run to go on with; None where there is none.
        steps_before: total_steps of that run.
        security: who belongs to the run, between hosts.
    """

    config: Config
    topology: Topology
    run_dir: Path | None
    resume: bool
    experiment: Path | None
    agents_per_process: int = 1
    agents_before: int | None = None
    steps_before: int | None = None
    security: Security = OPEN


def read_request(
    arguments: Sequence[str], processes: int = 1, *, agents: int | None = None
) -> Request:
    """Read the command line, the experiment file and the topology of a run.

    Args:
        arguments: the command line of ``gala train``.
        processes: number of processes of the launch.
        agents: number of agents, where it is known instead.

    Raises:
        UserError: the first mistake found.
    """
    positional, options = parse_options(_tree_of(arguments), arguments, LAUNCH_OPTIONS)
    launch: dict[str, Any] = {name: value for name, value in options if name in LAUNCH_OPTIONS}
    options = [(name, value) for name, value in options if name not in LAUNCH_OPTIONS]
    k = _agents_per_process(launch, agents)
    if agents is None:
        agents = processes * k
    if len(positional) > 1:
        raise UserError(f"one experiment file at a time, got {' and '.join(positional)}")
    experiment = shipped.resolve("experiments", positional[0]) if positional else None
    resume = RunFolder(Path(launch["resume"])) if launch.get("resume") is not None else None
    if resume is not None and launch.get("run_dir") is not None:
        raise UserError("--resume names the run folder already", field="--run-dir")
    source, before, steps_before = None, None, None
    if resume is not None:
        before = resume.read_agents()
        hint = "start its program again, with start=node.state_dict()"
        resume.require_trained("gala train cannot go on with it", hint)
        _require_resumable(resume, options)
        config, same, steps_before = _resumed(resume, experiment, options)
        if same and agents == before and resume.topology.exists():
            source = resume.topology
    elif experiment is not None:
        config = from_document(load_yaml(experiment), options)
    else:
        config = from_document(parse_yaml("{}", "command line"), options)
    if config.coupling in ("allreduce", "shared") and k > 1:
        rule = f"{config.coupling} needs a process for each agent"
        raise UserError(rule, field="--agents-per-process", hint="1")
    topology = load_topology(source or config.topology, agents)
    _require_consistent(config, topology)
    require_possible(
        config.faults.at, agents=agents, coupling=config.coupling, publishes=config.publishes
    )
    named = launch.get("run_dir")
    run_dir = Path(named) if named is not None else None
    return Request(
        config=config,
        topology=topology,
        run_dir=run_dir if resume is None else resume.path,
        resume=resume is not None,
        experiment=experiment,
        agents_per_process=k,
        agents_before=before,
        steps_before=steps_before,
        security=_security(launch),
    )


def _require_resumable(run: RunFolder, options: Sequence[tuple[str, Any]]) -> None:
    """Refuse a run that has learned from no rewards yet, and other parameters than its own.

    Raises:
        UserError: see above.
    """
    if run.distilled:
        rule = "is a student's, which has learned from no rewards to go on with"
        begin = commands.gala("train", run.config, "--init", run.path)
        raise UserError(rule, file=run.path, field="--resume", hint=f"begin with it: {begin}")
    if any(name == "init" for name, _ in options):
        rule = "is of a new run, and one that goes on has its own parameters"
        raise UserError(rule, field="--init", hint="leave it out")


def _agents_per_process(launch: dict[str, Any], agents: int | None) -> int:
    k = launch.get("agents_per_process", 1)
    if not isinstance(k, int) or k < 1:
        raise UserError(
            f"must be a whole number of at least 1, got {k!r}", field="--agents-per-process"
        )
    if agents is not None and agents % k:
        raise UserError(
            f"{agents} agents cannot be shared equally among processes of {k}",
            field="--agents-per-process",
        )
    return k


def _security(launch: dict[str, Any]) -> Security:
    secret, keys, listen = (launch.get(name) for name in ("secret_file", "keys", "listen"))
    return Security(
        secret_file=Path(secret) if secret is not None else None,
        keys=Path(keys) if keys is not None else None,
        insecure=launch.get("insecure", False),
        listen=listen,
    )


def configured_agents(arguments: Sequence[str]) -> int:
    """How many agents the experiment file, or the run to go on with, names; else 1."""
    document, _ = _first_look(arguments)
    named = document.data.get("agents") if isinstance(document.data, dict) else None
    if isinstance(named, int | float) and 0 < named <= MAX_AGENTS and named == int(named):
        return int(named)
    return 1  # what is no number is refused later


def _first_look(arguments: Sequence[str]) -> tuple[Document, list[tuple[str, Any]]]:
    """The file and the options of a command line, before it is known which sections there are."""
    positional, options = parse_options(config_type(), arguments, LAUNCH_OPTIONS, strict=False)
    given = dict(options)
    if len(positional) == 1:
        return load_yaml(shipped.resolve("experiments", positional[0])), options
    resumed = RunFolder(Path(given["resume"])) if given.get("resume") is not None else None
    if resumed is not None and resumed.config.is_file():  # else that is said when it is resumed
        try:
            return load_yaml(resumed.config), options
        except UserError as error:
            raise resumed.told_with_version(error) from None
    return parse_yaml("{}", "command line"), options


def _tree_of(arguments: Sequence[str]) -> Any:
    """The configuration's tree, for the algorithm that a command line or its files name."""
    document, options = _first_look(arguments)
    algorithm = algorithm_of(document, options)
    try:
        return config_type(algorithm)
    except UserError:  # told with its file and line when the whole is read
        return config_type()


def _require_consistent(config: Config, topology: Topology) -> None:
    """Refuse choices that contradict one another.

    Raises:
        UserError: naming the option to change.
    """
    require_steerable(config, topology)
    _require_learnable(config)
    _require_replayable(config)
    if config.coupling == "shared":
        _require_shareable(config)
    _require_staffed(config)
    _require_playable(config, topology.agents)
    _require_comparable(config, topology)


def _require_learnable(config: Config) -> None:
    """Refuse what contradicts itself in what is learned from.

    Raises:
        UserError: naming the option to change.
    """
    env, learning = config.env, config.learning
    statistics = env.normalize_observation or env.normalize_reward
    if env.reward_clip and env.normalize_reward:
        rule = "scales rewards, of which --env.reward-clip leaves the sign"
        raise UserError(rule, field="--env.normalize-reward", hint="take one")
    if statistics and config.publishes and config.gossip.wire_format != "float32":
        rule = "rounds the moments of --env.normalize-observation and --env.normalize-reward"
        raise UserError(rule, field="--gossip.wire-format", hint="float32")
    rows, parts = learning.n_step * env.num_envs, getattr(learning, "minibatches", 1)
    what = "n_step x num_envs"
    if config.network.remembers:
        if not entry_of(config.algorithm).memory:
            rule = f"{config.algorithm} learns without a memory"
            raise UserError(rule, field="--network.memory", hint="none")
        rows, what = env.num_envs, "num_envs (a memory learns from whole sequences)"
    if rows % parts:
        near = min((n for n in range(1, rows + 1) if rows % n == 0), key=lambda n: abs(n - parts))
        raise UserError(
            f"must divide {what} = {rows}, got {parts}",
            field=f"--{section_of(config.algorithm)}.minibatches",
            hint=str(near),
        )


def _require_replayable(config: Config) -> None:
    """Refuse what contradicts itself in what is replayed.

    Raises:
        UserError: naming the option to change.
    """
    source = source_of(config.algorithm)
    if source == UNROLLS:
        return
    replay = config.replay
    if replay.warm_up > replay.capacity:
        rule = f"is never reached by {replay.capacity:,} steps (--replay.capacity)"
        raise UserError(rule, field="--replay.warm-up", hint=str(replay.capacity))
    (_require_sequences if source == SEQUENCES else _require_transitions)(config)
    if config.env.normalize_reward:
        rule = "changes with time, and a replay would hold rewards of several scales"
        raise UserError(rule, field="--env.normalize-reward", hint="false")


def _require_transitions(config: Config) -> None:
    """Refuse optimizer steps that are no whole number."""
    steps = config.learning.n_step * config.env.num_envs
    updates = config.replay.updates_per_step * steps
    if abs(updates - max(round(updates), 1)) > 1e-6 * updates:
        near = f"{max(round(updates), 1) / steps:g}"
        rule = f"times n_step x num_envs = {steps} must be a whole number, got {updates:g}"
        raise UserError(rule, field="--replay.updates-per-step", hint=near)


def _require_sequences(config: Config) -> None:
    """Refuse sequences that cannot be burned in, or overwrite one another at once."""
    learning, steps, section = config.learning, config.learning.n_step, section_of(config.algorithm)
    burn_in = learning.burn_in if config.network.remembers else 0
    if burn_in % steps:
        rule = f"must be a multiple of {section}.n_step = {steps}, got {burn_in}"
        raise UserError(rule, field=f"--{section}.burn-in", hint=str(-(-burn_in // steps) * steps))
    least = (steps + burn_in) * config.env.num_envs
    if config.replay.capacity < least:
        rule = f"has no room for a sequence of each environment and its burn-in, {least:,} steps"
        raise UserError(rule, field="--replay.capacity", hint=str(least))
    whole = config.replay.capacity // steps * steps
    if config.replay.warm_up > whole:
        rule = f"is never reached by whole sequences of {steps} steps"
        raise UserError(rule, field="--replay.warm-up", hint=str(whole))


def _require_staffed(config: Config) -> None:
    """Refuse actors that cannot share slots or environments.

    Raises:
        UserError: naming the option to change.
    """
    actors, envs = config.actors, config.env.num_envs
    if actors.listen is not None:
        read_address(actors.listen, field="--actors.listen")
        if not actors.count:
            rule = "needs --actors.count, how many workers there are to be"
            raise UserError(rule, field="--actors.listen", hint="--actors.count 8")
        read_token(actors.token_file, field="--actors.token-file")
    if actors.sync_kl and (actors.listen is None or actors.inference != "own"):
        rule = "is for actors elsewhere that act with a copy of the policy"
        raise UserError(
            rule, field="--actors.sync-kl", hint="--actors.listen, --actors.inference own"
        )
    if not actors.count:
        return
    if actors.slots is not None and actors.slots < actors.count:
        rule = f"{actors.slots} slots are fewer than the {actors.count} actors that fill them"
        raise UserError(rule, field="--actors.slots", hint=str(actors.count))
    if envs % actors.count:
        near = min(
            (n for n in range(1, envs + 1) if envs % n == 0), key=lambda n: abs(n - actors.count)
        )
        rule = f"must divide the {envs} environments (--env.num-envs), got {actors.count}"
        raise UserError(rule, field="--actors.count", hint=str(near))
    if config.env.normalize_reward:
        rule = "needs the returns of environments that the agent itself acts in"
        raise UserError(rule, field="--env.normalize-reward", hint="--actors.count 0")


def _require_playable(config: Config, agents: int) -> None:
    """Refuse tasks that nobody would play.

    Raises:
        UserError: naming the option to change.
    """
    most = len(own_tasks(len(config.env.tasks), 0, agents))  # nobody has more than the first
    each = f"each of the {most} tasks that an agent has"
    if config.env.num_envs < most:
        rule = f"{each} needs an environment of its own, got {config.env.num_envs}"
        raise UserError(rule, field="--env.num-envs", hint=str(most))
    if 0 < config.actors.count < most:
        envs = config.env.num_envs
        near = next(n for n in range(most, envs + 1) if envs % n == 0)
        rule = f"{each} needs an actor of its own, got {config.actors.count}"
        raise UserError(rule, field="--actors.count", hint=str(near))


def _require_shareable(config: Config) -> None:
    """Refuse what agents that step one vector would not share.

    Raises:
        UserError: naming the option to change.
    """
    if config.algorithm != "a2c":
        rule = f"steps one vector as A3C does, not with {config.algorithm}"
        raise UserError(rule, field="--coupling", hint="--algorithm a2c, or --coupling gossip")
    if config.learning.optimizer != "rmsprop":
        rule = "has a momentum of each agent's own, which --coupling shared cannot share"
        raise UserError(rule, field="--a2c.optimizer", hint="rmsprop")
    if config.actors.count:
        rule = "hear the parameters of one learner, not those that all agents step"
        raise UserError(rule, field="--actors.count", hint="0, or --coupling gossip")
    for name, asked in (
        ("observation", config.env.normalize_observation),
        ("reward", config.env.normalize_reward),
    ):
        if asked:
            rule = "has moments, which --coupling shared does not share"
            raise UserError(rule, field=f"--env.normalize-{name}", hint="false")


def _require_comparable(config: Config, topology: Topology) -> None:
    """Refuse what agents that learn from one another's policies cannot compare.

    Raises:
        UserError: naming the option to change.
    """
    if config.coupling not in OF_POLICIES:
        return
    if source_of(config.algorithm) != UNROLLS:
        rule = f"is of learners from unrolls, and {config.algorithm} learns from a replay"
        raise UserError(rule, field="--coupling", hint="gossip, or --algorithm ppo")
    if config.network.remembers:
        rule = f"is of the agent's own policy, --coupling {config.coupling} asks others'"
        raise UserError(rule, field="--network.memory", hint="none")
    if topology.push_sum or topology.robust:
        rule = f"has {topology.weights} weights, and --coupling {config.coupling} averages nothing"
        raise UserError(rule, field="--topology", hint="weights: uniform")
    if config.coupling == "distil" and config.env.normalize_reward and config.distil.value_coef:
        rule = "gives each agent's values a scale of their own, which are compared"
        raise UserError(rule, field="--env.normalize-reward", hint="--distil.value-coef 0")
    if config.coupling == "repel" and config.gossip.wire_format != "float32":
        rule = "rounds the returns that agents tell one another beside their parameters"
        raise UserError(rule, field="--gossip.wire-format", hint="float32")


def require_steerable(config: Config, topology: Topology) -> None:
    """Refuse combinations of steering that contradict each other.

    Raises:
        UserError: naming the option to change.
    """
    gossip = config.gossip
    name = "--gossip.epsilon-target" if gossip.epsilon_target is not None else "--gossip.trigger"
    patience = gossip.max_staleness or gossip.every
    if patience < gossip.every and gossip.staleness_policy == "wait":
        rule = f"is over before anything is sent, which is every {gossip.every} updates"
        raise UserError(rule, field="--gossip.max-staleness", hint=str(gossip.every))
    if gossip.epsilon_target is None and gossip.trigger == "none":
        return
    if gossip.epsilon_target is not None and gossip.trigger != "none":
        raise UserError(
            "decides when to publish, and so does --gossip.trigger", field=name, hint="take one"
        )
    if config.coupling != "gossip":
        raise UserError(f"needs gossip, the coupling is {config.coupling}", field=name)
    if gossip.every > 1:
        rule = f"decides when to publish, and so does {name}"
        raise UserError(rule, field="--gossip.every", hint="1")
    waits = gossip.max_staleness == 0 or gossip.staleness_policy == "wait"
    if gossip.max_staleness is not None and waits:
        raise UserError(
            "agents would wait for messages that are not sent",
            field=name,
            hint="--gossip.max-staleness null",
        )
    if topology.push_sum:
        raise UserError("push-sum messages cannot be left out", field=name, hint="weights: uniform")


def _resumed(
    run: RunFolder, experiment: Path | None, options: list[tuple[str, Any]]
) -> tuple[Config, bool, int]:
    """The configuration to go on with, whether it names the topology that the run had, and the
    ``total_steps`` of before.

    What defines the learner cannot change.
    """
    try:
        before = from_document(load_yaml(run.config))
        if experiment is None:
            config: Config = from_document(load_yaml(run.config), options)
    except UserError as error:
        if error.file is None:  # of an option
            raise
        raise run.told_with_version(error) from None
    if experiment is not None:
        config = from_document(load_yaml(experiment), options)
    for name in ("env.id", "env.kwargs", "env.tasks", "env.wrappers", "network", "algorithm"):
        old, new = _field(before, name), _field(config, name)
        if old != new:
            raise UserError(
                f"the run was trained with {_short(old)}, cannot go on with {_short(new)}",
                file=run.path,
                field=name,
                hint="resume with the same one, or start a new run",
            )
    return config, config.topology == before.topology, before.total_steps


def _field(config: Config, name: str) -> Any:
    value: Any = config
    for part in name.split("."):
        value = getattr(value, part)
    return value


def _short(value: Any) -> str:
    return str(value).replace("NetworkConfig", "")
